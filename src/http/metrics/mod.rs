//! Prometheus' metrics, with RabbitMQ's paths and names.
//!
//! ```text
//! /metrics                   everything, summed up
//! /metrics/per-object        everything, with a line for each queue, channel, connection, exchange
//! /metrics/detailed?family=  only these families, with a line for each thing; names of their own
//! /metrics/memory-breakdown  what the memory is used for
//! ```
//!
//! Each thing is read once, under its own lock and for a moment; what is read is put into text
//! afterwards, on a thread that handles no messages.

mod alerts;
mod channels;
mod exposition;
mod lag;
mod node;
mod queues;
mod selection;

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::middleware::from_extractor_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

pub use lag::measure_lag;

use self::channels::{ChannelFigures, ConnectionFigures};
use self::exposition::{CONTENT_TYPE, Exposition, Row};
use self::node::Totals;
use self::queues::{QueueFigures, QueueRow};
use self::selection::Selection;
use super::api::Api;
use super::refusal::Refusal;
use super::visitor::Monitor;
use crate::broker::Broker;
use crate::broker::timers::now_ms;

/// Names of metrics of things that are summed up, or told one by one.
const RABBITMQ: &str = "rabbitmq_";
const FERRYMQ: &str = "ferrymq_";

/// For those who monitor, with name and password.
pub(super) fn router(api: &Api) -> Router<Api> {
    open_router().route_layer(from_extractor_with_state::<Monitor, Api>(api.clone()))
}

/// For a listener of their own: nobody is asked who.
pub(super) fn open_router() -> Router<Api> {
    Router::new()
        .route("/metrics", get(aggregated))
        .route("/metrics/per-object", get(per_object))
        .route("/metrics/detailed", get(detailed))
        .route("/metrics/memory-breakdown", get(memory_breakdown))
}

async fn aggregated(State(api): State<Api>) -> Result<Response, Refusal> {
    answer(api, |api, broker, out| put_all(out, api, broker, false)).await
}

async fn per_object(State(api): State<Api>) -> Result<Response, Refusal> {
    answer(api, |api, broker, out| put_all(out, api, broker, true)).await
}

async fn detailed(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let selection = Selection::parse(&query.unwrap_or_default());
    answer(api, move |api, broker, out| {
        selection.put(out, api, broker);
        node::put_identity(out, broker, "detailed");
    })
    .await
}

async fn memory_breakdown(State(api): State<Api>) -> Result<Response, Refusal> {
    answer(api, |_, broker, out| {
        node::put_memory(out, broker);
        node::put_identity(out, broker, "memory-breakdown");
    })
    .await
}

/// Asks thousands of queues, and files of the store.
async fn answer(
    api: Api,
    put: impl FnOnce(&Api, &Arc<Broker>, &mut Exposition) + Send + 'static,
) -> Result<Response, Refusal> {
    let broker = Arc::clone(api.broker()?);
    let made = tokio::task::spawn_blocking(move || {
        let mut out = Exposition::default();
        put(&api, &broker, &mut out);
        out.into_text()
    });
    let text = made.await.map_err(|error| Refusal::internal(format!("no metrics: {error}")))?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

/// Everything there is, of each thing or summed up.
fn put_all(out: &mut Exposition, api: &Api, broker: &Arc<Broker>, by_object: bool) {
    let (mut all, vhosts) = broker.gone_and_vhosts();
    let (now_ms, mut queues, mut sum) = (now_ms(), Vec::new(), QueueFigures::default());
    for vhost in &vhosts {
        all.add(&vhost.totals_and(|queue, details| {
            let of = QueueFigures::of(&details, now_ms);
            match by_object {
                true => queues.push(Row { labels: queues::labels(vhost, queue), of }),
                false => sum = sum.and(&of),
            }
        }));
    }
    let (ended, open) = broker.registry.ended_and_open();
    let (connections, channels) = channels::read(&open);
    let publishers = channels.iter().filter(|row| row.of.publishes()).count();
    node::put_totals(
        out,
        &Totals {
            connections: connections.len(),
            channels: channels.len(),
            consumers: all.consumers,
            queues: all.queues,
        },
    );
    match by_object {
        true => {
            put_queues(out, &queues);
            put_channels(out, &channels);
            put_connections(out, &connections);
            out.families(RABBITMQ, channels::EXCHANGES, &selection::read_exchanges(&vhosts));
        }
        false => {
            // With those of queues, channels and connections that are gone.
            put_queues(out, &[one(sum.with_counts(all.of_queues.sum()))]);
            let sum = channels.iter().fold(ChannelFigures::default(), |sum, row| sum.and(&row.of));
            put_channels(out, &[one(sum.with_counts(all.counts))]);
            let ended = ConnectionFigures::from(ended);
            let sum = connections.iter().fold(ended, |sum, row| sum.and(&row.of));
            put_connections(out, &[one(sum)]);
        }
    }
    node::put_churn(out, RABBITMQ, broker);
    node::put_process(out, RABBITMQ, broker, api);
    node::put_io(out, RABBITMQ, broker);
    node::put_global(out, broker, &all, publishers);
    node::put_alarms(out, broker);
    node::put_own(out, broker);
    alerts::put(out, FERRYMQ, api.alerts());
    node::put_identity(out, broker, if by_object { "per-object" } else { "aggregated" });
}

/// All of a kind together, which have no labels.
fn one<T>(of: T) -> Row<T> {
    Row { labels: Default::default(), of }
}

fn put_queues(out: &mut Exposition, rows: &[QueueRow]) {
    let known = [queues::COARSE, queues::CONSUMERS, queues::MORE, queues::DELIVERY];
    known.into_iter().for_each(|families| out.families(RABBITMQ, families, rows));
    out.families(FERRYMQ, queues::OWN, rows);
}

fn put_channels(out: &mut Exposition, rows: &[Row<ChannelFigures>]) {
    let known = [channels::CHANNELS, channels::PUBLISHES, channels::DELIVERIES];
    known.into_iter().for_each(|families| out.families(RABBITMQ, families, rows));
}

fn put_connections(out: &mut Exposition, rows: &[Row<ConnectionFigures>]) {
    out.families(RABBITMQ, channels::BYTES, rows);
    out.families(RABBITMQ, channels::CONNECTIONS, rows);
    out.families(FERRYMQ, channels::PENDING, rows);
}
