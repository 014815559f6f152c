//! The store on disk, from outside: what was committed is there after every kind of end and damage.
//!
//! * `survival`  clean ends, crashes, segments that come and go
//! * `damage`    torn tails, flipped bytes, a broken catalog, another version's files
//! * `failure`   writes that fail, the end, one process at a time
//! * `model`     random operations and ends against a naive model
//! * `paging`    messages read back, indexes, rewriting
//! * `beside`    notes of messages, what deduplication has seen, ids of levels and exchanges
//! * `crash_points`  a crash at every operation that writes
//! * `mutated`   logs whose bytes were changed at will

mod beside;
mod crash_points;
mod damage;
mod failure;
mod model;
mod mutated;
mod paging;
mod spares;
mod support;
mod survival;

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 400, ..Default::default() })]

    #[test]
    fn a_log_that_was_changed_at_will_holds_nothing_that_was_not_written(
        input in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)
    ) {
        mutated::check(&input);
    }
}
