//! The generated code against the specification: arguments written here, field by field as the TOML
//! files say and by nothing of the library, are read by it and come back as they were.

use bytes::{Bytes, BytesMut};
use ferrymq::protocol::generated::Method;
use ferrymq::protocol::properties::Properties;
use ferrymq::protocol::reply::ReplyCode;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};

use super::spec::{self, Class, Field};

/// For each method; there are more than sixty of them.
const CASES: u32 = 64;

fn sized(len: usize, bytes: &[u8]) -> Vec<u8> {
    let len_bytes = (bytes.len() as u32).to_be_bytes();
    [&len_bytes[4 - len..], bytes].concat()
}

/// A table with one of the types that methods use, perhaps within another table.
fn table() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        vec(any::<u8>(), 0..20).prop_map(|bytes| [b"S".as_slice(), &sized(4, &bytes)].concat()),
        any::<bool>().prop_map(|bit| vec![b't', u8::from(bit)]),
        any::<i32>().prop_map(|int| [b"I".as_slice(), &int.to_be_bytes()].concat()),
        any::<i64>().prop_map(|int| [b"l".as_slice(), &int.to_be_bytes()].concat()),
        Just(vec![b'V']),
    ];
    let fields = vec(("[a-z-]{0,12}", value), 0..4).prop_map(|fields| {
        let written =
            fields.iter().map(|(name, value)| [&sized(1, name.as_bytes()), &value[..]].concat());
        written.collect::<Vec<_>>().concat()
    });
    (fields, any::<bool>()).prop_map(|(fields, nested)| match nested {
        false => sized(4, &fields),
        true => sized(4, &[b"\x05innerF".as_slice(), &sized(4, &fields)].concat()),
    })
}

/// A value as it stands on the wire; of a bit, 0 or 1.
fn value(kind: &str) -> BoxedStrategy<Vec<u8>> {
    match kind {
        "bit" => any::<bool>().prop_map(|bit| vec![u8::from(bit)]).boxed(),
        "octet" => any::<[u8; 1]>().prop_map(Vec::from).boxed(),
        "short" => any::<[u8; 2]>().prop_map(Vec::from).boxed(),
        "long" => any::<[u8; 4]>().prop_map(Vec::from).boxed(),
        "longlong" | "timestamp" => any::<[u8; 8]>().prop_map(Vec::from).boxed(),
        "shortstr" => "[a-zäß€.]{0,40}".prop_map(|text| sized(1, text.as_bytes())).boxed(),
        "longstr" => vec(any::<u8>(), 0..300).prop_map(|bytes| sized(4, &bytes)).boxed(),
        "table" => table().boxed(),
        other => panic!("the type {other:?} is not one of the protocol's"),
    }
}

/// What stands in the place of a reserved field.
fn zero(kind: &str) -> Vec<u8> {
    match kind {
        "bit" | "shortstr" => vec![0],
        "short" => vec![0; 2],
        "longstr" => vec![0; 4],
        other => panic!("no reserved field has the type {other:?}"),
    }
}

/// The payload of a method frame. Consecutive bits share an octet, the first in its lowest place.
fn payload(class_id: u16, method_id: u16, fields: &[Field<'_>], values: &[Vec<u8>]) -> Bytes {
    let mut out = [class_id.to_be_bytes(), method_id.to_be_bytes()].concat();
    let mut bits = 0;
    for (field, value) in fields.iter().zip(values) {
        if field.kind != "bit" {
            bits = 0;
            out.extend_from_slice(value);
            continue;
        }
        if bits == 0 {
            out.push(0);
        }
        *out.last_mut().expect("not empty") |= value[0] << bits;
        bits += 1;
    }
    out.into()
}

fn encoded(method: &Method) -> Bytes {
    let mut out = BytesMut::new();
    method.encode(&mut out);
    out.freeze()
}

fn run<S: Strategy>(strategy: &S, check: impl Fn(S::Value) -> TestCaseResult) {
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(strategy, check).unwrap_or_else(|failure| panic!("{failure}"));
}

fn check_method(class: &Class, method: &spec::Method) {
    let fields = method.fields();
    let name = format!("{}.{}", class.name, method.name);
    let values: Vec<_> = fields.iter().map(|field| value(field.kind)).collect();
    run(&(values, any::<prop::sample::Index>()), |(values, cut)| {
        let kept: Vec<Vec<u8>> = fields
            .iter()
            .zip(&values)
            .map(|(field, value)| if field.reserved { zero(field.kind) } else { value.clone() })
            .collect();
        let received = payload(class.id, method.id, &fields, &values);
        let decoded = Method::decode(&received).map_err(|error| TestCaseError::fail(error.text))?;
        prop_assert_eq!(decoded.name(), &name);
        prop_assert_eq!((decoded.class_id(), decoded.method_id()), (class.id, method.id));
        prop_assert_eq!(decoded.carries_content(), method.content);
        let sent = payload(class.id, method.id, &fields, &kept);
        prop_assert_eq!(encoded(&decoded), &sent, "reserved fields are zero, all others kept");

        let code = |bytes: Bytes| Method::decode(&bytes).map_err(|error| error.code);
        let cut = received.slice(..cut.index(received.len()));
        prop_assert_eq!(code(cut), Err(ReplyCode::SyntaxError), "cut short");
        let longer = [&received[..], &[0]].concat();
        prop_assert_eq!(code(longer.into()), Err(ReplyCode::SyntaxError), "with more behind it");
        Ok(())
    });
}

#[test]
fn every_method_comes_back_field_by_field() {
    for class in &spec::load().classes {
        class.methods.iter().for_each(|method| check_method(class, method));
    }
}

#[test]
fn every_selection_of_properties_comes_back() {
    let spec = spec::load();
    let class = spec.classes.iter().find(|class| class.name == "basic").expect("class basic");
    let values: Vec<_> =
        class.properties.iter().map(|property| prop::option::of(value(&property.kind))).collect();
    run(&values, |values| {
        let flags = values.iter().enumerate().filter(|(_, value)| value.is_some());
        let flags = flags.fold(0u16, |flags, (index, _)| flags | 0x8000 >> index);
        let list: Vec<u8> = values.iter().flatten().flatten().copied().collect();
        let bytes = Bytes::from([flags.to_be_bytes().as_slice(), &list].concat());

        let parsed =
            Properties::parse(bytes.clone()).map_err(|error| TestCaseError::fail(error.text))?;
        let decoded = parsed.decode().map_err(|error| TestCaseError::fail(error.text))?;
        let written = Properties::from(&decoded);
        prop_assert_eq!(written.as_bytes(), &bytes);
        prop_assert_eq!(&written, &parsed);
        prop_assert_eq!(parsed.headers(), decoded.headers);
        prop_assert_eq!(parsed.expiration(), decoded.expiration);
        prop_assert_eq!(parsed.user_id(), decoded.user_id);
        Ok(())
    });
}

#[test]
fn ids_that_the_specification_does_not_have_are_refused_by_their_numbers() {
    for (class, method) in [(60u16, 41u16), (61, 40), (0, 0)] {
        let payload = [class.to_be_bytes(), method.to_be_bytes()].concat();
        let error = Method::decode(&payload.into()).expect_err("unknown");
        assert_eq!(error.code, ReplyCode::CommandInvalid);
        assert!(
            error.text.contains(&class.to_string()) && error.text.contains(&method.to_string())
        );
    }
}
