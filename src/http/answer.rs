//! Answers that say only that something was done, and work that may take a while.

use axum::http::StatusCode;
use serde_json::Value;

use super::api::Api;
use super::listing::{Columns, ListQuery, Listed, list_columns};
use super::refusal::Refusal;
use super::stats::{AgesQuery, Rates};
use crate::broker::durable::Durable;

/// What is answered to a PUT: 201 where there was nothing, 204 where something was changed.
pub fn put_status(was_there: bool) -> StatusCode {
    if was_there { StatusCode::NO_CONTENT } else { StatusCode::CREATED }
}

/// What is answered to a DELETE once it is on disk: 204, or 404 with these words where there was
/// nothing.
pub async fn deleted(
    (was_there, stored): (bool, Durable),
    missing: impl FnOnce() -> String,
) -> Result<StatusCode, Refusal> {
    if !was_there {
        return Err(Refusal::not_found(missing()));
    }
    stored.wait().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Answers a list of things with their rates, put together apart from the threads that clients are
/// served by.
pub async fn listed<T: Send + 'static>(
    api: Api,
    (query, ages): (ListQuery, AgesQuery),
    gather: impl FnOnce() -> Result<Vec<T>, Refusal> + Send + 'static,
    name: impl Fn(&T) -> &str + Send + 'static,
    show: impl Fn(&T, Option<&Rates<'_>>, &Columns) -> Value + Send + 'static,
) -> Result<Listed, Refusal> {
    aside(move || {
        let things = gather()?;
        let rates = api.stats().wanted(&query, &ages)?;
        list_columns(&query, things, name, |thing, columns| show(thing, rates.as_ref(), columns))
    })
    .await
}

/// Does what goes through many queues, apart from the threads that clients are served by.
pub async fn aside<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, Refusal>
where
    T: Send + 'static,
    E: Into<Refusal> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(error) => Err(Refusal::internal(format!("the work was ended: {error}"))),
    }
}
