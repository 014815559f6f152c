//! Arbitrary bytes as a method: what was decoded is written and read back as it was.

#![no_main]

use bytes::{Bytes, BytesMut};
use ferrymq::protocol::generated::Method;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(method) = Method::decode(&Bytes::copy_from_slice(data)) else { return };
    let mut out = BytesMut::new();
    method.encode(&mut out);
    let again = Method::decode(&out.clone().freeze()).expect("own bytes");
    assert_eq!(again.name(), method.name());
    let mut second = BytesMut::new();
    again.encode(&mut second);
    // By their bytes: a NaN is not equal to itself.
    assert_eq!(out, second);
});
