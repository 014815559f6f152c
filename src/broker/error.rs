//! What the rules of AMQP refuse, with the reply code and the words that a client is told.

use std::fmt;

use crate::protocol::reply::ReplyCode;
use crate::store::AppendError;

/// A refused operation. The code decides how far it reaches: soft ones close the channel, hard ones
/// the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub code: ReplyCode,
    /// The sentence after the code's name, such as `no queue 'q' in vhost '/'`.
    pub text: String,
}

impl Error {
    pub fn new(code: ReplyCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    pub fn access_refused(text: impl Into<String>) -> Self {
        Self::new(ReplyCode::AccessRefused, text)
    }

    pub fn not_found(text: impl Into<String>) -> Self {
        Self::new(ReplyCode::NotFound, text)
    }

    pub fn resource_locked(text: impl Into<String>) -> Self {
        Self::new(ReplyCode::ResourceLocked, text)
    }

    pub fn precondition_failed(text: impl Into<String>) -> Self {
        Self::new(ReplyCode::PreconditionFailed, text)
    }

    pub fn not_allowed(text: impl Into<String>) -> Self {
        Self::new(ReplyCode::NotAllowed, text)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} - {}", self.code.name(), self.text)
    }
}

impl std::error::Error for Error {}

impl From<AppendError> for Error {
    fn from(error: AppendError) -> Self {
        Self::new(ReplyCode::InternalError, error.to_string())
    }
}
