//! Why bytes can't be decoded.

use super::reply::ReplyCode;

/// Bytes that break the grammar, and the reply code that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError {
    pub code: ReplyCode,
    pub text: String,
}

impl DecodeError {
    pub fn new(code: ReplyCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// A field that can't be read: 502.
    pub fn syntax(text: impl Into<String>) -> Self {
        Self::new(ReplyCode::SyntaxError, text)
    }
}
