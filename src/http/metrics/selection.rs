//! `/metrics/detailed`: the families that are asked for, of the vhosts and queues that are.
//!
//! Rule (RabbitMQ): `family` and `vhost` may stand several times; families that there are none of
//! are left out; names begin with `rabbitmq_detailed_`, so that they can be told from the sums, or
//! `rabbitmq_cluster_` where they are not of one node.

use std::sync::Arc;

use url::form_urlencoded;

use super::exposition::{Exposition, Labels, Row};
use super::queues::{QueueFigures, QueueRow};
use super::{channels, node, queues};
use crate::broker::Broker;
use crate::broker::counters::Counts;
use crate::broker::exchange::Exchange;
use crate::broker::queue::Queue;
use crate::broker::timers::now_ms;
use crate::broker::vhost::Vhost;
use crate::http::api::Api;

const RABBITMQ: &str = "rabbitmq_detailed_";
const CLUSTER: &str = "rabbitmq_cluster_";
const FERRYMQ: &str = "ferrymq_detailed_";

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    families: Vec<String>,
    /// None is all of them.
    vhosts: Vec<String>,
    queues: Vec<String>,
}

impl Selection {
    pub(super) fn parse(query: &str) -> Self {
        let mut selection = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let names = match &*name {
                "family" => &mut selection.families,
                "vhost" => &mut selection.vhosts,
                "queue" => &mut selection.queues,
                _ => continue,
            };
            names.push(value.into_owned());
        }
        selection
    }

    fn has(&self, family: &str) -> bool {
        self.families.iter().any(|wanted| wanted == family)
    }

    fn has_any(&self, families: &[&str]) -> bool {
        families.iter().any(|family| self.has(family))
    }

    pub(super) fn put(&self, out: &mut Exposition, api: &Api, broker: &Arc<Broker>) {
        let mut vhosts = broker.vhosts();
        vhosts.retain(|vhost| is_among(&self.vhosts, &vhost.name));
        self.put_queues(out, &vhosts);
        self.put_clients(out, broker);
        self.put_places(out, &vhosts);
        if self.has("connection_churn_metrics") {
            node::put_churn(out, RABBITMQ, broker);
        }
        if self.has_any(&["node_coarse_metrics", "node_metrics"]) {
            node::put_process(out, RABBITMQ, broker, api);
        }
        if self.has("node_persister_metrics") {
            node::put_io(out, RABBITMQ, broker);
        }
    }

    fn put_queues(&self, out: &mut Exposition, vhosts: &[Arc<Vhost>]) {
        const INFORMED: [&str; 3] =
            ["queue_coarse_metrics", "queue_consumer_count", "queue_metrics"];
        const OTHERS: [&str; 2] = ["queue_delivery_metrics", "ferrymq_queue_metrics"];
        if !self.has_any(&INFORMED) && !self.has_any(&OTHERS) {
            return;
        }
        let (queues, rows) = self.read_queues(vhosts);
        let all = [
            ("queue_coarse_metrics", queues::COARSE),
            ("queue_consumer_count", queues::CONSUMERS),
            ("queue_metrics", queues::MORE),
            ("queue_delivery_metrics", queues::DELIVERY),
        ];
        for (family, metrics) in all {
            // What has all has the consumers, too.
            let goes_with = family == "queue_consumer_count" && self.has("queue_metrics");
            if self.has(family) || goes_with {
                out.families(RABBITMQ, metrics, &rows);
            }
        }
        if self.has("ferrymq_queue_metrics") {
            out.families(FERRYMQ, queues::OWN, &rows);
        }
        if self.has_any(&INFORMED) {
            let present = |(queue, row): (Arc<Queue>, QueueRow)| {
                let labels = row.labels.with("queue_type", &queue.queue_type().module());
                Row { labels: labels.with("membership", "leader"), of: () }
            };
            let rows: Vec<Row<()>> = queues.into_iter().zip(rows).map(present).collect();
            out.families(RABBITMQ, &channels::presence("queue_info", "Queues."), &rows);
        }
    }

    /// The queues that are wanted, and what each says of itself.
    fn read_queues(&self, vhosts: &[Arc<Vhost>]) -> (Vec<Arc<Queue>>, Vec<QueueRow>) {
        let now_ms = now_ms();
        let of_vhost = |vhost: &Arc<Vhost>| {
            let wanted = vhost.queues().into_iter();
            let wanted = wanted.filter(|queue| is_among(&self.queues, queue.name()));
            let row = |queue: Arc<Queue>| {
                let of = QueueFigures::of(&queue.details(), now_ms);
                let row = Row { labels: queues::labels(vhost, &queue), of };
                (queue, row)
            };
            wanted.map(row).collect::<Vec<_>>()
        };
        vhosts.iter().flat_map(of_vhost).unzip()
    }

    fn put_clients(&self, out: &mut Exposition, broker: &Broker) {
        let of_channels = [
            ("channel_metrics", channels::CHANNELS),
            ("channel_exchange_metrics", channels::PUBLISHES),
            ("channel_queue_metrics", channels::DELIVERIES),
        ];
        let of_connections = [
            ("connection_coarse_metrics", channels::BYTES),
            ("connection_metrics", channels::CONNECTIONS),
        ];
        let of_channels = of_channels.into_iter().filter(|(family, _)| self.has(family));
        let of_connections = of_connections.into_iter().filter(|(family, _)| self.has(family));
        let (connections, channels) = channels::read(&broker.registry.connections());
        of_channels.for_each(|(_, metrics)| out.families(RABBITMQ, metrics, &channels));
        of_connections.for_each(|(_, metrics)| out.families(RABBITMQ, metrics, &connections));
    }

    fn put_places(&self, out: &mut Exposition, vhosts: &[Arc<Vhost>]) {
        if self.has("exchange_metrics") {
            out.families(RABBITMQ, channels::EXCHANGES, &read_exchanges(vhosts));
        }
        if self.has("exchange_bindings") {
            out.families(CLUSTER, channels::BINDINGS, &read_bindings(vhosts));
        }
        let present = |row: Row<u64>| Row { labels: row.labels, of: () };
        if self.has("exchange_names") {
            let rows: Vec<_> = read_bindings(vhosts).into_iter().map(present).collect();
            out.families(CLUSTER, &channels::presence("exchange_name", "Exchanges."), &rows);
        }
        if self.has("vhost_status") {
            let row = |vhost: &Arc<Vhost>| {
                let labels = Labels::default().with("vhost", &vhost.name);
                Row { labels, of: () }
            };
            let rows: Vec<_> = vhosts.iter().map(row).collect();
            out.families(CLUSTER, &channels::presence("vhost_status", "Vhosts that work."), &rows);
        }
    }
}

fn is_among(names: &[String], name: &str) -> bool {
    names.is_empty() || names.iter().any(|wanted| wanted == name)
}

/// What was published to each exchange.
pub(super) fn read_exchanges(vhosts: &[Arc<Vhost>]) -> Vec<Row<Counts>> {
    let of_vhost = |vhost: &Arc<Vhost>| {
        let exchanges = vhost.exchanges();
        let row = |exchange: Arc<Exchange>| {
            let labels = Labels::default().with("vhost", &vhost.name);
            let labels = labels.with("exchange", exchange.name.as_str());
            Row { labels, of: exchange.counts() }
        };
        exchanges.into_iter().map(row).collect::<Vec<_>>()
    };
    vhosts.iter().flat_map(of_vhost).collect()
}

fn read_bindings(vhosts: &[Arc<Vhost>]) -> Vec<Row<u64>> {
    let of_vhost = |vhost: &Arc<Vhost>| {
        let exchanges = vhost.exchanges();
        let row = |exchange: Arc<Exchange>| {
            let labels = Labels::default().with("vhost", &vhost.name);
            let labels = labels.with("exchange", exchange.name.as_str());
            let labels = labels.with("type", exchange.kind.name());
            Row { labels, of: exchange.binding_count() as u64 }
        };
        exchanges.into_iter().map(row).collect::<Vec<_>>()
    };
    vhosts.iter().flat_map(of_vhost).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_stand_several_times_and_are_decoded() {
        let selection = Selection::parse("family=a&family=b&vhost=%2F&queue=x+y&other=1");
        assert!(selection.has("a") && selection.has("b") && !selection.has("other"));
        assert_eq!(selection.vhosts, ["/"]);
        assert_eq!(selection.queues, ["x y"]);
    }
}
