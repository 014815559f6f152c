//! Calls of a webhook: a thread of its own, one call after the other, each tried a few times.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

/// Calls that may wait for their turn; what comes when there are more is dropped, and logged.
const WAITING_MAX: usize = 256;

/// How long one try may take.
const TRY_WAIT: Duration = Duration::from_secs(10);

/// Between tries: after each failure twice as long.
const REST_FIRST: Duration = Duration::from_secs(1);
const TRIES_MAX: u32 = 6;

/// A webhook that is called in the background. Its thread ends when this is dropped.
pub(super) struct Webhook {
    host: String,
    calls: SyncSender<String>,
}

impl Webhook {
    pub(super) fn start(url: String) -> Self {
        let (calls, waiting) = sync_channel(WAITING_MAX);
        // The rest of a URL is often a secret, and nothing for the log.
        let host = url.split('/').nth(2).unwrap_or_default().to_owned();
        let caller = Caller::new(url, host.clone());
        let thread = std::thread::Builder::new().name("alert-webhook".to_owned());
        if let Err(error) = thread.spawn(move || caller.run(&waiting)) {
            tracing::error!(host, %error, "a webhook can't be called: no thread can be started");
        }
        Self { host, calls }
    }

    /// Calls it with a JSON body, some time. Never waits.
    pub(super) fn call(&self, body: String) {
        match self.calls.try_send(body) {
            Ok(()) => {}
            Err(TrySendError::Full(body)) => tracing::warn!(
                host = self.host,
                body,
                "an alert is dropped: {WAITING_MAX} others wait for the webhook"
            ),
            Err(TrySendError::Disconnected(body)) => {
                tracing::warn!(
                    host = self.host,
                    body,
                    "an alert is dropped: nobody calls the webhook"
                );
            }
        }
    }
}

struct Caller {
    url: String,
    host: String,
    agent: ureq::Agent,
}

impl Caller {
    fn new(url: String, host: String) -> Self {
        let agent = ureq::Agent::config_builder().timeout_global(Some(TRY_WAIT)).build().into();
        Self { url, host, agent }
    }

    fn run(&self, waiting: &Receiver<String>) {
        while let Ok(body) = waiting.recv() {
            self.call(&body);
        }
    }

    /// Tries until it is taken, or often enough.
    fn call(&self, body: &str) {
        let mut rest = REST_FIRST;
        for left in (0..TRIES_MAX).rev() {
            match self.try_once(body) {
                Ok(()) => return,
                Err(error) if left > 0 => {
                    tracing::debug!(host = self.host, %error, "the webhook is tried again");
                    std::thread::sleep(rest);
                    rest = rest.saturating_mul(2);
                }
                Err(error) => tracing::warn!(
                    host = self.host,
                    %error,
                    body,
                    "an alert is dropped: the webhook did not take it {TRIES_MAX} times"
                ),
            }
        }
    }

    /// Any answer of 2xx is taken for yes.
    fn try_once(&self, body: &str) -> Result<(), ureq::Error> {
        let request = self.agent.post(&self.url).header("content-type", "application/json");
        request.send(body).map(drop)
    }
}
