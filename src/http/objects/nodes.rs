//! The node: what its process uses of the machine, and what it may use.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde_json::{Map, Value, json};

use super::check_node;
use super::features::PLUGINS;
use super::overview::{VERSION, contexts, exchange_types, listener};
use crate::broker::alarm::Alarm;
use crate::broker::timers::now_ms;
use crate::broker::{BEHAVES_AS_VERSION, Broker, NODE_NAME};
use crate::host;
use crate::http::answer::aside;
use crate::http::api::Api;
use crate::http::health::Checked;
use crate::http::listing::{ListQuery, Listed, list};
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::stats::{AgesQuery, Use};
use crate::http::visitor::Monitor;
use crate::metrics::Reading;

pub(super) fn router() -> Routes {
    Routes::new()
        .add(routes!(list_nodes))
        .add(routes!(get_node))
        .add(routes!(get_memory))
        .add(routes!(get_relative_memory))
}

/// Tasks that a connection has: one reads, one writes.
const TASKS_PER_CONNECTION: u64 = 2;

/// What a descriptor limit is where the system has none.
const NO_LIMIT: u64 = u32::MAX as u64;

fn show(broker: &Broker, api: &Api, ages: &AgesQuery) -> Result<Value, Refusal> {
    let checked = api.checked();
    let use_of = Use::measure(broker, &checked.data_dir);
    let vitals = broker.store().vitals();
    let mut shown = api.stats().now(ages)?.node(&use_of, &vitals, broker.churn());
    shown.insert("io_sync_avg_time".to_owned(), average_ms(&vitals.sync.read()).into());
    for part in [what_it_is(api), limits(broker, checked)] {
        if let Value::Object(part) = part {
            shown.extend(part);
        }
    }
    Ok(Value::Object(shown))
}

/// Of one fsync, in milliseconds.
fn average_ms(times: &Reading) -> f64 {
    match times.count {
        0 => 0.0,
        count => times.sum_seconds * 1000.0 / count as f64,
    }
}

fn what_it_is(api: &Api) -> Value {
    let listening = api.checked().listening.borrow();
    json!({
        "name": NODE_NAME, "type": "disc", "running": true, "being_drained": false,
        "os_pid": std::process::id().to_string(), "rates_mode": "basic",
        "uptime": now_ms().saturating_sub(api.started_ms()),
        "processors": std::thread::available_parallelism().map_or(1, usize::from),
        "run_queue": tokio::runtime::Handle::current().metrics().global_queue_depth(),
        "db_dir": api.checked().data_dir.display().to_string(),
        "config_files": [], "log_files": [], "enabled_plugins": PLUGINS, "partitions": [],
        "cluster_links": [], "net_ticktime": 0, "mem_calculation_strategy": "rss",
        "applications": [
            application("ferrymq", "FerryMQ message broker", VERSION),
            // Where clients look for the version of the broker.
            application("rabbit", "RabbitMQ, as FerryMQ behaves", BEHAVES_AS_VERSION),
        ],
        "auth_mechanisms": [
            mechanism("AMQPLAIN", "A name and a password in a table"),
            mechanism("PLAIN", "A name and a password"),
        ],
        "exchange_types": exchange_types(), "contexts": contexts(&listening),
        "listeners": listening.iter().map(listener).collect::<Value>(),
    })
}

fn application(name: &str, description: &str, version: &str) -> Value {
    json!({ "name": name, "description": description, "version": version })
}

fn mechanism(name: &str, description: &str) -> Value {
    json!({ "name": name, "description": description, "enabled": true })
}

fn limits(broker: &Broker, checked: &Checked) -> Value {
    let alarms = broker.alarms().now();
    let connections_max = checked.connections_max as u64;
    let mem_limit = match broker.memory.limit_bytes() {
        // Nothing holds publishers back before the machine ends.
        0 => host::memory_bytes().unwrap_or_default(),
        limit_bytes => limit_bytes,
    };
    json!({
        "mem_limit": mem_limit,
        "mem_alarm": alarms.iter().any(|alarm| matches!(alarm, Alarm::Memory { .. })),
        "disk_free_limit": checked.disk_free_limit_bytes,
        "disk_free_alarm": alarms.iter().any(|alarm| matches!(alarm, Alarm::Disk { .. })),
        "fd_total": host::descriptors_max().unwrap_or(NO_LIMIT).min(NO_LIMIT),
        "sockets_total": connections_max,
        "proc_total": connections_max.saturating_mul(TASKS_PER_CONNECTION).min(NO_LIMIT),
    })
}

/// The nodes, of which there is one.
#[utoipa::path(get, path = "/api/nodes", tag = "nodes", params(ListQuery, AgesQuery),
    responses((status = 200, description = "A list with one node")))]
async fn list_nodes(
    Monitor(visitor): Monitor,
    State(api): State<Api>,
    Query(query): Query<ListQuery>,
    Query(ages): Query<AgesQuery>,
) -> Result<Listed, Refusal> {
    // Files of the system are read.
    aside(move || {
        let node = show(&visitor.broker, &api, &ages)?;
        list(&query, vec![node], |_| NODE_NAME, Value::clone)
    })
    .await
}

/// A node by its name.
#[utoipa::path(get, path = "/api/nodes/{node}", tag = "nodes", params(ListQuery, AgesQuery),
    responses((status = 200, description = "The node"), (status = 404, description = "None")))]
async fn get_node(
    Monitor(visitor): Monitor,
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(query): Query<ListQuery>,
    Query(ages): Query<AgesQuery>,
) -> Result<Json<Value>, Refusal> {
    check_node(&name)?;
    let node = aside(move || show(&visitor.broker, &api, &ages)).await?;
    Ok(Json(query.cut(node)))
}

/// What of RabbitMQ's breakdown has no counterpart here.
const NOTHING_OF_IT: [&str; 22] = [
    "connection_readers",
    "connection_channels",
    "connection_other",
    "quorum_queue_procs",
    "quorum_queue_dlx_procs",
    "stream_queue_procs",
    "stream_queue_replica_reader_procs",
    "stream_queue_coordinator_procs",
    "plugins",
    "metadata_store",
    "other_proc",
    "metrics",
    "mgmt_db",
    "mnesia",
    "quorum_ets",
    "metadata_store_ets",
    "other_ets",
    "binary",
    "msg_index",
    "code",
    "atom",
    "allocated_unused",
];

/// Bytes of the process.
struct Memory {
    resident: u64,
    parts: Vec<(&'static str, u64)>,
}

impl Memory {
    /// A number for each part, and the total.
    fn shown(self, number: impl Fn(u64) -> u64, total: Value) -> Map<String, Value> {
        let part = |(name, bytes): (&'static str, u64)| (name.to_owned(), number(bytes).into());
        let total = ("total".to_owned(), total);
        self.parts.into_iter().map(part).chain([total]).collect()
    }
}

/// What the process's memory is for, as far as it is counted: messages in the heads of queues,
/// deliveries that wait for their clients, and the rest.
fn memory_of(broker: &Broker) -> Result<Memory, Refusal> {
    let resident = host::resident_bytes().map_err(|error| {
        Refusal::internal(format!("the memory of the process can't be found out: {error}"))
    })?;
    let queues = broker.queue_memory_bytes();
    let connections = broker.registry.connections();
    let writers: u64 = connections.iter().map(|info| info.link.status().pending_bytes).sum();
    let rest = resident.saturating_sub(queues).saturating_sub(writers);
    let counted = [
        ("queue_procs", queues),
        ("connection_writers", writers),
        ("other_system", rest),
        ("reserved_unallocated", 0),
    ];
    let parts = counted.into_iter().chain(NOTHING_OF_IT.map(|name| (name, 0))).collect();
    Ok(Memory { resident, parts })
}

/// Where the process's memory is: `queue_procs`, `connection_writers`, and `other_system`.
#[utoipa::path(get, path = "/api/nodes/{node}/memory", tag = "nodes",
    responses((status = 200, description = "Bytes by what they are for"),
        (status = 404, description = "No such node")))]
async fn get_memory(
    Monitor(visitor): Monitor,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refusal> {
    check_node(&name)?;
    let memory = memory_of(&visitor.broker)?;
    let resident = memory.resident;
    let total = json!({ "rss": resident, "allocated": resident, "erlang": resident });
    let mut shown = memory.shown(|bytes| bytes, total);
    shown.insert("strategy".to_owned(), "rss".into());
    Ok(Json(json!({ "memory": shown })))
}

/// The same as parts of a hundred. Rule (RabbitMQ): what isn't nothing is at least 1.
#[utoipa::path(get, path = "/api/nodes/{node}/memory/relative", tag = "nodes",
    responses((status = 200, description = "Percents by what they are for"),
        (status = 404, description = "No such node")))]
async fn get_relative_memory(
    Monitor(visitor): Monitor,
    Path(name): Path<String>,
) -> Result<Json<Value>, Refusal> {
    check_node(&name)?;
    let memory = memory_of(&visitor.broker)?;
    let all = memory.resident.max(1) as f64;
    let percent = |bytes: u64| match (bytes as f64 * 100.0 / all).round() as u64 {
        0 if bytes > 0 => 1,
        percent => percent,
    };
    Ok(Json(json!({ "memory": memory.shown(percent, 100.into()) })))
}
