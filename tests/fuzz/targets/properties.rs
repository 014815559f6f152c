//! Arbitrary bytes as the properties of a content: what is let in can be read, and changed without
//! harm to the rest; its fields are those that decoding finds, where all of its text is UTF-8.

#![no_main]

use bytes::{Bytes, BytesMut};
use ferrymq::protocol::properties::Properties;
use ferrymq::protocol::table::FieldTable;
use libfuzzer_sys::fuzz_target;

/// Tables are compared by their bytes: a NaN is not equal to itself.
fn written(table: Option<&FieldTable>) -> Option<BytesMut> {
    let mut out = BytesMut::new();
    table?.encode(&mut out);
    Some(out)
}

fuzz_target!(|data: &[u8]| {
    let Ok(properties) = Properties::parse(Bytes::copy_from_slice(data)) else { return };
    let headers = properties.headers();
    if let Ok(decoded) = properties.decode() {
        assert_eq!(written(headers.as_ref()), written(decoded.headers.as_ref()));
        assert_eq!(properties.delivery_mode(), decoded.delivery_mode);
        assert_eq!(properties.priority(), decoded.priority);
        assert_eq!(properties.expiration(), decoded.expiration);
        assert_eq!(properties.user_id(), decoded.user_id);
    }
    let changed = properties.without_expiration().with_headers(&headers.unwrap_or_default());
    let again = Properties::parse(changed.as_bytes().clone()).expect("own bytes");
    assert_eq!(again, changed);
    assert_eq!(again.expiration(), None);
    assert_eq!(again.user_id(), properties.user_id());
    assert_eq!(again.delivery_mode(), properties.delivery_mode());
});
