//! Alerts by rule: who is told of queues that are not well, and when they are again.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, sync_channel};

use ferrymq::config::{AlertExchange, AlertKind, AlertRule};
use ferrymq::protocol::generated::{BasicAck, ExchangeDeclare};
use serde_json::{Value, json};

use crate::amqp::{Peer, short};
use crate::support::*;

fn rule(kind: AlertKind, threshold: u64) -> AlertRule {
    AlertRule {
        name: "the rule".to_owned(),
        vhost: Some("/".to_owned()),
        queue: "^watched".to_owned(),
        kind,
        threshold,
        for_seconds: 0,
        repeat_seconds: 0,
        log: true,
        webhook: None,
        exchange: None,
    }
}

fn start(rule: AlertRule) -> TestBroker {
    TestBroker::with(|config| config.alert.rule = vec![rule])
}

fn peer(broker: &TestBroker) -> Peer {
    let mut peer = Peer::connect(broker.amqp_address());
    peer.open("guest");
    peer.open_channel(1);
    peer
}

/// What a webhook was called with. It answers with these statuses in turn, and then with 200.
fn webhook(statuses: &'static [u16]) -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/alerts", listener.local_addr().expect("bound"));
    let (sender, receiver) = sync_channel(100);
    std::thread::spawn(move || {
        let mut statuses = statuses.iter();
        for socket in listener.incoming() {
            let mut socket = BufReader::new(socket.expect("a client"));
            let (mut line, mut len) = (String::new(), 0);
            while socket.read_line(&mut line).expect("a line") > 2 {
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    len = value.trim().parse().expect("a length");
                }
                line.clear();
            }
            let mut body = vec![0; len];
            socket.read_exact(&mut body).expect("the body");
            let status = statuses.next().unwrap_or(&200);
            let answer =
                format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            socket.get_mut().write_all(answer.as_bytes()).expect("answered");
            if *status == 200 && sender.send(serde_json::from_slice(&body).expect("JSON")).is_err()
            {
                return;
            }
        }
    });
    (url, receiver)
}

#[test]
fn an_exchange_is_told_of_dead_letters_and_of_their_end() {
    let mut rule = rule(AlertKind::DeadLetters, 2);
    rule.exchange = Some(AlertExchange {
        vhost: "/".to_owned(),
        name: "alerts".to_owned(),
        routing_key: "dead".to_owned(),
    });
    let broker = start(rule);
    let mut peer = peer(&broker);
    let declare = ExchangeDeclare {
        exchange: short("alerts"),
        kind: short("direct"),
        ..ExchangeDeclare::default()
    };
    peer.call(1, declare);
    peer.declare_queue(1, "told");
    peer.bind(1, "told", "alerts", "dead");
    peer.declare_queue(1, "watched.dead");
    peer.declare_queue(1, "unwatched");
    for queue in ["watched.dead", "unwatched"] {
        (0..3).for_each(|_| peer.publish(1, "", queue, "m"));
    }
    peer.get(1, "watched.dead", false).expect("there");
    peer.wait_for_ready(1, "told", 1);
    let told = peer.get(1, "told", true).expect("it was told");
    let told: Value = serde_json::from_slice(&told.body).expect("JSON");
    assert_eq!((&told["state"], &told["queue"]), (&json!("firing"), &json!("watched.dead")));
    assert_eq!((&told["rule"], &told["kind"]), (&json!("the rule"), &json!("dead_letters")));
    // Those that a consumer has are still there.
    assert_eq!((&told["value"], &told["threshold"]), (&json!(3), &json!(2)));
    assert_eq!((&told["node"], &told["vhost"]), (&json!("ferrymq@localhost"), &json!("/")));
    peer.send(1, BasicAck { delivery_tag: 1, multiple: false });
    (0..2).for_each(|_| drop(peer.get(1, "watched.dead", true).expect("there")));
    peer.wait_for_ready(1, "told", 1);
    let told = peer.get(1, "told", true).expect("it was told");
    let told: Value = serde_json::from_slice(&told.body).expect("JSON");
    assert_eq!(told["state"], "resolved");
    assert_eq!(peer.ready(1, "told"), 0, "and of nothing else");
}

#[test]
fn a_webhook_that_fails_is_called_again() {
    let (url, called) = webhook(&[500, 503]);
    let mut rule = rule(AlertKind::Backlog, 1);
    (rule.webhook, rule.log) = (Some(url), false);
    let broker = start(rule);
    let mut peer = peer(&broker);
    peer.declare_queue(1, "watched");
    peer.publish(1, "", "watched", "m");
    let told = called.recv_timeout(DEADLINE).expect("called");
    assert_eq!((&told["state"], &told["kind"]), (&json!("firing"), &json!("backlog")));
    peer.get(1, "watched", true).expect("there");
    assert_eq!(called.recv_timeout(DEADLINE).expect("called")["state"], "resolved");
}

#[test]
fn an_old_message_is_told_of() {
    let (url, called) = webhook(&[]);
    let mut rule = rule(AlertKind::OldestAge, 1);
    rule.webhook = Some(url);
    let broker = start(rule);
    let mut peer = peer(&broker);
    peer.declare_queue(1, "watched");
    peer.publish(1, "", "watched", "m");
    let told = called.recv_timeout(DEADLINE).expect("called");
    assert_eq!((&told["state"], &told["kind"]), (&json!("firing"), &json!("oldest_age")));
    assert!(told["value"].as_u64().expect("seconds") >= 1, "{told}");
    // A queue that is deleted is no trouble any more.
    broker.client().delete("/api/queues/%2f/watched").expect(204);
    assert_eq!(called.recv_timeout(DEADLINE).expect("called")["state"], "resolved");
}
