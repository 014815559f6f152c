//! Names in paths: how long they may be, and what the nameless exchange is called there.

use axum::http::Uri;

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

/// The same path with the default exchange's name where a client has put its real one, which is
/// empty: nothing else can be. `None` where that isn't so.
pub fn with_default_exchange(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    if !path.contains("//") {
        return None;
    }
    let path = path.replacen("//", &format!("/{DEFAULT_EXCHANGE}/"), 1);
    match uri.query() {
        Some(query) => format!("{path}?{query}").parse().ok(),
        None => path.parse().ok(),
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
        ] {
            let uri: Uri = sent.parse().expect("a path");
            assert_eq!(with_default_exchange(&uri).expect("another path"), meant);
        }
        assert_eq!(with_default_exchange(&Uri::from_static("/api/queues")), None);
    }

    #[test]
    fn a_name_that_is_too_long_is_named_with_its_kind() {
        let refused = short("queue name", &"q".repeat(300)).expect_err("300 bytes");
        assert!(refused.reason.starts_with("the queue name 'qqq"), "{}", refused.reason);
        assert!(refused.reason.ends_with("is longer than 255 bytes"), "{}", refused.reason);
    }
}
