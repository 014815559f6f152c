//! Transactions.

use ferrymq::protocol::generated::*;

use crate::support::*;

fn selected(broker: &TestBroker) -> Peer {
    let mut peer = broker.channel();
    assert_eq!(peer.call(1, TxSelect), Method::from(TxSelectOk));
    peer
}

#[test]
fn publishes_wait_for_the_commit_and_go_with_a_rollback() {
    let broker = TestBroker::start();
    let mut peer = selected(&broker);
    peer.declare_queue(1, "q");
    peer.publish(1, "", "q", "dropped");
    assert_eq!(peer.call(1, TxRollback), Method::from(TxRollbackOk));
    peer.publish(1, "", "q", "kept");
    assert_eq!(peer.ready(1, "q"), 0);
    assert_eq!(peer.call(1, TxCommit), Method::from(TxCommitOk));
    assert_eq!(peer.get(1, "q", true).expect("there").body, b"kept");
    assert_eq!(peer.get(1, "q", true), None);
}

#[test]
fn acks_wait_for_the_commit_and_come_back_with_a_rollback() {
    let broker = TestBroker::start();
    let mut peer = selected(&broker);
    peer.declare_queue(1, "q");
    (0..2).for_each(|number| peer.publish(1, "", "q", &number.to_string()));
    peer.call(1, TxCommit);
    peer.get(1, "q", false).expect("there");
    peer.send(1, BasicAck { delivery_tag: 1, multiple: false });
    peer.call(1, TxRollback);
    // It is outstanding again.
    peer.send(1, BasicNack { delivery_tag: 1, requeue: true, multiple: false });
    peer.call(1, TxCommit);
    assert_eq!(peer.ready(1, "q"), 2);
    peer.get(1, "q", false).expect("there");
    peer.send(1, BasicAck { delivery_tag: 2, multiple: false });
    peer.call(1, ChannelClose::default());
    // What was never committed never happened.
    peer.open_channel(1);
    assert_eq!(peer.ready(1, "q"), 2);
}

#[test]
fn a_mandatory_message_comes_back_at_the_commit() {
    let broker = TestBroker::start();
    let mut peer = selected(&broker);
    let routing_key = short("nowhere");
    peer.send(1, BasicPublish { routing_key, mandatory: true, ..BasicPublish::default() });
    peer.send_header(1, 0, &persistent());
    peer.send(1, TxCommit);
    assert!(matches!(peer.receive_content(1).method, Method::BasicReturn(_)));
    assert_eq!(peer.receive(1), Method::from(TxCommitOk));
}

#[test]
fn only_a_transactional_channel_commits_and_it_does_not_confirm() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    for method in [Method::from(TxCommit), TxRollback.into()] {
        peer.send(1, method);
        let text = "PRECONDITION_FAILED - channel is not transactional";
        assert_eq!(peer.expect_channel_close(1), (406, text.to_owned()));
        peer.open_channel(1);
    }
    peer.call(1, TxSelect);
    peer.send(1, ConfirmSelect::default());
    let text = "PRECONDITION_FAILED - cannot switch from tx to confirm mode";
    assert_eq!(peer.expect_channel_close(1), (406, text.to_owned()));
}

#[test]
fn a_committed_transaction_is_there_after_a_restart() {
    let mut broker = TestBroker::start();
    let mut peer = selected(&broker);
    for name in ["a", "b"] {
        let queue = short(name);
        peer.declare(1, QueueDeclare { queue, durable: true, ..QueueDeclare::default() });
        peer.publish_with(1, "", name, b"m", &persistent());
    }
    peer.call(1, TxCommit);
    drop(peer);
    broker.restart();
    let mut peer = broker.channel();
    assert_eq!((peer.ready(1, "a"), peer.ready(1, "b")), (1, 1));
}
