//! Tells: a line of the log, a message to an exchange, a call of a webhook.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::notice::{Notice, State};
use super::watch::Told;
use super::webhook::Webhook;
use crate::alert_rule::{AlertExchange, AlertRule};
use crate::broker::Broker;
use crate::protocol::message::Body;
use crate::protocol::properties::{BasicProperties, Properties};
use crate::protocol::wire::ShortStr;

/// Who is told. Each webhook has a thread of its own, so that a slow one keeps no other waiting.
#[derive(Default)]
pub(super) struct Targets {
    webhooks: HashMap<String, Webhook>,
}

impl Targets {
    /// Has a thread for each webhook of these rules, and for no other.
    pub(super) fn keep_to(&mut self, rules: &[Arc<AlertRule>]) {
        let urls: HashSet<&String> =
            rules.iter().filter_map(|rule| rule.webhook.as_ref()).collect();
        self.webhooks.retain(|url, _| urls.contains(url));
        for url in urls {
            let start = || Webhook::start(url.clone());
            self.webhooks.entry(url.clone()).or_insert_with(start);
        }
    }

    pub(super) fn tell_all(&self, told: &[Told], broker: &Broker) {
        told.iter().for_each(|(rule, notice)| self.tell(rule, notice, broker));
    }

    fn tell(&self, rule: &AlertRule, notice: &Notice, broker: &Broker) {
        if rule.log {
            log(notice);
        }
        if let Some(to) = &rule.exchange {
            publish(to, notice, broker);
        }
        if let Some(webhook) = rule.webhook.as_ref().and_then(|url| self.webhooks.get(url)) {
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
fn publish(to: &AlertExchange, notice: &Notice, broker: &Broker) {
    let AlertExchange { vhost, name: exchange, routing_key } = to;
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
