//! What clients ask about a broker's features: feature flags, what is deprecated, plugins,
//! extensions.
//!
//! FerryMQ has no features that have to be switched on. What is answered are RabbitMQ's names for
//! those that it has, so that clients who look for them find them.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::broker::queue::Queue;
use crate::broker::vhost::Vhost;
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::visitor::{Administrator, Visitor};

pub(super) fn router() -> Routes {
    Routes::new()
        .add(routes!(list_feature_flags))
        .add(routes!(enable_feature_flag))
        .add(routes!(list_deprecated_features))
        .add(routes!(list_used_deprecated_features))
        .add(routes!(list_extensions))
}

/// RabbitMQ's name for something that is always there, and what it is.
const FEATURE_FLAGS: [(&str, &str); 5] = [
    ("detailed_queues_endpoint", "GET /api/queues/detailed"),
    ("drop_unroutable_metric", "Counts of messages that found no queue"),
    ("empty_basic_get_metric", "Counts of basic.get on empty queues"),
    ("user_limits", "Limits of connections and channels of users"),
    ("virtual_host_metadata", "Vhosts with a description, tags and a default queue type"),
];

/// RabbitMQ's plugins that do what FerryMQ does by itself.
pub(super) const PLUGINS: [&str; 7] = [
    "rabbitmq_consistent_hash_exchange",
    "rabbitmq_delayed_message_exchange",
    "rabbitmq_event_exchange",
    "rabbitmq_management",
    "rabbitmq_prometheus",
    "rabbitmq_random_exchange",
    "rabbitmq_recent_history_exchange",
];

/// The feature flags, all of them enabled.
#[utoipa::path(get, path = "/api/feature-flags", tag = "features",
    responses((status = 200, description = "A list of flags")))]
async fn list_feature_flags(_: Visitor) -> Json<Value> {
    let show = |(name, desc): (&str, &str)| {
        json!({
            "name": name, "state": "enabled", "stability": "stable", "desc": desc, "doc_url": "",
            "provided_by": "ferrymq",
        })
    };
    Json(FEATURE_FLAGS.into_iter().map(show).collect())
}

/// Enables a feature flag, which all that there are are already.
#[utoipa::path(put, path = "/api/feature-flags/{flag}/enable", tag = "features",
    responses((status = 204, description = "It is"), (status = 400, description = "Unknown")))]
async fn enable_feature_flag(
    _: Administrator,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    match FEATURE_FLAGS.iter().any(|(known, _)| *known == name) {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Refusal::bad_request(format!("there is no feature flag '{name}'"))),
    }
}

/// Something that RabbitMQ wants to take away and FerryMQ keeps.
struct Deprecated {
    name: &'static str,
    desc: &'static str,
    /// Whether a vhost uses it, where that can be seen.
    is_used: fn(&Vhost) -> bool,
}

const DEPRECATED: [Deprecated; 2] = [
    Deprecated {
        name: "global_qos",
        desc: "basic.qos with global=true, a prefetch that a channel's consumers share",
        is_used: |_| false,
    },
    Deprecated {
        name: "transient_nonexcl_queues",
        desc: "Queues that are neither durable nor exclusive",
        is_used: |vhost| vhost.queues().iter().any(|queue| is_transient(queue)),
    },
];

fn is_transient(queue: &Queue) -> bool {
    !queue.properties.durable && queue.properties.exclusive_to.is_none()
}

impl Deprecated {
    fn show(&self) -> Value {
        json!({
            "name": self.name, "desc": self.desc, "deprecation_phase": "permitted_by_default",
            "state": "permitted", "doc_url": "", "provided_by": "ferrymq",
        })
    }
}

/// What RabbitMQ wants to take away, and is to stay here.
#[utoipa::path(get, path = "/api/deprecated-features", tag = "features",
    responses((status = 200, description = "A list of features")))]
async fn list_deprecated_features(_: Visitor) -> Json<Value> {
    Json(DEPRECATED.iter().map(Deprecated::show).collect())
}

/// What of it is used in the vhosts that the user sees, as far as that can be seen.
#[utoipa::path(get, path = "/api/deprecated-features/used", tag = "features",
    responses((status = 200, description = "A list of features")))]
async fn list_used_deprecated_features(visitor: Visitor) -> Json<Value> {
    let vhosts = visitor.visible_vhosts();
    let is_used = |deprecated: &&Deprecated| vhosts.iter().any(|vhost| (deprecated.is_used)(vhost));
    Json(DEPRECATED.iter().filter(is_used).map(Deprecated::show).collect())
}

/// Scripts that add to a management user interface: there are none.
#[utoipa::path(get, path = "/api/extensions", tag = "features",
    responses((status = 200, description = "An empty list")))]
async fn list_extensions(_: Visitor) -> Json<Value> {
    Json(json!([]))
}
