//! Arbitrary bytes as a method: what was decoded is written and read back as it was; and as the
//! response of a login.

#![no_main]

use bytes::{Bytes, BytesMut};
use ferrymq::protocol::generated::Method;
use ferrymq::protocol::sasl::{parse_amqplain, parse_plain};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(method) = Method::decode(&bytes) {
        let mut out = BytesMut::new();
        method.encode(&mut out);
        let again = Method::decode(&out.clone().freeze()).expect("own bytes");
        let mut second = BytesMut::new();
        again.encode(&mut second);
        assert_eq!(out, second);
    }
    let _ = parse_plain(data);
    let _ = parse_amqplain(&bytes);
});
