//! What went wrong, with the exit code that says so to a script.
//!
//! Rule (sysexits, as rabbitmqctl uses them): 64 wrong usage, 65 what was given can't be, 67 no
//! such user, 69 refused or out of reach, 70 a fault, 74 a file, 75 too late, 77 not allowed.

use std::fmt;
use std::io;

/// A sentence for people, and a code for programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: u8,
    pub(super) text: String,
}

impl Failure {
    fn new(code: u8, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// The command line can't be understood.
    pub(super) fn usage(text: impl Into<String>) -> Self {
        Self::new(64, text)
    }

    /// Something on it, or in a file, isn't what it has to be.
    pub(super) fn data(text: impl Into<String>) -> Self {
        Self::new(65, text)
    }

    /// The user isn't there.
    pub(super) fn no_user(text: impl Into<String>) -> Self {
        Self::new(67, text)
    }

    /// The broker is out of reach, refuses, or fails a check.
    pub(super) fn unavailable(text: impl Into<String>) -> Self {
        Self::new(69, text)
    }

    /// A fault, here or in the broker.
    pub(super) fn software(text: impl Into<String>) -> Self {
        Self::new(70, text)
    }

    /// A file, or the terminal, can't be read or written.
    pub(super) fn input_output(text: impl Into<String>) -> Self {
        Self::new(74, text)
    }

    /// It took too long; trying again may help.
    pub(super) fn timeout(text: impl Into<String>) -> Self {
        Self::new(75, text)
    }

    /// The user may not do this, or isn't who it says.
    pub(super) fn not_allowed(text: impl Into<String>) -> Self {
        Self::new(77, text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Who reads what is printed has seen enough: that is nobody's failure.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(0, "");
        }
        Self::input_output(format!("cannot print: {error}"))
    }
}
