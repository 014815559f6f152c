//! The kinds of exchange: their names, their arguments, and how each finds a message's way.

use super::Router;
use super::consistent_hash::{ConsistentHash, HASH_HEADER, HASH_PROPERTY};
use super::direct::Direct;
use super::fanout::Fanout;
use super::headers::Headers;
use super::modulus_hash::ModulusHash;
use super::random::{LocalRandom, Random};
use super::recent_history::{HISTORY_LENGTH, RecentHistory};
use super::topic::Topic;
use crate::broker::error::Error;
use crate::protocol::table::{FieldTable, FieldValue};

/// The argument that names the kind as which a delaying exchange routes.
const DELAYED_TYPE: &str = "x-delayed-type";

/// How an exchange chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeKind {
    Direct,
    Fanout,
    Topic,
    Headers,
    ConsistentHash,
    ModulusHash,
    Random,
    LocalRandom,
    RecentHistory,
    /// Delays what asks for it, and then routes as another kind.
    Delayed,
}

impl ExchangeKind {
    pub const ALL: [Self; 10] = [
        Self::Direct,
        Self::Fanout,
        Self::Topic,
        Self::Headers,
        Self::ConsistentHash,
        Self::ModulusHash,
        Self::Random,
        Self::LocalRandom,
        Self::RecentHistory,
        Self::Delayed,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Topic => "topic",
            Self::Headers => "headers",
            Self::ConsistentHash => "x-consistent-hash",
            Self::ModulusHash => "x-modulus-hash",
            Self::Random => "x-random",
            Self::LocalRandom => "x-local-random",
            Self::RecentHistory => "x-recent-history",
            Self::Delayed => "x-delayed-message",
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

    /// The arguments of this kind in which an exchange declared again must agree: those that have
    /// an effect.
    pub fn compared_arguments(self) -> &'static [&'static str] {
        match self {
            Self::ConsistentHash => &[HASH_HEADER, HASH_PROPERTY],
            Self::RecentHistory => &[HISTORY_LENGTH],
            Self::Delayed => &[DELAYED_TYPE, HASH_HEADER, HASH_PROPERTY, HISTORY_LENGTH],
            _ => &[],
        }
    }

    /// A router without bindings, for an exchange with these arguments.
    pub(super) fn router(self, arguments: &FieldTable) -> Result<Box<dyn Router>, Error> {
        Ok(match self {
            Self::Direct => Box::<Direct>::default(),
            Self::Fanout => Box::<Fanout>::default(),
            Self::Topic => Box::<Topic>::default(),
            Self::Headers => Box::<Headers>::default(),
            Self::ConsistentHash => Box::new(ConsistentHash::new(arguments)?),
            Self::ModulusHash => Box::<ModulusHash>::default(),
            Self::Random => Box::<Random>::default(),
            Self::LocalRandom => Box::<LocalRandom>::default(),
            Self::RecentHistory => Box::new(RecentHistory::new(arguments)?),
            Self::Delayed => Self::delayed_type(arguments)?.router(arguments)?,
        })
    }

    /// As which kind an exchange routes that delays messages.
    fn delayed_type(arguments: &FieldTable) -> Result<Self, Error> {
        let name = arguments.get(DELAYED_TYPE).and_then(FieldValue::as_str);
        let kind = name.and_then(|name| Self::parse(name).ok());
        kind.filter(|kind| *kind != Self::Delayed).ok_or_else(|| {
            Error::precondition_failed(format!(
                "invalid arg '{DELAYED_TYPE}' for an exchange of type '{}': it must name another \
                 type",
                Self::Delayed.name()
            ))
        })
    }
}
