//! What the wire costs: frames, properties and field tables, from bytes to values and back.
//!
//! `cargo bench --bench codec`, with a part of a name behind it for some of them. An iteration is
//! what one read or one write of a busy connection brings.

use bytes::{Bytes, BytesMut};
use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher};
use ferrymq::protocol::frame::{
    ContentHead, FRAME_END, FrameDecoder, FrameKind, Frames, body_frame_head, encode_body_frame,
    encode_content_header, encode_deliver, encode_method,
};
use ferrymq::protocol::gather::Gather;
use ferrymq::protocol::generated::{BasicPublish, Method};
use ferrymq::protocol::message::{Body, BodyRef, Message};
use ferrymq::protocol::properties::{BasicProperties, Properties};
use ferrymq::protocol::table::{FieldTable, FieldValue};
use ferrymq::protocol::wire::{Fields, ShortStr};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const BODY_LENS: [usize; 3] = [16, 1024, 64 * 1024];

const FRAME_MAX: u32 = 131_072;

/// Bytes of bodies in a read or a write, and messages at most.
const BATCH_BYTES: usize = 256 * 1024;
const BATCH_MAX: usize = 100;

fn main() {
    divan::main();
}

fn batch(body_len: usize) -> usize {
    (BATCH_BYTES / body_len).min(BATCH_MAX)
}

fn short(text: &'static str) -> ShortStr {
    ShortStr::from_static(text)
}

/// What a client with some habits sends: ten properties, four headers.
fn rich_properties() -> BasicProperties {
    BasicProperties {
        content_type: Some(short("application/json")),
        content_encoding: Some(short("utf-8")),
        headers: Some(headers()),
        delivery_mode: Some(2),
        priority: Some(0),
        correlation_id: Some(short("6f1e2c1c-8b51-4a83-a51b-5f4b4f5cf0a2")),
        reply_to: Some(short("amq.gen-JzTY20BRgKO-HjmUJj0wLg")),
        message_id: Some(short("0d9b8f7e-25a4-4f6a-9c3d-1b2a3c4d5e6f")),
        timestamp: Some(1_700_000_000),
        app_id: Some(short("orders")),
        ..BasicProperties::default()
    }
}

fn headers() -> FieldTable {
    let text = |text: &'static str| FieldValue::LongStr(Bytes::from_static(text.as_bytes()));
    let inner = FieldTable::from_iter([
        (short("attempt"), FieldValue::I32(3)),
        (short("first"), FieldValue::Bool(false)),
    ]);
    FieldTable::from_iter([
        (short("task"), text("billing.tasks.send_invoice")),
        (short("number"), FieldValue::I64(1 << 40)),
        (short("retries"), FieldValue::Table(inner)),
        (short("tags"), FieldValue::Array(vec![text("eu"), text("monthly")])),
    ])
}

fn publish() -> Method {
    let (exchange, routing_key) = (short("orders"), short("eu.invoices"));
    BasicPublish { exchange, routing_key, ..BasicPublish::default() }.into()
}

fn persistent() -> Properties {
    Properties::from(&BasicProperties { delivery_mode: Some(2), ..BasicProperties::default() })
}

/// A read full of publishes.
fn publishes(body_len: usize) -> BytesMut {
    let (mut read, body) = (BytesMut::new(), vec![b'x'; body_len]);
    for _ in 0..batch(body_len) {
        encode_method(1, &publish(), &mut read);
        encode_content_header(1, body_len as u64, persistent().as_bytes(), &mut read);
        encode_body_frame(1, &body, &mut read);
    }
    read
}

/// Cuts a read into frames, and makes a message of each publish.
#[divan::bench(args = BODY_LENS)]
fn decode_publishes(bencher: Bencher<'_, '_>, body_len: usize) {
    let (decoder, read) = (FrameDecoder::new(FRAME_MAX), publishes(body_len));
    bencher
        .counter(ItemsCount::new(batch(body_len)))
        .counter(BytesCount::new(read.len()))
        .with_inputs(|| read.clone())
        .bench_local_values(|mut read| {
            let mut frames = decoder.take_whole(&mut read).expect("valid");
            let mut messages = Vec::with_capacity(batch(body_len));
            while frames.peek().is_some() {
                messages.push(decode_publish(&mut frames));
            }
            messages
        });
}

fn decode_publish(frames: &mut Frames) -> Message {
    let (mut publish, mut properties) = (BasicPublish::default(), Properties::default());
    loop {
        let frame = frames.peek().expect("whole publishes");
        match frame.kind {
            FrameKind::Method => {
                let method = Method::decode(&frame.shared_payload()).expect("valid");
                let Method::BasicPublish(found) = method else { panic!("another method") };
                publish = found;
            }
            FrameKind::Header => {
                let head = ContentHead::decode(frame.payload).expect("valid");
                let bytes = Bytes::copy_from_slice(head.properties);
                properties = Properties::parse(bytes).expect("valid");
            }
            FrameKind::Body => {
                let BasicPublish { exchange, routing_key, .. } = &publish;
                let body = Body::from(frame.shared_payload());
                let message = Message::new(exchange, routing_key, &properties, body, false);
                frames.advance();
                return message;
            }
            FrameKind::Heartbeat => {}
        }
        frames.advance();
    }
}

/// Writes deliveries as a connection's writer does.
#[divan::bench(args = BODY_LENS)]
fn encode_deliveries(bencher: Bencher<'_, '_>, body_len: usize) {
    let (exchange, key) = (short("orders"), short("eu.invoices"));
    let body = Body::from(Bytes::from(vec![b'x'; body_len]));
    let message = Message::new(&exchange, &key, &persistent(), body, false);
    let consumer = short("ctag1.6f1e2c1c8b514a83");
    let mut gather = Gather::default();
    bencher
        .counter(ItemsCount::new(batch(body_len)))
        .counter(BytesCount::new(batch(body_len) * body_len))
        .bench_local(|| {
            for tag in 0..batch(body_len) as u64 {
                let out = gather.buffer();
                encode_deliver(1, &consumer, tag, false, message.address(), out);
                encode_content_header(1, message.body_len(), message.properties_bytes(), out);
                match message.body() {
                    BodyRef::Small(body) => encode_body_frame(1, body, out),
                    BodyRef::Large(chunks) => chunks.iter().for_each(|chunk| {
                        let out = gather.buffer();
                        out.extend_from_slice(&body_frame_head(1, chunk.len()));
                        gather.push(chunk);
                        gather.buffer().extend_from_slice(&[FRAME_END]);
                    }),
                }
            }
            gather.seal();
            gather.write_to(&mut std::io::sink()).expect("a sink takes everything");
        });
}

#[divan::bench]
fn encode_table(bencher: Bencher<'_, '_>) {
    let (table, mut out) = (headers(), BytesMut::new());
    bencher.bench_local(|| {
        out.clear();
        divan::black_box(&table).encode(&mut out);
    });
}

#[divan::bench]
fn decode_table(bencher: Bencher<'_, '_>) {
    let bytes = encoded(&headers());
    bencher.bench_local(|| FieldTable::decode(&mut Fields::new(divan::black_box(&bytes))));
}

/// All that is done with a table that is only passed on.
#[divan::bench]
fn check_table(bencher: Bencher<'_, '_>) {
    let bytes = encoded(&headers());
    bencher.bench_local(|| FieldTable::check(&mut Fields::new(divan::black_box(&bytes))));
}

fn encoded(table: &FieldTable) -> Bytes {
    let mut out = BytesMut::new();
    table.encode(&mut out);
    out.freeze()
}

#[divan::bench]
fn encode_properties(bencher: Bencher<'_, '_>) {
    let properties = rich_properties();
    bencher.bench_local(|| Properties::from(divan::black_box(&properties)));
}

/// What each content header goes through.
#[divan::bench]
fn check_properties(bencher: Bencher<'_, '_>) {
    let bytes = Properties::from(&rich_properties()).as_bytes().clone();
    bencher.bench_local(|| Properties::parse(divan::black_box(&bytes).clone()));
}

#[divan::bench]
fn decode_properties(bencher: Bencher<'_, '_>) {
    let properties = Properties::from(&rich_properties());
    bencher.bench_local(|| divan::black_box(&properties).decode());
}
