//! Definitions files: everything an operator and the applications have defined, as one JSON
//! document in RabbitMQ's form, both ways.
//!
//! ```text
//! Broker ──▶ export ──▶ JSON ──▶ Document::read ──▶ rehearsal ──▶ import ──▶ Broker
//!                                 (form)            (meaning)
//! ```
//!
//! All or nothing: what is wrong with a document shows before the first change, all of it at once.
//! Its form is read part by part; what it means is tried on a broker of its own, which has what the
//! real one has and keeps nothing. So the rules of a definition stand where they always stand, and
//! nowhere a second time.

mod document;
mod export;
mod import;
mod rehearsal;

use std::fmt;

pub use document::Document;

/// Most problems that are named.
const PROBLEMS_MAX: usize = 100;

/// What is wrong with a definitions file: at least one sentence, each naming the thing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    named: Vec<String>,
    others: usize,
}

impl Problems {
    fn add(&mut self, problem: String) {
        if self.named.len() < PROBLEMS_MAX {
            self.named.push(problem);
        } else {
            self.others = self.others.saturating_add(1);
        }
    }

    /// Nothing, if there are none.
    fn check(self) -> Result<(), Self> {
        if self.named.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.named.join("; "))?;
        match self.others {
            0 => Ok(()),
            others => write!(f, "; and {others} more"),
        }
    }
}

impl std::error::Error for Problems {}
