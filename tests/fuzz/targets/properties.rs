//! Arbitrary bytes as the properties of a content: what is let in can be decoded, and its headers read.

#![no_main]

use bytes::Bytes;
use ferrymq::protocol::properties::Properties;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(properties) = Properties::parse(Bytes::copy_from_slice(data)) {
        let decoded = properties.decode().expect("it was checked");
        assert_eq!(properties.headers().is_some(), decoded.headers.is_some());
        assert_eq!(properties.is_persistent(), decoded.delivery_mode == Some(2));
    }
});
