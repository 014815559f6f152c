//! What the broker counts while clients publish, consume and get.

use std::sync::Arc;

use ferrymq::broker::counters::{Count, Counts};
use ferrymq::broker::dead_letter::Reason;
use ferrymq::broker::queue::Queue;
use ferrymq::broker::queue::arguments::QueueType;
use ferrymq::broker::vhost::Vhost;
use ferrymq::protocol::generated::*;
use ferrymq::protocol::properties::Properties;

use crate::support::*;

fn vhost(broker: &TestBroker) -> Arc<Vhost> {
    broker.broker().vhost("/").expect("it is there from the start")
}

fn queue(broker: &TestBroker, name: &str) -> Arc<Queue> {
    vhost(broker).queue(name).expect("it was declared")
}

fn expected(counts: &[(Count, u64)]) -> Counts {
    counts.iter().fold(Counts::default(), |sum, (count, by)| sum.with(*count, *by))
}

#[test]
fn a_queue_counts_what_comes_goes_and_comes_back() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.declare_queue(1, "q");
    assert!(peer.get(1, "q", true).is_none());
    ["a", "b", "c", "d"].iter().for_each(|body| peer.publish(1, "", "q", body));
    assert!(peer.get(1, "q", true).is_some());
    assert!(peer.get(1, "q", false).is_some());
    peer.consume(1, "q", "c");
    let tags = [(); 2].map(|()| peer.delivery(1).0);
    peer.send(1, BasicAck { delivery_tag: tags[0], multiple: false });
    peer.send(1, BasicReject { delivery_tag: tags[1], requeue: true });
    assert!(peer.delivery(1).1, "it comes again");
    peer.sync(1);
    let counts = [
        (Count::Publish, 4),
        (Count::GetEmpty, 1),
        (Count::GetNoAck, 1),
        (Count::Get, 1),
        (Count::Deliver, 3),
        (Count::Redeliver, 1),
        (Count::Ack, 1),
    ];
    assert_eq!(queue(&broker, "q").counts(), expected(&counts));
}

#[test]
fn what_is_refused_is_not_acked_and_dies_for_its_reason() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    let dead = table([("x-dead-letter-exchange", long(""))]);
    let dead = QueueDeclare { queue: short("dead"), arguments: dead, ..QueueDeclare::default() };
    peer.declare(1, dead);
    peer.declare_queue(1, "q");
    for name in ["q", "dead"] {
        peer.publish(1, "", name, "x");
        let got = peer.get(1, name, false).expect("a message");
        let Method::BasicGetOk(got) = got.method else { panic!("{:?}", got.method) };
        peer.send(1, BasicReject { delivery_tag: got.delivery_tag, requeue: false });
    }
    peer.sync(1);
    assert_eq!(queue(&broker, "q").counts().get(Count::Ack), 0);
    let deaths =
        Reason::ALL.map(|reason| broker.broker().deaths().of(QueueType::Classic).get(reason));
    assert_eq!(deaths, [1, 0, 0, 0]);
}

#[test]
fn an_exchange_counts_what_comes_in_and_to_how_many_queues_it_goes() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    for queue in ["a", "b"] {
        peer.declare_queue(1, queue);
        peer.bind(1, queue, "amq.fanout", "");
    }
    (0..3).for_each(|_| peer.publish(1, "amq.fanout", "", "x"));
    peer.publish(1, "amq.topic", "nowhere", "x");
    peer.sync(1);
    let counts = |name| vhost(&broker).exchange(name).expect("predeclared").counts();
    let both = |came, went| expected(&[(Count::PublishIn, came), (Count::PublishOut, went)]);
    assert_eq!(counts("amq.fanout"), both(3, 6));
    assert_eq!(counts("amq.topic"), both(1, 0));
}

/// The sums don't go down when queues and connections go.
#[test]
fn a_vhost_counts_what_publishers_are_told_and_what_queues_saw_that_are_gone() {
    let broker = TestBroker::start();
    let mut peer = broker.channel();
    peer.call(1, ConfirmSelect::default());
    peer.declare_queue(1, "q");
    let confirmed = |peer: &mut Peer| match peer.receive(1) {
        Method::BasicAck(ack) => ack.delivery_tag,
        other => panic!("{other:?}"),
    };
    peer.publish(1, "", "q", "x");
    assert_eq!(confirmed(&mut peer), 1);
    peer.publish(1, "", "nowhere", "x");
    assert_eq!(confirmed(&mut peer), 2);
    let routing_key = short("nowhere");
    peer.send(1, BasicPublish { routing_key, mandatory: true, ..BasicPublish::default() });
    peer.send_header(1, 0, &Properties::default());
    let returned = peer.receive_content(1).method;
    assert!(matches!(returned, Method::BasicReturn(_)), "{returned:?}");
    assert_eq!(confirmed(&mut peer), 3);
    assert!(peer.get(1, "q", true).is_some());
    let totals = vhost(&broker).totals();
    let counts = [
        (Count::Publish, 3),
        (Count::Confirm, 3),
        (Count::DropUnroutable, 1),
        (Count::ReturnUnroutable, 1),
        (Count::GetNoAck, 1),
    ];
    assert_eq!(totals.counts, expected(&counts));
    assert_eq!((totals.queues, totals.messages()), (1, 0));
    peer.call(1, QueueDelete { queue: short("q"), ..QueueDelete::default() });
    peer.close();
    assert_eq!(vhost(&broker).totals().counts, expected(&counts));
    assert_eq!(vhost(&broker).totals().queues, 0);
}
