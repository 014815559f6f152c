//! The kinds of exchange: their names, and how each finds a message's way.

use super::Router;
use super::direct::Direct;
use super::fanout::Fanout;
use super::headers::Headers;
use super::topic::Topic;
use crate::broker::error::Error;

/// How an exchange chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeKind {
    Direct,
    Fanout,
    Topic,
    Headers,
}

impl ExchangeKind {
    const ALL: [Self; 4] = [Self::Direct, Self::Fanout, Self::Topic, Self::Headers];

    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Topic => "topic",
            Self::Headers => "headers",
        }
    }

    pub fn parse(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            Error::precondition_failed(format!(
                "unknown exchange type '{name}'; the types are {known}"
            ))
        })
    }

    /// A router without bindings.
    pub(super) fn router(self) -> Box<dyn Router> {
        match self {
            Self::Direct => Box::<Direct>::default(),
            Self::Fanout => Box::<Fanout>::default(),
            Self::Topic => Box::<Topic>::default(),
            Self::Headers => Box::<Headers>::default(),
        }
    }
}
