//! Calls of a webhook: a thread of its own, one call after the other, each tried a few times.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use crate::broker::secrets::masked_url;

/// Calls that may wait for their turn; what comes when there are more is dropped, and logged.
const WAITING_MAX: usize = 256;

/// How long one try may take.
const TRY_WAIT: Duration = Duration::from_secs(10);

/// Between tries: after each failure twice as long.
const REST_FIRST: Duration = Duration::from_secs(1);
const TRIES_MAX: u32 = 6;

/// A webhook that is called in the background. When this is dropped, its thread makes the calls
/// that wait and ends, or at the first try that fails.
pub(super) struct Webhook {
    /// What the log may have of its address.
    shown: String,
    calls: SyncSender<String>,
    is_dropped: Arc<AtomicBool>,
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.is_dropped.store(true, Ordering::Relaxed);
    }
}

impl Webhook {
    pub(super) fn start(url: String) -> Self {
        let (calls, waiting) = sync_channel(WAITING_MAX);
        let shown = masked_url(&url);
        let is_dropped = Arc::new(AtomicBool::new(false));
        let caller = Caller::new(url, shown.clone(), Arc::clone(&is_dropped));
        let thread = std::thread::Builder::new().name("alert-webhook".to_owned());
        if let Err(error) = thread.spawn(move || caller.run(&waiting)) {
            tracing::error!(url = shown, %error, "a webhook can't be called: no thread can be started");
        }
        Self { shown, calls, is_dropped }
    }

    /// Calls it with a JSON body, some time. Never waits.
    pub(super) fn call(&self, body: String) {
        match self.calls.try_send(body) {
            Ok(()) => {}
            Err(TrySendError::Full(body)) => tracing::warn!(
                url = self.shown,
                body,
                "an alert is dropped: {WAITING_MAX} others wait for the webhook"
            ),
            Err(TrySendError::Disconnected(body)) => {
                tracing::warn!(
                    url = self.shown,
                    body,
                    "an alert is dropped: nobody calls the webhook"
                );
            }
        }
    }
}

struct Caller {
    url: String,
    shown: String,
    agent: ureq::Agent,
    is_dropped: Arc<AtomicBool>,
}

impl Caller {
    fn new(url: String, shown: String, is_dropped: Arc<AtomicBool>) -> Self {
        let agent = ureq::Agent::config_builder().timeout_global(Some(TRY_WAIT)).build().into();
        Self { url, shown, agent, is_dropped }
    }

    fn run(&self, waiting: &Receiver<String>) {
        while let Ok(body) = waiting.recv() {
            if !self.call(&body) && self.is_dropped.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// Tries until it is taken, or often enough. Answers whether it was taken.
    fn call(&self, body: &str) -> bool {
        let mut rest = REST_FIRST;
        for tried in 1..=TRIES_MAX {
            match self.try_once(body) {
                Ok(()) => return true,
                Err(error) if tried < TRIES_MAX && !self.is_dropped.load(Ordering::Relaxed) => {
                    tracing::debug!(url = self.shown, %error, "the webhook is tried again");
                    std::thread::sleep(rest);
                    rest = rest.saturating_mul(2);
                }
                Err(error) => {
                    let (url, why) = (&self.shown, "an alert is dropped: the webhook failed");
                    tracing::warn!(url, %error, body, tried, "{why}");
                    break;
                }
            }
        }
        false
    }

    /// Any answer of 2xx is taken for yes.
    fn try_once(&self, body: &str) -> Result<(), ureq::Error> {
        let request = self.agent.post(&self.url).header("content-type", "application/json");
        request.send(body).map(drop)
    }
}
