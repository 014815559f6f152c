//! Takes a sample of everything every few seconds, as long as the broker runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::history::{LONG, SHORT, Sample};
use super::reading::{Group, Reading};
use super::{ASKED_MS, Inner, Of, Stats, Tracks, Use};
use crate::broker::Broker;
use crate::broker::timers::now_ms;

/// Between two samples.
const EVERY: Duration = Duration::from_secs(5);

/// With very many queues there is more between two samples: sampling takes at most this part of a
/// processor's time.
const SHARE_MAX: u32 = 500;

/// Most single things that are tracked.
const TRACKS_MAX: usize = 100_000;

/// How long older samples of a thing are kept after somebody has asked for them.
const WANTED_MS: u64 = 600_000;

/// Samples until it is dropped.
pub async fn run(stats: Stats, broker: Arc<Broker>, data_dir: PathBuf) {
    loop {
        let (sampled, broker, data_dir) = (stats.clone(), Arc::clone(&broker), data_dir.clone());
        // Many queues are asked, each under its lock.
        let took = tokio::task::spawn_blocking(move || sampled.0.sample(&broker, &data_dir)).await;
        let took = Duration::from_millis(took.unwrap_or_default());
        tokio::time::sleep(EVERY.max(took * SHARE_MAX)).await;
    }
}

impl Inner {
    /// Takes one sample of everything that is to be sampled; answers how many milliseconds it took.
    fn sample(&self, broker: &Broker, data_dir: &Path) -> u64 {
        let at_ms = now_ms();
        let is_asked = self.asked_ms.load(Ordering::Relaxed).saturating_add(ASKED_MS) > at_ms;
        let mut readings = Vec::new();
        let (mut all, vhosts) = broker.gone_and_vhosts();
        for vhost in vhosts {
            let totals = vhost.totals_and(|queue, details| {
                if is_asked {
                    readings.push((Of::Queue(queue.properties.id), Reading::of_queue(&details)));
                }
            });
            all.add(&totals);
            readings.push((Of::Vhost(vhost.name.clone()), Reading::of_totals(&totals)));
        }
        readings
            .push((Of::Broker, Reading::of_totals(&all).with_churn(Group::Churn, broker.churn())));
        if is_asked {
            read_single_things(broker, &mut readings);
            let used = Use::measure(broker, data_dir);
            let vitals = broker.store().vitals();
            readings.push((Of::Node, Reading::of_node(&used, &vitals, broker.churn())));
        }
        self.forget_unwanted(at_ms);
        self.take_up(at_ms, readings);
        now_ms().saturating_sub(at_ms)
    }

    fn forget_unwanted(&self, at_ms: u64) {
        let mut wanted = self.wanted.lock();
        wanted.retain(|_, asked_ms| asked_ms.saturating_add(WANTED_MS) > at_ms);
    }

    fn take_up(&self, at_ms: u64, readings: Vec<(Of, Reading)>) {
        let wanted = self.wanted.lock();
        let mut tracks = self.tracks.write();
        let Tracks { all, round } = &mut *tracks;
        *round += 1;
        for (of, reading) in readings {
            let is_new = !all.contains_key(&of);
            if is_new && (reading.is_zero() && of != Of::Broker || all.len() >= TRACKS_MAX) {
                continue;
            }
            let rings = match &of {
                Of::Broker => &LONG[..],
                other if wanted.contains_key(other) => &SHORT[..],
                _ => &[],
            };
            let track = all.entry(of).or_default();
            match rings.is_empty() {
                true => track.forget_samples(),
                false => track.keep(rings),
            }
            track.push(Sample { at_ms, values: reading.values() });
            track.round = *round;
        }
        let round = *round;
        all.retain(|_, track| track.round == round);
    }
}

fn read_single_things(broker: &Broker, readings: &mut Vec<(Of, Reading)>) {
    for vhost in broker.vhosts() {
        for exchange in vhost.exchanges() {
            let of = Of::Exchange(vhost.name.clone(), exchange.name.clone());
            readings.push((of, Reading::of_exchange(&exchange)));
        }
    }
    for info in broker.registry.connections() {
        let reading = Reading::of_connection(&info.link.status());
        readings.push((Of::Connection(info.id), reading));
        for channel in info.link.channels() {
            let of = Of::Channel(info.id, channel.number);
            readings.push((of, Reading::of_counts(&channel.counts)));
        }
    }
}
