//! Consistent hash: a message follows one binding, chosen by the hash of its routing key, or of a
//! header or property that the exchange names. Each destination gets the share that its weight has
//! in all weights, and when one comes or goes, only its share moves.
//!
//! Destinations stand on a ring of hashes, each at a number of points that follows from its name
//! and its weight alone: the same bindings give the same ways, in whatever order they were made and
//! after every restart. A message looks at a few places of the ring and takes the point that is
//! nearest behind one of them, which makes shares more even than more points would:
//!
//! ```text
//!   0 ──a──b────────a──c──b──c────a── 2^64
//!          ▲ 1st       ▲ 2nd place     the 2nd place is nearer to its point (c)
//! ```

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::list::BindingList;
use super::stable_hash::StableHash;
use super::{Binding, Destination, Router};
use crate::broker::binding::DestinationKey;
use crate::broker::error::Error;
use crate::broker::routing_keys::Routable;
use crate::protocol::table::{FieldTable, FieldValue};
use crate::store::definition::DestinationKind;

/// Arguments of the exchange: what is hashed instead of the routing key.
pub(super) const HASH_HEADER: &str = "hash-header";
pub(super) const HASH_PROPERTY: &str = "hash-property";

/// The largest weight of a binding, as in RabbitMQ.
const WEIGHT_MAX: u64 = 10_000;

/// The weights of an exchange together, so that its ring stays below 250 MB.
const WEIGHTS_MAX: u64 = 200_000;

/// Points on the ring for each unit of weight, and places that a message looks at. Shares deviate
/// by about 1 in √(weight × points × (2 × places - 1)): 5 % for a weight of 1.
const POINTS: u64 = 50;
const PLACES: u64 = 4;

/// What of a message is hashed.
#[derive(Debug, PartialEq, Eq)]
enum HashBy {
    RoutingKey,
    Header(String),
    MessageId,
    CorrelationId,
    Timestamp,
}

impl HashBy {
    fn parse(arguments: &FieldTable) -> Result<Self, Error> {
        let text = |name: &str| -> Result<Option<&str>, Error> {
            let Some(value) = arguments.get(name) else { return Ok(None) };
            value.as_str().map(Some).ok_or_else(|| {
                Error::precondition_failed(format!(
                    "invalid arg '{name}' for an exchange of type x-consistent-hash: a string is \
                     needed, not a {}",
                    FieldValue::type_name(value)
                ))
            })
        };
        match (text(HASH_HEADER)?, text(HASH_PROPERTY)?) {
            (None, None) => Ok(Self::RoutingKey),
            (Some(header), None) => Ok(Self::Header(header.to_owned())),
            (None, Some("message_id")) => Ok(Self::MessageId),
            (None, Some("correlation_id")) => Ok(Self::CorrelationId),
            (None, Some("timestamp")) => Ok(Self::Timestamp),
            (None, Some(other)) => Err(Error::precondition_failed(format!(
                "Unsupported property: {other}; message_id, correlation_id and timestamp are \
                 supported"
            ))),
            (Some(_), Some(_)) => Err(Error::precondition_failed(
                "hash-header and hash-property are mutually exclusive",
            )),
        }
    }

    /// Of what isn't there the hash of nothing: such messages stay together.
    fn hash(&self, message: &Routable<'_>) -> StableHash {
        let hash = StableHash::new();
        let carried = |bytes: Option<&[u8]>| hash.with(bytes.unwrap_or_default());
        let properties = message.properties;
        match self {
            Self::RoutingKey => hash.with(message.keys.first().as_bytes()),
            Self::Header(name) => match message.headers().get(name) {
                Some(value) => {
                    let (tag, bytes) = value.identity();
                    hash.with(&[tag]).with(bytes)
                }
                None => hash,
            },
            Self::MessageId => carried(properties.message_id()),
            Self::CorrelationId => carried(properties.correlation_id()),
            Self::Timestamp => carried(
                properties.timestamp().map(u64::to_be_bytes).as_ref().map(|bytes| &bytes[..]),
            ),
        }
    }
}

/// The weight that a binding key says, or RabbitMQ's words for what it says instead.
fn weight_of(binding: &Binding) -> Result<u64, Error> {
    let key = binding.key.as_str();
    let digits = key.strip_prefix(['+', '-']).unwrap_or(key);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Error::precondition_failed(format!(
            "The binding key must be an integer: <<\"{key}\">>"
        )));
    }
    // More digits than a number has are too many for a weight.
    match digits.parse().unwrap_or(u64::MAX) {
        0 => Err(Error::precondition_failed("The binding key must be greater than 0")),
        _ if key.starts_with('-') => {
            Err(Error::precondition_failed("The binding key must be greater than 0"))
        }
        weight if weight <= WEIGHT_MAX => Ok(weight),
        _ => Err(Error::precondition_failed(format!(
            "The binding key must not be greater than {WEIGHT_MAX}"
        ))),
    }
}

/// A destination on the ring.
struct Member {
    number: u64,
    /// The binding that was there first: it says the weight.
    first: Arc<Binding>,
    /// Others to the same destination, one of which takes its place when it goes.
    waiting: BindingList,
}

pub(super) struct ConsistentHash {
    by: HashBy,
    /// With the number of whose they are.
    points: BTreeSet<(u64, u64)>,
    members: HashMap<DestinationKey, Member>,
    /// The members' first bindings by their numbers.
    by_number: HashMap<u64, Arc<Binding>>,
    /// The number of the next member.
    next: u64,
    weights: u64,
}

/// Where a destination's points are, in order: neighbours on the ring are neighbours in memory.
fn points_of(binding: &Binding) -> Vec<u64> {
    let (kind, name) = binding.destination.key();
    let kind: &[u8] = match kind {
        DestinationKind::Queue => b"q",
        DestinationKind::Exchange => b"e",
    };
    let hash = StableHash::new().with(kind).with(name.as_bytes());
    let count = weight_of(binding).unwrap_or_default() * POINTS;
    let mut points: Vec<u64> = (0..count).map(|number| hash.value(number)).collect();
    points.sort_unstable();
    points
}

impl ConsistentHash {
    pub(super) fn new(arguments: &FieldTable) -> Result<Self, Error> {
        Ok(Self {
            by: HashBy::parse(arguments)?,
            points: BTreeSet::new(),
            members: HashMap::new(),
            by_number: HashMap::new(),
            next: 0,
            weights: 0,
        })
    }

    fn place(&mut self, number: u64, binding: &Arc<Binding>) {
        self.weights += weight_of(binding).unwrap_or_default();
        self.points.extend(points_of(binding).into_iter().map(|point| (point, number)));
        self.by_number.insert(number, Arc::clone(binding));
    }

    fn take_away(&mut self, number: u64, binding: &Arc<Binding>) {
        self.weights -= weight_of(binding).unwrap_or_default();
        for point in points_of(binding) {
            self.points.remove(&(point, number));
        }
        self.by_number.remove(&number);
    }

    /// The number of the member whose point is nearest behind one of the hash's places.
    fn nearest(&self, hash: StableHash) -> Option<u64> {
        let behind = |place: u64| {
            let next = self.points.range((place, 0)..).next().or_else(|| self.points.first());
            next.map(|(point, number)| (point.wrapping_sub(place), *number))
        };
        (0..PLACES).filter_map(|number| behind(hash.value(number))).min().map(|(_, number)| number)
    }
}

impl Router for ConsistentHash {
    fn check(&self, binding: &Binding) -> Result<(), Error> {
        let weight = weight_of(binding)?;
        let is_member = self.members.contains_key(&binding.destination.key());
        if !is_member && self.weights + weight > WEIGHTS_MAX {
            return Err(Error::precondition_failed(format!(
                "the weights of exchange '{}' would be {} together, more than {WEIGHTS_MAX}; use \
                 smaller ones in the same proportion",
                binding.source,
                self.weights + weight
            )));
        }
        Ok(())
    }

    fn routes_by_keys_only(&self) -> bool {
        self.by == HashBy::RoutingKey
    }

    fn add(&mut self, binding: &Arc<Binding>) {
        match self.members.entry(binding.destination.key()) {
            Entry::Occupied(mut member) => member.get_mut().waiting.add(binding),
            Entry::Vacant(place) => {
                let (number, first) = (self.next, Arc::clone(binding));
                place.insert(Member { number, first, waiting: BindingList::default() });
                self.next += 1;
                self.place(number, binding);
            }
        }
    }

    fn remove(&mut self, binding: &Arc<Binding>) {
        let key = binding.destination.key();
        let Some(member) = self.members.get_mut(&key) else { return };
        if !Arc::ptr_eq(&member.first, binding) {
            member.waiting.remove(binding);
            return;
        }
        let number = member.number;
        let follows = member.waiting.iter().next().cloned();
        if let Some(follows) = &follows {
            member.waiting.remove(follows);
            member.first = Arc::clone(follows);
        } else {
            self.members.remove(&key);
        }
        self.take_away(number, binding);
        follows.iter().for_each(|binding| self.place(number, binding));
    }

    fn route(&self, message: &Routable<'_>, visit: &mut dyn FnMut(&Destination)) {
        let number = self.nearest(self.by.hash(message));
        if let Some(binding) = number.and_then(|number| self.by_number.get(&number)) {
            visit(&binding.destination);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::broker::exchange::tests::{binding_to, routed_to};
    use crate::protocol::properties::{BasicProperties, Properties};
    use crate::protocol::wire::ShortStr;

    const KEYS: u32 = 10_000;

    fn bound(name: &str, weight: u64) -> Arc<Binding> {
        binding_to(name, &weight.to_string(), FieldTable::default())
    }

    fn empty() -> ConsistentHash {
        ConsistentHash::new(&FieldTable::default()).expect("no arguments")
    }

    fn router(bindings: &[Arc<Binding>]) -> ConsistentHash {
        let mut router = empty();
        bindings.iter().for_each(|binding| router.add(binding));
        router
    }

    /// Where each of many keys goes.
    fn ways(router: &ConsistentHash) -> Vec<ShortStr> {
        let way = |key: u32| {
            let number = router.nearest(StableHash::new().with(&key.to_be_bytes()));
            router.by_number[&number.expect("somewhere")].destination.key().1
        };
        (0..KEYS).map(way).collect()
    }

    fn weights() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec(1..30u64, 2..12)
    }

    fn bindings(weights: &[u64], seed: u32) -> Vec<Arc<Binding>> {
        let names = (0..).map(|number| format!("q{seed}-{number}"));
        weights.iter().zip(names).map(|(weight, name)| bound(&name, *weight)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn shares_follow_weights(weights in weights(), seed in any::<u32>()) {
            let bindings = bindings(&weights, seed);
            let ways = ways(&router(&bindings));
            let all: u64 = weights.iter().sum();
            for (binding, weight) in bindings.iter().zip(&weights) {
                let got = ways.iter().filter(|way| **way == binding.destination.key().1).count();
                let fair = f64::from(KEYS) * *weight as f64 / all as f64;
                let of_points = (*weight * POINTS * (2 * PLACES - 1)) as f64;
                // Six standard deviations of the points' places and of the keys that were drawn.
                let tolerance = 6.0 * fair * (1.0 / of_points + 1.0 / fair).sqrt();
                prop_assert!((got as f64 - fair).abs() < tolerance, "{got}, fair would be {fair}");
            }
        }

        #[test]
        fn a_destination_that_comes_or_goes_moves_its_own_share_only(
            weights in weights(),
            weight in 1..30u64,
            seed in any::<u32>(),
        ) {
            let mut router = router(&bindings(&weights, seed));
            let before = ways(&router);
            let another = bound("another", weight);
            router.add(&another);
            let after = ways(&router);
            let moved = before.iter().zip(&after).filter(|(before, after)| before != after);
            prop_assert!(moved.clone().count() > 0);
            prop_assert!(moved.clone().all(|(_, after)| *after == "another"));
            router.remove(&another);
            prop_assert_eq!(ways(&router), before);
        }

        #[test]
        fn the_ways_do_not_depend_on_how_the_bindings_came_about(
            weights in weights(),
            gone in weights(),
            seed in any::<u32>(),
        ) {
            let (staying, leaving) = (bindings(&weights, seed), bindings(&gone, !seed));
            let mut router = router(&leaving);
            staying.iter().rev().for_each(|binding| router.add(binding));
            leaving.iter().for_each(|binding| router.remove(binding));
            let points = weights.iter().sum::<u64>() * POINTS;
            prop_assert_eq!(router.points.len() as u64, points);
            prop_assert_eq!(ways(&router), ways(&self::router(&staying)));
        }
    }

    #[test]
    fn a_second_weight_of_a_destination_waits_until_the_first_is_gone() {
        let (first, second) = (bound("q", 3), bound("q", 5));
        let mut router = router(&[Arc::clone(&first), Arc::clone(&second)]);
        assert_eq!(router.points.len() as u64, 3 * POINTS);
        router.remove(&first);
        assert_eq!((router.points.len() as u64, router.weights), (5 * POINTS, 5));
        router.remove(&second);
        assert!(router.points.is_empty() && router.members.is_empty());
        assert!(router.by_number.is_empty() && router.weights == 0);
    }

    #[test]
    fn what_is_no_weight_is_refused() {
        for (key, text) in [
            ("0", "The binding key must be greater than 0"),
            ("-3", "The binding key must be greater than 0"),
            ("10001", "The binding key must not be greater than 10000"),
            ("99999999999999999999", "The binding key must not be greater than 10000"),
            ("ten", "The binding key must be an integer: <<\"ten\">>"),
            ("", "The binding key must be an integer: <<\"\">>"),
            ("1.5", "The binding key must be an integer: <<\"1.5\">>"),
        ] {
            let binding = binding_to("q", key, FieldTable::default());
            assert_eq!(empty().check(&binding), Err(Error::precondition_failed(text)), "{key}");
        }
        assert!(empty().check(&bound("q", WEIGHT_MAX)).is_ok());
    }

    #[test]
    fn all_weights_together_have_a_limit() {
        let mut router = empty();
        router.weights = WEIGHTS_MAX - 5;
        assert!(router.check(&bound("q", 5)).is_ok());
        assert!(router.check(&bound("q", 6)).is_err());
    }

    fn arguments<const N: usize>(fields: [(&'static str, &'static str); N]) -> FieldTable {
        let text = |text: &'static str| FieldValue::LongStr(text.as_bytes().into());
        fields.map(|(name, value)| (ShortStr::from_static(name), text(value))).into_iter().collect()
    }

    #[test]
    fn a_header_or_a_property_is_hashed_where_the_exchange_says_so() {
        let with = |properties: BasicProperties| Properties::from(&properties);
        let id = |id: u64| Some(ShortStr::try_from(id.to_string().as_str()).expect("short"));
        let header = |id: u64| {
            let name = ShortStr::from_static("h");
            let headers = Some(FieldTable::from_iter([(name, FieldValue::Timestamp(id))]));
            with(BasicProperties { headers, ..BasicProperties::default() })
        };
        let by_property = |name| arguments([(HASH_PROPERTY, name)]);
        let cases: [(FieldTable, &dyn Fn(u64) -> Properties); 4] = [
            (arguments([(HASH_HEADER, "h")]), &header),
            (by_property("message_id"), &|number| {
                with(BasicProperties { message_id: id(number), ..BasicProperties::default() })
            }),
            (by_property("correlation_id"), &|number| {
                with(BasicProperties { correlation_id: id(number), ..BasicProperties::default() })
            }),
            (by_property("timestamp"), &|number| {
                with(BasicProperties { timestamp: Some(number), ..BasicProperties::default() })
            }),
        ];
        for (arguments, properties) in cases {
            let mut router = ConsistentHash::new(&arguments).expect("good arguments");
            bindings(&[1, 1, 1], 0).iter().for_each(|binding| router.add(binding));
            assert!(!router.routes_by_keys_only());
            let to = |key: &str, number| routed_to(&router, key, &properties(number));
            let mut found = BTreeSet::new();
            for number in 0..100 {
                assert_eq!(to("one key", number), to("another key", number));
                found.extend(to("", number));
            }
            assert_eq!(found.len(), 3, "{:?}", router.by);
            // Without it, all of them stay together.
            let none = |key: u32| routed_to(&router, &key.to_string(), &Properties::default());
            assert!((1..20).all(|key| none(key) == none(0)));
        }
    }

    #[test]
    fn arguments_that_make_no_sense_are_refused() {
        let refused = |arguments| ConsistentHash::new(&arguments).map(|_| ()).expect_err("refused");
        let both = refused(arguments([(HASH_HEADER, "h"), (HASH_PROPERTY, "message_id")]));
        assert_eq!(both.text, "hash-header and hash-property are mutually exclusive");
        let other = refused(arguments([(HASH_PROPERTY, "app_id")]));
        assert!(other.text.starts_with("Unsupported property: app_id"), "{other}");
        let number =
            FieldTable::from_iter([(ShortStr::from_static(HASH_HEADER), FieldValue::I32(1))]);
        assert!(refused(number).text.contains("a string is needed, not a signedint"));
    }
}
