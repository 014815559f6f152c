//! The event loop's lag: by how much a task that waits for a moment comes later.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::broker::Broker;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(250);

/// Measures until it is dropped. Timers are as fine as a millisecond, and so is what is measured.
pub async fn measure_lag(broker: Arc<Broker>) {
    loop {
        let due = Instant::now() + EVERY;
        sleep_until(due).await;
        broker.timings().event_loop.record(due.elapsed());
    }
}
