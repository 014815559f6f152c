//! The management API as `ferrymqctl` speaks it: where it is, who asks, and what came back.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;
use ureq::http::{Request, Response, header};
use ureq::{Agent, Body};
use url::Url;

use super::certificate;
use super::failure::Failure;

/// Longest time to reach the broker; how long its answer takes is for `--timeout` to say.
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// Longest answer that is held in memory, in bytes: a million queues with all that is said of them.
const ANSWER_LEN_MAX: u64 = 1024 * 1024 * 1024;

/// What stays as it is in a part of a path.
const PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A name as a part of a path.
pub(super) fn encode(name: &str) -> String {
    utf8_percent_encode(name, PART).to_string()
}

/// Who asks.
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

/// Where the API is, how long an answer may take, and whom to believe.
pub(super) struct Place {
    pub(super) url: String,
    pub(super) timeout: Option<Duration>,
    /// Certificates in PEM that replace those that are trusted everywhere.
    pub(super) authorities: Option<Vec<u8>>,
}

/// One user at one broker. Each request has a connection of its own.
pub(super) struct Session {
    agent: Agent,
    base: String,
    authorization: String,
}

/// A request's parts besides its path.
#[derive(Default)]
pub(super) struct Sent<'a> {
    /// Null: nothing.
    pub(super) body: Option<&'a Value>,
    pub(super) headers: &'a [(&'a str, &'a str)],
}

/// The user and password that stand in an address, if they do.
pub(super) fn login_in(url: &str) -> Option<(String, Option<String>)> {
    let url = Url::parse(url).ok().filter(|url| !url.username().is_empty())?;
    let decode = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
    Some((decode(url.username()), url.password().map(decode)))
}

impl Session {
    pub(super) fn new(place: &Place, login: &Login) -> Result<Self, Failure> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_redirects(0)
            // A connection that is kept may be closed when the next request goes out.
            .max_idle_connections(0)
            .proxy(None)
            .timeout_connect(Some(CONNECT_WAIT))
            .timeout_global(place.timeout);
        if let Some(pem) = &place.authorities {
            config = config.tls_config(certificate::trusting(pem)?);
        }
        let agent = config.build().into();
        Ok(Self { agent, base: base_of(&place.url)?, authorization: authorization(login) })
    }

    /// The same broker, asked by another user.
    pub(super) fn as_another(&self, login: &Login) -> Self {
        let (agent, base) = (self.agent.clone(), self.base.clone());
        Self { agent, base, authorization: authorization(login) }
    }

    /// Where the requests go.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn get(&self, path: &str) -> Result<Value, Refused> {
        self.send("GET", path, &Sent::default())
    }

    /// Sends a request and reads the JSON of the answer, null where it has none.
    pub(super) fn send(&self, method: &str, path: &str, sent: &Sent<'_>) -> Result<Value, Refused> {
        let mut answer = self.open(method, path, sent)?;
        let text = text_of(answer.body_mut()).map_err(|error| self.failed(&error))?;
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|error| {
            let base = &self.base;
            Failure::software(format!("what {base} answers is not JSON: {error}")).into()
        })
    }

    /// Sends a request; an answer that isn't a refusal can be read as it comes.
    pub(super) fn open(
        &self,
        method: &str,
        path: &str,
        sent: &Sent<'_>,
    ) -> Result<Response<Body>, Refused> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, &self.authorization);
        for (name, value) in sent.headers {
            request = request.header(*name, *value);
        }
        let body = sent.body.filter(|body| !body.is_null()).map(Value::to_string);
        // RabbitMQ wants JSON even where nothing is to be said.
        let body = body.or_else(|| matches!(method, "PUT" | "POST").then(|| "{}".to_owned()));
        let wrong = |error: ureq::http::Error| {
            Failure::data(format!("this can't be asked of {}: {error}", self.base))
        };
        let answer = match body {
            Some(body) => {
                let request = request.header(header::CONTENT_TYPE, "application/json");
                self.agent.run(request.body(body).map_err(wrong)?)
            }
            None => self.agent.run(request.body(()).map_err(wrong)?),
        };
        let mut answer = answer.map_err(|error| self.failed(&error))?;
        let status = answer.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        let text = text_of(answer.body_mut()).unwrap_or_default();
        Err(Refused {
            status,
            answer: serde_json::from_str(&text).unwrap_or(Value::Null),
            failure: None,
        })
    }

    /// What a request that got no answer says.
    fn failed(&self, error: &ureq::Error) -> Refused {
        let base = &self.base;
        if let Some(told) = certificate::told(error, base) {
            return Failure::unavailable(told).into();
        }
        let failure = match error {
            ureq::Error::Timeout(ureq::Timeout::Connect) => Failure::unavailable(format!(
                "unable to reach {base} within {} s: is the broker running, and --url right?",
                CONNECT_WAIT.as_secs()
            )),
            ureq::Error::Timeout(_) => {
                Failure::timeout(format!("{base} did not answer in time: see --timeout"))
            }
            ureq::Error::Protocol(error) => Failure::unavailable(format!(
                "{base} does not answer with HTTP ({error}): is it https:// rather than http://?"
            )),
            error => Failure::unavailable(format!(
                "unable to reach {base}: {error}: is the broker running, and --url right?"
            )),
        };
        failure.into()
    }
}

fn authorization(login: &Login) -> String {
    format!("Basic {}", STANDARD.encode(format!("{}:{}", login.user, login.password)))
}

fn text_of(body: &mut Body) -> Result<String, ureq::Error> {
    body.with_config().limit(ANSWER_LEN_MAX).read_to_string()
}

/// The beginning of every address: scheme, host, port and a prefix, if the API has one.
fn base_of(url: &str) -> Result<String, Failure> {
    let wrong = |why: &str| {
        Failure::usage(format!(
            "'{url}' is not the address of a broker: {why}; it is like http://127.0.0.1:15672"
        ))
    };
    let mut parsed = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(parsed.scheme(), "http" | "https") || parsed.host().is_none() {
        return Err(wrong("it needs http:// or https:// and a host"));
    }
    let cleared = parsed.set_username("").and_then(|()| parsed.set_password(None));
    cleared.map_err(|()| wrong("it can't have a user"))?;
    parsed.set_query(None);
    parsed.set_fragment(None);
    let base = parsed.as_str().trim_end_matches('/');
    Ok(base.strip_suffix("/api").unwrap_or(base).to_owned())
}

/// An answer that isn't what was asked for, or none.
#[derive(Debug)]
pub(super) struct Refused {
    /// 0 where nothing was answered.
    pub(super) status: u16,
    pub(super) answer: Value,
    failure: Option<Failure>,
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self { status: 0, answer: Value::Null, failure: Some(failure) }
    }
}

impl Refused {
    /// The broker's sentence, or what its status means.
    pub(super) fn reason(&self) -> String {
        let text = |name: &str| self.answer.get(name).and_then(Value::as_str);
        match text("reason").or_else(|| text("error")) {
            Some(reason) => reason.to_owned(),
            None => format!("the broker answers with status {}", self.status),
        }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let reason = refused.reason();
        match (refused.failure, refused.status) {
            (Some(failure), _) => failure,
            (None, 401 | 403) => Self::not_allowed(reason),
            (None, 400..500 | 503) => Self::unavailable(reason),
            (None, _) => Self::software(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_with_and_without_what_may_stand_in_it() {
        for (url, base) in [
            ("http://127.0.0.1:15672", "http://127.0.0.1:15672"),
            ("https://u:p@there/", "https://there"),
            ("http://there:1/mq/api/", "http://there:1/mq"),
        ] {
            assert_eq!(base_of(url).expect(url), base);
        }
        for url in ["127.0.0.1:15672", "amqp://there", "http://"] {
            assert_eq!(base_of(url).expect_err(url).code, 64);
        }
        let (user, password) = login_in("https://the%40user:p%2f@there").expect("a user");
        assert_eq!((user.as_str(), password.as_deref()), ("the@user", Some("p/")));
    }

    #[test]
    fn a_name_of_anything_is_one_part_of_a_path() {
        assert_eq!(encode("/a b%ü-_.~"), "%2Fa%20b%25%C3%BC-_.~");
    }
}
