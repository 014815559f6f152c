//! Arbitrary bytes as the response of a login: a name that is taken from it stands in it.

#![no_main]

use bytes::Bytes;
use ferrymq::protocol::sasl::{Credentials, parse_amqplain, parse_plain};
use libfuzzer_sys::fuzz_target;

fn stands_in(text: &str, response: &[u8]) -> bool {
    text.is_empty() || response.windows(text.len()).any(|window| window == text.as_bytes())
}

fn check(login: &Credentials, response: &[u8]) {
    assert!(stands_in(&login.user, response) && stands_in(&login.password, response));
}

fuzz_target!(|data: &[u8]| {
    if let Ok(login) = parse_plain(data) {
        check(&login, data);
        assert!(!login.user.contains('\0'));
    }
    if let Ok(login) = parse_amqplain(&Bytes::copy_from_slice(data)) {
        check(&login, data);
    }
});
