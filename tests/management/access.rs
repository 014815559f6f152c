//! Who may come in, and what is said to those who may not.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use crate::support::*;

#[test]
fn who_says_nothing_is_asked_for_a_name_and_password() {
    let broker = TestBroker::start();
    broker.nobody().get("/api/whoami").expect_refused(401, "a name and a password are needed");
    broker.client_as("guest", "wrong").get("/api/whoami").expect_refused(401, "is wrong");
    let guest = broker.client().get("/api/whoami").expect(200);
    assert_eq!(guest, json!({"name": "guest", "tags": ["administrator"]}));
}

#[test]
fn what_is_not_there_and_what_cannot_be_done_are_said() {
    let broker = TestBroker::start();
    broker.client().get("/api/no-such-thing").expect_refused(404, "/api/no-such-thing");
    broker.client().delete("/api/whoami").expect_refused(405, "DELETE can't be done");
}

#[test]
fn the_api_describes_itself() {
    let broker = TestBroker::start();
    let description = broker.client().get("/api/openapi.json").expect(200);
    let put = &description["paths"]["/api/vhosts/{vhost}"]["put"];
    let schema = &put["requestBody"]["content"]["application/json"]["schema"]["$ref"];
    let schema = schema.as_str().and_then(|place| place.strip_prefix('#')).expect("its body");
    assert!(description.pointer(schema).is_some(), "{schema} is not described");
}

#[test]
fn a_slash_at_the_end_of_a_path_says_nothing() {
    let broker = TestBroker::start();
    let names = broker.client().get("/api/vhosts/?columns=name").expect(200);
    assert_eq!(names, json!([{"name": "/"}]));
}

/// An answer that came before the body was read ended the connection behind it.
#[test]
fn a_connection_goes_on_after_a_body_that_nobody_wants() {
    let broker = TestBroker::start();
    let mut socket = TcpStream::connect(broker.http_address()).expect("it listens");
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    for _ in 0..2 {
        let head = "PUT /api/vhosts/v HTTP/1.1\r\nhost: x\r\ncontent-length: 20000\r\n\r\n";
        socket.write_all(head.as_bytes()).expect("it listens");
        socket.write_all(&[b' '; 20_000]).expect("it listens");
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            let mut chunk = [0; 4096];
            let count = socket.read(&mut chunk).expect("an answer in time");
            assert!(count > 0, "the connection was closed");
            answer.extend_from_slice(&chunk[..count]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 401"), "nobody is asked who they are");
    }
}
