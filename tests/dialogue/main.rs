//! Dialogues with the broker over a real socket, frame by frame: send this, expect that.
//!
//! * `handshake`: protocol header to open, and what is refused on the way
//! * `frames`: broken, misplaced and oversized frames
//! * `channels`: opening, closing, errors and what follows them
//! * `exchanges`, `queues`: declaring, binding, deleting, and the words of their errors
//! * `exchange_types`: whom a message reaches through each type of exchange
//! * `groups`: queues that give what agrees in a header to one consumer at a time
//! * `extra_keys`: routing keys in CC and BCC
//! * `queue_arguments`: what each argument of a queue may be, and what it comes to
//! * `policies`: options by policy
//! * `limits`: how many connections, channels and queues there may be; parameters
//! * `dead_letters`, `dead_letter_rounds`: what dies, where it goes, and that this ends
//! * `deduplication`: messages that come once, however often they are published
//! * `delayed`, `delayed_order`: messages that are published for later
//! * `ttl`, `lengths`, `priorities`, `expiry`: queues that age, fill up, rank, and go unused
//! * `redelivery`, `retry`: messages that come again, counted and after a while
//! * `publish`: confirms, returns, limits
//! * `consume`: delivery, settling, cancelling
//! * `consumer_timeout`: consumers that don't settle what they have
//! * `counters`: what the broker counts of it all
//! * `events`: what happens in the broker, told as messages
//! * `prefetch`: limits on what is out, and changing them
//! * `reply_to`: replies without a queue for them
//! * `single_active`: queues with one active consumer at a time
//! * `tracing`: copies of what is published and delivered
//! * `tx`: transactions
//! * `full_disk`, `full_memory`: publishers held back
//! * `long_queues`: queues that are longer than what is kept of them in memory
//! * `fairness`: what others get while clients publish without a pause or read nothing
//! * `durability`: what a restart leaves, and a store that fails
//! * `permissions`: who may do what

mod aids;
mod channels;
mod consume;
mod consumer_timeout;
mod counters;
mod dead_letter_rounds;
mod dead_letters;
mod deduplication;
mod delayed;
mod delayed_order;
mod durability;
mod events;
mod exchange_types;
mod exchanges;
mod expiry;
mod extra_keys;
mod fairness;
mod frames;
mod full_disk;
mod full_memory;
mod groups;
mod handshake;
mod lengths;
mod limits;
mod long_queues;
mod permissions;
mod policies;
mod prefetch;
mod priorities;
mod publish;
mod queue_arguments;
mod queues;
mod redelivery;
mod reply_to;
mod retry;
mod single_active;
mod support;
#[path = "../support/broker.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod test_broker;
mod topic_permissions;
mod tracing;
mod ttl;
mod tx;
mod vhosts;
