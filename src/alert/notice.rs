//! What is told: one form for the log, the exchange and the webhook.

use serde::Serialize;

use crate::broker::NODE_NAME;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Firing,
    Resolved,
}

/// A queue went over a threshold of a rule, or is below it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Notice {
    pub(super) state: State,
    pub(super) rule: String,
    pub(super) kind: &'static str,
    pub(super) vhost: String,
    pub(super) queue: String,
    /// As it was last seen over the threshold.
    pub(super) value: u64,
    pub(super) threshold: u64,
    /// When it was first seen over it, in milliseconds since 1970.
    pub(super) since_ms: u64,
    pub(super) at_ms: u64,
}

impl Notice {
    pub(super) fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Told<'a> {
            node: &'static str,
            #[serde(flatten)]
            notice: &'a Notice,
        }
        // Texts and numbers can always be put into JSON.
        serde_json::to_string(&Told { node: NODE_NAME, notice: self }).unwrap_or_default()
    }
}
