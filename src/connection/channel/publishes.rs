//! What a channel's client has published to each exchange, for displays.
//!
//! Counted by the connection's reader alone, which keeps what it counts in at hand; listed by those
//! who ask.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::broker::counters::{Count, Counts, OwnCount};
use crate::protocol::wire::ShortStr;

/// Most exchanges that are told apart; what goes to others is in the channel's sums only.
const EXCHANGES_MAX: usize = 64;

/// What went to one exchange.
#[derive(Debug, Default)]
pub(crate) struct ToExchange {
    exchange: ShortStr,
    pub(crate) published: OwnCount,
    /// Of them, those that found no queue.
    pub(crate) returned: OwnCount,
    pub(crate) dropped: OwnCount,
}

#[derive(Default)]
pub(crate) struct Publishes {
    exchanges: Mutex<Vec<Arc<ToExchange>>>,
    others: Arc<ToExchange>,
}

impl Publishes {
    /// Where to count what goes to an exchange.
    pub(crate) fn to(&self, exchange: &str) -> Arc<ToExchange> {
        let mut exchanges = self.exchanges.lock();
        if let Some(known) = exchanges.iter().find(|known| *known.exchange == *exchange) {
            return Arc::clone(known);
        }
        let Ok(name) = ShortStr::try_from(exchange) else { return Arc::clone(&self.others) };
        if exchanges.len() >= EXCHANGES_MAX {
            return Arc::clone(&self.others);
        }
        let new = Arc::new(ToExchange { exchange: name, ..ToExchange::default() });
        exchanges.push(Arc::clone(&new));
        new
    }

    /// Each exchange, in the order in which it was published to first.
    pub(crate) fn list(&self) -> Vec<(ShortStr, Counts)> {
        let counts = |to: &Arc<ToExchange>| {
            let counts = Counts::default()
                .with(Count::Publish, to.published.get())
                .with(Count::ReturnUnroutable, to.returned.get())
                .with(Count::DropUnroutable, to.dropped.get());
            (to.exchange.clone(), counts)
        };
        self.exchanges.lock().iter().map(counts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_exchanges_are_told_apart_and_no_more() {
        let publishes = Publishes::default();
        for number in 0..2 * EXCHANGES_MAX {
            publishes.to(&number.to_string()).published.add(1);
        }
        publishes.to("7").published.add(2);
        let listed = publishes.list();
        assert_eq!(listed.len(), EXCHANGES_MAX);
        assert_eq!(listed[7].1.get(Count::Publish), 3);
        assert_eq!(publishes.others.published.get(), EXCHANGES_MAX as u64);
    }
}
