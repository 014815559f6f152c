//! What every handler sees: the broker, once it is open, and what the health checks look at.

use std::sync::{Arc, OnceLock};

use super::health::Checked;
use super::refusal::Refusal;
use super::stats::Stats;
use crate::alert::Alerts;
use crate::broker::Broker;
use crate::broker::timers::now_ms;

/// Shared by all handlers; the server makes it and tells it when the broker is open.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    checked: Checked,
    broker: OnceLock<Arc<Broker>>,
    stats: Stats,
    alerts: Alerts,
    started_ms: u64,
}

impl Api {
    /// Answers health checks, and nothing else before [`Api::open`].
    pub fn new(checked: Checked, alerts: Alerts) -> Self {
        let (broker, stats, started_ms) = (OnceLock::new(), Stats::default(), now_ms());
        Self(Arc::new(Inner { checked, broker, stats, alerts, started_ms }))
    }

    /// From now on requests are answered. A second call changes nothing.
    pub fn open(&self, broker: &Arc<Broker>) {
        self.0.broker.get_or_init(|| Arc::clone(broker));
    }

    /// Refuses with 503 while the broker still reads its data.
    pub fn broker(&self) -> Result<&Arc<Broker>, Refusal> {
        self.0.broker.get().ok_or_else(|| {
            Refusal::unavailable("the broker is still reading its data; try again in a moment")
        })
    }

    /// What was sampled of the broker's counters.
    pub fn stats(&self) -> &Stats {
        &self.0.stats
    }

    /// The rules of alerts, and what they fire for.
    pub fn alerts(&self) -> &Alerts {
        &self.0.alerts
    }

    /// When the broker was started, in milliseconds since 1970.
    pub fn started_ms(&self) -> u64 {
        self.0.started_ms
    }

    pub fn checked(&self) -> &Checked {
        &self.0.checked
    }
}
