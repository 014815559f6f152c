//! How a channel or a connection ends: every error becomes one [`Failure`], and the reply code
//! decides what it takes down.

use crate::broker::error::Error;
use crate::protocol::error::DecodeError;
use crate::protocol::generated::{ChannelClose, ConnectionClose, Method};
use crate::protocol::reply::ReplyCode;
use crate::protocol::wire::ShortStr;

/// The method in hand when something went wrong; zeroes when there was none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct MethodId {
    pub(super) class: u16,
    pub(super) method: u16,
}

impl From<&Method> for MethodId {
    fn from(method: &Method) -> Self {
        Self { class: method.class_id(), method: method.method_id() }
    }
}

/// Something that the client has to be told by closing its channel or its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) code: ReplyCode,
    pub(super) text: String,
    pub(super) method: MethodId,
}

impl Failure {
    pub(super) fn new(code: ReplyCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), method: MethodId::default() }
    }

    /// The same, caused by this method unless another one is named already.
    pub(super) fn by(mut self, method: MethodId) -> Self {
        if self.method == MethodId::default() {
            self.method = method;
        }
        self
    }

    /// `NOT_FOUND - no queue 'q' in vhost '/'`, cut to what a short string holds.
    fn reply_text(&self) -> ShortStr {
        let mut text = format!("{} - {}", self.code.name(), self.text);
        if text.len() > ShortStr::MAX_LEN {
            let end = (0..=ShortStr::MAX_LEN).rev().find(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or(0));
        }
        ShortStr::try_from(text.as_str()).unwrap_or_default()
    }

    pub(super) fn channel_close(&self) -> Method {
        Method::from(ChannelClose {
            reply_code: self.code.code(),
            reply_text: self.reply_text(),
            class_id: self.method.class,
            method_id: self.method.method,
        })
    }

    pub(super) fn connection_close(&self) -> Method {
        Method::from(ConnectionClose {
            reply_code: self.code.code(),
            reply_text: self.reply_text(),
            class_id: self.method.class,
            method_id: self.method.method,
        })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.code, error.text)
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self::new(error.code, error.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_letters() {
        let failure = Failure::new(ReplyCode::NotFound, "ü".repeat(200));
        let text = failure.reply_text();
        assert!(text.starts_with("NOT_FOUND - ü"));
        assert!(text.len() >= ShortStr::MAX_LEN - 1);
    }
}
