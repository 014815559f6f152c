//! Rules of alerts, and what they fire for.

use axum::extract::{Query, State};
use serde_json::{Value, json};

use crate::alert::{Firing, FiringOfRule};
use crate::broker::secrets::masked;
use crate::http::api::Api;
use crate::http::listing::{ListQuery, Listed, list};
use crate::http::refusal::Refusal;
use crate::http::routes::{Routes, routes};
use crate::http::visitor::Monitor;

/// Queues that are named of each rule.
const QUEUES_MAX: usize = 1000;

pub(super) fn router() -> Routes {
    Routes::new().add(routes!(list_alerts))
}

/// The rules of alerts by name, each with where it was said, how many queues it fires for, and
/// which: the first 1000, by the time since when.
#[utoipa::path(get, path = "/api/alerts", tag = "nodes", params(ListQuery),
    responses((status = 200, description = "A list of rules, or a page of it")))]
async fn list_alerts(
    Monitor(visitor): Monitor,
    State(api): State<Api>,
    Query(query): Query<ListQuery>,
) -> Result<Listed, Refusal> {
    let rules = api.alerts().rules(&visitor.broker);
    let firing = api.alerts().firing(QUEUES_MAX);
    list(
        &query,
        rules,
        |(rule, _)| &rule.name,
        |(rule, origin)| {
            let mut shown = masked(json!(**rule));
            if let Value::Object(shown) = &mut shown {
                let none = FiringOfRule::default();
                let FiringOfRule { count, queues } = firing.get(&rule.name).unwrap_or(&none);
                shown.insert("origin".to_owned(), origin.name().into());
                shown.insert("firing_count".to_owned(), (*count).into());
                shown.insert("firing".to_owned(), queues.iter().map(show_firing).collect());
            }
            shown
        },
    )
}

fn show_firing(firing: &Firing) -> Value {
    let Firing { vhost, queue, value, since_ms, told_ms } = firing;
    json!({
        "vhost": vhost, "queue": queue, "value": value, "since_ms": since_ms, "told_ms": told_ms,
    })
}
