//! What a client logs in with, in the two mechanisms that carry a name and a password.

use bytes::{BufMut, Bytes, BytesMut};

use super::error::DecodeError;
use super::table::{FieldTable, FieldValue};
use super::wire::Fields;

/// A name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

/// PLAIN: `authorisation NUL name NUL password`, the first of which may be empty.
pub fn parse_plain(response: &[u8]) -> Result<Credentials, DecodeError> {
    let mut parts = response.splitn(3, |byte| *byte == 0);
    let (_, user, password) = (parts.next(), parts.next(), parts.next());
    match (user, password) {
        (Some(user), Some(password)) => {
            Ok(Credentials { user: text("PLAIN", user)?, password: text("PLAIN", password)? })
        }
        _ => Err(DecodeError::syntax("response to PLAIN has no name and password")),
    }
}

/// AMQPLAIN: a field table with LOGIN and PASSWORD, without its length.
pub fn parse_amqplain(response: &Bytes) -> Result<Credentials, DecodeError> {
    let mut sized = BytesMut::new();
    let len = u32::try_from(response.len())
        .map_err(|_| DecodeError::syntax("response to AMQPLAIN is too long"))?;
    sized.put_u32(len);
    sized.put_slice(response);
    let table = FieldTable::decode(&mut Fields::new(&sized.freeze()))?;
    let field = |name| match table.get(name) {
        Some(FieldValue::LongStr(value)) => text("AMQPLAIN", value),
        _ => Err(DecodeError::syntax(format!("response to AMQPLAIN has no text under {name}"))),
    };
    Ok(Credentials { user: field("LOGIN")?, password: field("PASSWORD")? })
}

fn text(mechanism: &str, bytes: &[u8]) -> Result<String, DecodeError> {
    String::from_utf8(bytes.to_vec())
        .map_err(|_| DecodeError::syntax(format!("response to {mechanism} is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::wire::ShortStr;

    #[test]
    fn plain_carries_name_and_password_and_passwords_may_hold_anything() {
        let parsed = parse_plain(b"\0guest\0a\0b").expect("valid");
        assert_eq!((parsed.user.as_str(), parsed.password.as_str()), ("guest", "a\0b"));
        assert!(parse_plain(b"guest").is_err());
    }

    #[test]
    fn amqplain_is_a_table_without_its_length() {
        let field = |text: &'static str| FieldValue::LongStr(Bytes::from_static(text.as_bytes()));
        let table = FieldTable::from_iter([
            (ShortStr::from_static("LOGIN"), field("guest")),
            (ShortStr::from_static("PASSWORD"), field("secret")),
        ]);
        let mut out = BytesMut::new();
        table.encode(&mut out);
        let parsed = parse_amqplain(&out.freeze().slice(4..)).expect("valid");
        assert_eq!((parsed.user.as_str(), parsed.password.as_str()), ("guest", "secret"));
    }
}
