//! Names in paths: how long they may be, and what the nameless exchange is called there.

use axum::http::Uri;
use axum::http::uri::PathAndQuery;

use super::refusal::Refusal;
use crate::protocol::wire::ShortStr;

/// What RabbitMQ's API calls the exchange that has no name.
const DEFAULT_EXCHANGE: &str = "amq.default";

/// A name of at most 255 bytes; `kind` says of what.
pub fn short(kind: &str, name: &str) -> Result<ShortStr, Refusal> {
    ShortStr::try_from(name).map_err(|_| {
        let max = ShortStr::MAX_LEN;
        Refusal::bad_request(format!("the {kind} '{name}' is longer than {max} bytes"))
    })
}

/// An exchange's name, as it stands in a path.
pub fn exchange(name: &str) -> Result<ShortStr, Refusal> {
    match name {
        DEFAULT_EXCHANGE => Ok(ShortStr::default()),
        name => short("exchange name", name),
    }
}

/// Gives the default exchange its name in a path where a client has put its real one, which is
/// empty: nothing else can be.
pub fn name_default_exchange(uri: &mut Uri) {
    let Some((path, query)) = uri.path_and_query().map(|all| (all.path(), all.query())) else {
        return;
    };
    if !path.contains("//") {
        return;
    }
    let path = path.replacen("//", &format!("/{DEFAULT_EXCHANGE}/"), 1);
    let named = match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    if let Ok(named) = PathAndQuery::try_from(named) {
        let mut parts = std::mem::take(uri).into_parts();
        parts.path_and_query = Some(named);
        *uri = Uri::from_parts(parts).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_name_in_a_path_is_the_default_exchange() {
        for (sent, meant) in [
            ("/api/exchanges/%2F//publish", "/api/exchanges/%2F/amq.default/publish"),
            ("/api/bindings/%2f/e//q/a%2F?page=1", "/api/bindings/%2f/e/amq.default/q/a%2F?page=1"),
            ("/api/queues", "/api/queues"),
        ] {
            let mut uri: Uri = sent.parse().expect("a path");
            name_default_exchange(&mut uri);
            assert_eq!(uri, meant);
        }
    }

    #[test]
    fn a_name_that_is_too_long_is_named_with_its_kind() {
        let refused = short("queue name", &"q".repeat(300)).expect_err("300 bytes");
        assert!(refused.reason.starts_with("the queue name 'qqq"), "{}", refused.reason);
        assert!(refused.reason.ends_with("is longer than 255 bytes"), "{}", refused.reason);
    }
}
