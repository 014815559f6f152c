//! A queue as a whole, with its options, its consumers and the queue that its dead letters go to:
//! single stories.

use std::sync::Arc;

use ferrymq::broker::changes::Changes;
use ferrymq::broker::queue::Entry;
use ferrymq::protocol::table::FieldValue;

use crate::fixture::{Fixture, number_of, numbered, text};

/// It was lost when the broker was killed between the two.
#[test]
fn an_ack_says_nothing_of_a_message_that_is_on_its_way() {
    let fixture = Fixture::new();
    let dead = fixture.declare("dead", []);
    let dead_letter =
        [("x-dead-letter-exchange", text("")), ("x-dead-letter-routing-key", text("dead"))];
    let queue = fixture.declare("q", dead_letter);
    for number in 1..=2 {
        assert!(fixture.publish(&queue, numbered(number, 0, true, 0).into()));
    }
    let (_, hands) = fixture.consume(&queue, 0);
    fixture.answer_all();
    let places: Vec<_> = hands.held.lock().iter().map(Entry::place).collect();
    let (mut rejecting, mut acking) = (Changes::default(), Changes::default());
    queue.reject(&places[..1], &mut rejecting);
    assert_eq!(queue.ack(&places[1..], &mut acking), 1);
    queue.append(acking);
    let left = fixture.store.left(queue.id_of(0));
    assert_eq!(left.iter().map(|(_, message)| number_of(message)).collect::<Vec<_>>(), [1]);
    queue.append(rejecting);
    assert!(fixture.store.left(queue.id_of(0)).is_empty());
    assert_eq!(fixture.store.left(dead.id_of(0)).len(), 1);
}

/// It dropped what was in memory, and grew from then on.
#[test]
fn a_queue_without_consumers_reads_back_what_is_over_its_limit_in_bytes() {
    const LEN: usize = 200_000;
    let fixture = Fixture::new();
    let queue = fixture.declare("q", []);
    for number in 0..100 {
        fixture.publish(&queue, Arc::new(numbered(number, LEN, true, 0)));
        fixture.answer_all();
    }
    let limited = fixture.declare("limited", [("x-max-length-bytes", FieldValue::I64(300_000))]);
    queue.set_options(limited.options().as_ref().clone());
    fixture.answer_all();
    assert_eq!(queue.status().ready, 1);
}
