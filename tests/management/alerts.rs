//! Alerts by rule: who is told of queues that are not well, and when they are again.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, sync_channel};

use ferrymq::alert_rule::{AlertExchange, AlertKind, AlertRule, Pattern};
use ferrymq::protocol::generated::{BasicAck, ExchangeDeclare};
use serde_json::{Value, json};

use crate::amqp::{Peer, short};
use crate::metrics::scrape;
use crate::support::*;

fn rule(kind: AlertKind, threshold: u64) -> AlertRule {
    AlertRule {
        name: "the rule".to_owned(),
        vhost: Some("/".to_owned()),
        queue: Pattern::new("^watched").expect("a pattern"),
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

fn to_exchange() -> AlertExchange {
    let [vhost, name, routing_key] = ["/", "alerts", "dead"].map(str::to_owned);
    AlertExchange { vhost, name, routing_key }
}

/// Declares the exchange, and the queue where what it is told goes.
fn declare_told(peer: &mut Peer) {
    let (exchange, kind) = (short("alerts"), short("direct"));
    peer.call(1, ExchangeDeclare { exchange, kind, ..ExchangeDeclare::default() });
    peer.declare_queue(1, "told");
    peer.bind(1, "told", "alerts", "dead");
}

fn next_told(peer: &mut Peer) -> Value {
    let told = peer.get(1, "told", true).expect("it was told");
    serde_json::from_slice(&told.body).expect("JSON")
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
    rule.exchange = Some(to_exchange());
    let broker = start(rule);
    let mut peer = broker.channel();
    declare_told(&mut peer);
    peer.declare_queue(1, "watched.dead");
    peer.declare_queue(1, "unwatched");
    for queue in ["watched.dead", "unwatched"] {
        (0..3).for_each(|_| peer.publish(1, "", queue, "m"));
    }
    peer.get(1, "watched.dead", false).expect("there");
    peer.wait_for_ready(1, "told", 1);
    let told = next_told(&mut peer);
    assert_eq!((&told["state"], &told["queue"]), (&json!("firing"), &json!("watched.dead")));
    assert_eq!((&told["rule"], &told["kind"]), (&json!("the rule"), &json!("dead_letters")));
    // Those that a consumer has are still there.
    assert_eq!((&told["value"], &told["threshold"]), (&json!(3), &json!(2)));
    assert_eq!((&told["node"], &told["vhost"]), (&json!("ferrymq@localhost"), &json!("/")));
    peer.send(1, BasicAck { delivery_tag: 1, multiple: false });
    (0..2).for_each(|_| drop(peer.get(1, "watched.dead", true).expect("there")));
    peer.wait_for_ready(1, "told", 1);
    let told = next_told(&mut peer);
    assert_eq!(told["state"], "resolved");
    assert_eq!(peer.ready(1, "told"), 0, "and of nothing else");
}

#[test]
fn a_webhook_that_fails_is_called_again() {
    let (url, called) = webhook(&[500, 503]);
    let mut rule = rule(AlertKind::Backlog, 1);
    (rule.webhook, rule.log) = (Some(url), false);
    let broker = start(rule);
    let mut peer = broker.channel();
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
    let mut peer = broker.channel();
    peer.declare_queue(1, "watched");
    peer.publish(1, "", "watched", "m");
    let told = called.recv_timeout(DEADLINE).expect("called");
    assert_eq!((&told["state"], &told["kind"]), (&json!("firing"), &json!("oldest_age")));
    assert!(told["value"].as_u64().expect("seconds") >= 1, "{told}");
    // A queue that is deleted is no trouble any more.
    broker.client().delete("/api/queues/%2f/watched").expect(204);
    assert_eq!(called.recv_timeout(DEADLINE).expect("called")["state"], "resolved");
}

#[test]
fn what_goes_on_is_told_again_with_the_same_beginning() {
    let (url, called) = webhook(&[]);
    let mut rule = rule(AlertKind::Backlog, 1);
    (rule.webhook, rule.repeat_seconds) = (Some(url), 1);
    let broker = start(rule);
    let mut peer = broker.channel();
    peer.declare_queue(1, "watched");
    peer.publish(1, "", "watched", "m");
    let [first, again] = [(); 2].map(|()| called.recv_timeout(DEADLINE).expect("called"));
    assert_eq!((&first["state"], &again["state"]), (&json!("firing"), &json!("firing")));
    assert_eq!(first["since_ms"], again["since_ms"]);
    assert!(again["at_ms"].as_u64() > first["at_ms"].as_u64(), "{first} {again}");
}

#[test]
fn an_exchange_that_is_not_there_keeps_no_other_from_being_told() {
    let (url, called) = webhook(&[]);
    let mut rule = rule(AlertKind::Backlog, 1);
    (rule.webhook, rule.exchange, rule.repeat_seconds) = (Some(url), Some(to_exchange()), 1);
    let broker = start(rule);
    let mut peer = broker.channel();
    peer.declare_queue(1, "watched");
    peer.publish(1, "", "watched", "m");
    assert_eq!(called.recv_timeout(DEADLINE).expect("called")["state"], "firing");
    declare_told(&mut peer);
    wait_until("it is told where it can be now", || peer.ready(1, "told") > 0);
    assert_eq!(next_told(&mut peer)["state"], "firing");
}

const RULES: &str = "/api/global-parameters/alert-rules";

fn backlog(name: &str, threshold: u64) -> Value {
    json!({"name": name, "queue": "^watched", "kind": "backlog", "threshold": threshold})
}

#[test]
fn rules_come_change_and_go_while_the_broker_runs_and_survive_a_restart() {
    let (url, called) = webhook(&[]);
    let mut broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "watched");
    (0..2).for_each(|_| peer.publish(1, "", "watched", "m"));
    let mut with_webhook = backlog("told", 2);
    with_webhook["webhook"] = url.as_str().into();
    let rules = json!({"value": [with_webhook, backlog("silent", 3)]});
    broker.client().put(RULES, &rules).expect(201);
    let notice = called.recv_timeout(DEADLINE).expect("called");
    assert_eq!((&notice["state"], &notice["rule"]), (&json!("firing"), &json!("told")));
    let shown = broker.client().get("/api/alerts").expect(200);
    assert_eq!(names(&shown), ["silent", "told"]);
    assert_eq!((&shown[0]["firing_count"], &shown[0]["firing"]), (&json!(0), &json!([])));
    assert_eq!((&shown[1]["firing_count"], &shown[1]["origin"]), (&json!(1), &json!("parameter")));
    let firing = &shown[1]["firing"][0];
    assert_eq!((&firing["queue"], &firing["value"]), (&json!("watched"), &json!(2)));
    assert_eq!(firing["since_ms"], notice["since_ms"]);
    let host = url.strip_suffix("/alerts").expect("its path");
    assert_eq!(shown[1]["webhook"], format!("{host}/***"));
    let gauge = |broker: &TestBroker, rule: &str| {
        scrape(broker, "/metrics")
            .get(&format!("ferrymq_alerts_firing{{rule=\"{rule}\"}}"))
            .copied()
    };
    assert_eq!((gauge(&broker, "told"), gauge(&broker, "silent")), (Some(1.0), Some(0.0)));
    // It goes: what had fired is resolved.
    broker.client().put(RULES, &json!({"value": [backlog("silent", 3)]})).expect(204);
    assert_eq!(called.recv_timeout(DEADLINE).expect("called")["state"], "resolved");
    broker.restart();
    assert_eq!(names(&broker.client().get("/api/alerts").expect(200)), ["silent"]);
    broker.client().delete(RULES).expect(204);
    assert_eq!(broker.client().get("/api/alerts").expect(200), json!([]));
    wait_until("no rule is left", || gauge(&broker, "silent").is_none());
}

#[test]
fn a_rule_of_the_parameter_stands_in_for_one_of_the_file() {
    let broker = start(rule(AlertKind::Backlog, 5));
    let client = broker.client();
    let shown = || client.get("/api/alerts?columns=threshold,origin").expect(200);
    assert_eq!(shown(), json!([{"threshold": 5, "origin": "file"}]));
    client.put(RULES, &json!({"value": [backlog("the rule", 7)]})).expect(201);
    assert_eq!(shown(), json!([{"threshold": 7, "origin": "parameter"}]));
    client.delete(RULES).expect(204);
    assert_eq!(shown(), json!([{"threshold": 5, "origin": "file"}]));
}

#[test]
fn every_mistake_in_rules_is_named_and_none_of_them_is_taken() {
    let broker = TestBroker::start();
    let client = broker.client();
    let wrong = json!([backlog("right", 1), {"name": "a", "queue": "(", "kind": "lag"}]);
    for reason in [
        "rule 'a': queue: '(' is no regular expression",
        "rule 'a': kind: unknown variant `lag`",
        "rule 'a': missing field `threshold`",
    ] {
        client.put(RULES, &json!({"value": wrong})).expect_refused(400, reason);
        let definitions = json!({"global_parameters": [{"name": "alert-rules", "value": wrong}]});
        client.post("/api/definitions", &definitions).expect_refused(400, reason);
    }
    client.get(RULES).expect(404);
    let right = json!([{"name": "alert-rules", "value": [backlog("right", 1)]}]);
    client.post("/api/definitions", &json!({"global_parameters": right})).expect(204);
    assert_eq!(client.get("/api/definitions").expect(200)["global_parameters"], right);
    assert_eq!(names(&client.get("/api/alerts").expect(200)), ["right"]);
    let reader = broker.user_in("%2f", "reader", "management");
    reader.get("/api/alerts").expect_refused(401, "the tag monitoring or administrator");
}

/// Its path is often all that somebody needs who wants to write to a webhook.
#[test]
fn the_address_of_a_webhook_is_shown_to_nobody() {
    let mut rule = rule(AlertKind::Backlog, 1);
    rule.webhook = Some("http://127.0.0.1:9/T0/hidden".to_owned());
    let broker = start(rule.clone());
    let client = broker.client();
    client.put(RULES, &json!({"value": [rule]})).expect(201);
    client.put(RULES, &json!({"value": [rule, backlog("other", 1)]})).expect(204);
    let settings = client.get("/api/config/effective").expect(200);
    assert_eq!(settings["alert"]["rule"][0]["webhook"], "http://127.0.0.1:9/***");
    let audit = client.get("/api/audit?kind=parameter").expect(200);
    assert_eq!(audit["items"][0]["before"][0]["webhook"], "http://127.0.0.1:9/***");
    let shown = [settings, audit, client.get("/api/alerts").expect(200)];
    shown.iter().for_each(|shown| assert!(!shown.to_string().contains("hidden"), "{shown}"));
    // Whoever sets it can read it again.
    assert!(client.get(RULES).expect(200).to_string().contains("hidden"));
}
