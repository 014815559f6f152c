//! Arbitrary bytes as a field table: checking and decoding agree, and what was decoded is written
//! and read back as it was.

#![no_main]

use bytes::{Bytes, BytesMut};
use ferrymq::protocol::table::FieldTable;
use ferrymq::protocol::wire::Fields;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    let checked = FieldTable::check(&mut Fields::new(&bytes)).is_ok();
    let decoded = FieldTable::decode(&mut Fields::new(&bytes));
    assert_eq!(checked, decoded.is_ok());
    if let Ok(table) = decoded {
        let mut out = BytesMut::new();
        table.encode(&mut out);
        let again = FieldTable::decode(&mut Fields::new(&out.clone().freeze())).expect("own bytes");
        let mut second = BytesMut::new();
        again.encode(&mut second);
        // By their bytes: a NaN is not equal to itself.
        assert_eq!(out, second);
    }
});
