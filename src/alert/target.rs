//! Tells: a line of the log, a message to an exchange, a call of a webhook.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::notice::{Notice, State};
use super::rule::{Rule, ToExchange};
use super::webhook::Webhook;
use crate::broker::Broker;
use crate::protocol::message::Body;
use crate::protocol::properties::{BasicProperties, Properties};
use crate::protocol::wire::ShortStr;

/// Who is told. Each webhook has a thread of its own, so that a slow one keeps no other waiting.
pub(super) struct Targets {
    webhooks: HashMap<String, Webhook>,
}

impl Targets {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let urls = rules.iter().filter_map(|rule| rule.to_webhook.clone());
        let webhooks = urls.map(|url| (url.clone(), Webhook::start(url))).collect();
        Self { webhooks }
    }

    pub(super) fn tell(&self, rule: &Rule, notice: &Notice, broker: &Arc<Broker>) {
        if rule.to_log {
            log(notice);
        }
        if let Some(to) = &rule.to_exchange {
            publish(to, notice, broker);
        }
        if let Some(webhook) = rule.to_webhook.as_ref().and_then(|url| self.webhooks.get(url)) {
            webhook.call(notice.to_json());
        }
    }
}

fn log(notice: &Notice) {
    let Notice { state, rule, kind, vhost, queue, value, threshold, .. } = notice;
    match state {
        State::Firing => {
            tracing::warn!(rule, kind, vhost, queue, value, threshold, "alert: over the threshold");
        }
        State::Resolved => {
            tracing::info!(rule, kind, vhost, queue, threshold, "alert: below the threshold again");
        }
    }
}

/// As JSON, persistent, as any message from a client; nobody waits for it.
fn publish(to: &ToExchange, notice: &Notice, broker: &Broker) {
    let ToExchange { vhost, exchange, routing_key } = to;
    let rule = &notice.rule;
    let found = broker.vhost(vhost).and_then(|vhost| {
        let exchange = vhost.exchange(exchange)?;
        Some((vhost, exchange))
    });
    let Some((vhost, exchange)) = found else {
        tracing::warn!(
            rule,
            vhost,
            exchange,
            "an alert can't be published: there is no such exchange; declare it, or name another one"
        );
        return;
    };
    let Ok(key) = ShortStr::try_from(routing_key.as_str()) else { return };
    let properties = Properties::from(&BasicProperties {
        content_type: Some(ShortStr::from_static("application/json")),
        delivery_mode: Some(2),
        timestamp: Some(notice.at_ms / 1000),
        ..BasicProperties::default()
    });
    vhost.publish_own(&exchange, &key, &properties, Body::from(Bytes::from(notice.to_json())));
}
