//! From merged values to what a queue does: the options that say something only together.

use super::value::{TIME_MS_MAX, Value};
use crate::broker::queue::arguments::{
    Deduplication, Overflow, QueueOptions, QueueType, Retry, RetryKind,
};
use crate::protocol::wire::ShortStr;

/// How often a message may come back to a quorum queue that nobody says more about.
const QUORUM_DELIVERY_LIMIT: u32 = 20;

/// How many messages a queue remembers that nobody says more about.
const CACHE_SIZE: u32 = 128;

const DEDUPLICATION_HEADER: ShortStr = ShortStr::from_static("x-deduplication-header");

/// Options that are being put together.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) options: QueueOptions,
    pub(super) retry_kind: Option<RetryKind>,
    pub(super) retry_min_ms: Option<u64>,
    pub(super) retry_max_ms: Option<u64>,
    pub(super) retry_multiplier_percent: Option<u32>,
    pub(super) retry_jitter_percent: Option<u32>,
    pub(super) deduplicates: bool,
    pub(super) cache_size: Option<u32>,
    pub(super) cache_ttl_ms: Option<u64>,
    pub(super) deduplication_header: Option<ShortStr>,
    queue_type: QueueType,
}

impl Draft {
    /// What a queue of this type does by itself.
    pub(super) fn new(queue_type: QueueType) -> Self {
        let is_quorum = queue_type == QueueType::Quorum;
        let delivery_limit = is_quorum.then_some(QUORUM_DELIVERY_LIMIT);
        let options = QueueOptions { delivery_limit, ..QueueOptions::default() };
        Self { options, queue_type, ..Self::default() }
    }

    /// Rule: a quorum queue knows no reject-publish-dlx and falls back to the default.
    pub(super) fn set_overflow(&mut self, value: &Value) {
        self.options.overflow = match value.text().map(ShortStr::as_str) {
            Some("reject-publish") => Overflow::RejectPublish,
            Some("reject-publish-dlx") if self.queue_type == QueueType::Classic => {
                Overflow::RejectPublishDlx
            }
            _ => Overflow::DropHead,
        };
    }

    pub(super) fn set_retry_kind(&mut self, value: &Value) {
        self.retry_kind = match value.text().map(ShortStr::as_str) {
            Some("all") => Some(RetryKind::All),
            Some("failed") => Some(RetryKind::Failed),
            Some("returned") => Some(RetryKind::Returned),
            _ => None,
        };
    }

    pub(super) fn finish(self) -> QueueOptions {
        let retry = self.retry_kind.zip(self.retry_min_ms).map(|(kind, min_ms)| Retry {
            kind,
            min_ms,
            max_ms: self.retry_max_ms.unwrap_or(TIME_MS_MAX.unsigned_abs()).max(min_ms),
            multiplier_percent: self.retry_multiplier_percent,
            jitter_percent: self.retry_jitter_percent.unwrap_or_default(),
        });
        let deduplication = self.deduplicates.then(|| Deduplication {
            header: self.deduplication_header.unwrap_or(DEDUPLICATION_HEADER),
            size: self.cache_size.unwrap_or(CACHE_SIZE),
            ttl_ms: self.cache_ttl_ms,
        });
        QueueOptions { retry, deduplication, ..self.options }
    }
}
