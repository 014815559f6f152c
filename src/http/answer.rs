//! Answers that say only that something was done, and work that may take a while.

use axum::http::StatusCode;

use super::refusal::Refusal;
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
