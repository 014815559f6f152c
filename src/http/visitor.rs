//! Who asks: the name and password of a request, and what the user's tags let it see and do.
//!
//! Rule (RabbitMQ's tags): `management` sees its own vhosts, `policymaker` sets policies in them,
//! `monitoring` sees everything, `administrator` does everything.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header;
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::api::Api;
use super::refusal::Refusal;
use crate::broker::auth::attempts::LoginProtocol;
use crate::broker::auth::{Actor, User};
use crate::broker::event::Event;
use crate::broker::vhost::Vhost;
use crate::broker::{Broker, ConnectionId};

const ADMINISTRATOR: &str = "administrator";
const MONITORING: &str = "monitoring";
const POLICYMAKER: &str = "policymaker";
const MANAGEMENT: &str = "management";

/// A user with one of the tags that open the API.
#[derive(Clone)]
pub struct Visitor {
    pub broker: Arc<Broker>,
    pub actor: Actor,
}

/// One who sees the whole broker.
pub struct Monitor(pub Visitor);

/// One who sets policies and parameters.
pub struct Policymaker(pub Visitor);

/// One who does everything.
pub struct Administrator(pub Visitor);

impl Visitor {
    pub fn user(&self) -> &Arc<User> {
        &self.actor.user
    }

    fn has_any(&self, tags: &[&str]) -> bool {
        tags.iter().any(|tag| self.user().has_tag(tag))
    }

    pub fn is_administrator(&self) -> bool {
        self.has_any(&[ADMINISTRATOR])
    }

    /// Whether the user sees what belongs to others.
    pub fn sees_all(&self) -> bool {
        self.has_any(&[ADMINISTRATOR, MONITORING])
    }

    fn sees(&self, vhost: &Vhost) -> bool {
        self.sees_all() || self.user().may_open(&vhost.name)
    }

    /// The vhosts that the user sees, by name.
    pub fn visible_vhosts(&self) -> Vec<Arc<Vhost>> {
        let mut vhosts = self.broker.vhosts();
        vhosts.retain(|vhost| self.sees(vhost));
        vhosts.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        vhosts
    }

    /// A vhost to look at. 404 where there is none, 401 where the user may not.
    pub fn visible_vhost(&self, name: &str) -> Result<Arc<Vhost>, Refusal> {
        let vhost = self.vhost(name)?;
        self.sees(&vhost).then_some(vhost).ok_or_else(|| self.no_access(name))
    }

    /// A vhost to change something in, which takes permissions in it whatever the tags. Refuses as
    /// [`Self::visible_vhost`] does.
    pub fn own_vhost(&self, name: &str) -> Result<Arc<Vhost>, Refusal> {
        let vhost = self.vhost(name)?;
        self.user().may_open(name).then_some(vhost).ok_or_else(|| self.no_access(name))
    }

    /// A vhost to set policies or parameters in: an administrator may everywhere, others where they
    /// have permissions. Refuses as [`Self::visible_vhost`] does.
    pub fn governed_vhost(&self, name: &str) -> Result<Arc<Vhost>, Refusal> {
        match self.is_administrator() {
            true => self.vhost(name),
            false => self.own_vhost(name),
        }
    }

    /// A vhost that has to be there, whoever asks; or 404.
    pub fn vhost(&self, name: &str) -> Result<Arc<Vhost>, Refusal> {
        self.broker
            .vhost(name)
            .ok_or_else(|| Refusal::not_found(format!("there is no vhost '{name}'")))
    }

    /// A user that has to be there, or 404.
    pub fn existing_user(&self, name: &str) -> Result<Arc<User>, Refusal> {
        self.broker
            .user(name)
            .ok_or_else(|| Refusal::not_found(format!("there is no user '{name}'")))
    }

    fn no_access(&self, vhost: &str) -> Refusal {
        let user = &self.user().name;
        Refusal::not_authorized(format!("user '{user}' has no permissions in vhost '{vhost}'"))
    }

    fn must_have(self, tags: &[&str]) -> Result<Self, Refusal> {
        if self.has_any(tags) {
            return Ok(self);
        }
        let (user, needed) = (&self.user().name, tags.join(" or "));
        Err(Refusal::not_authorized(format!("user '{user}' needs the tag {needed} for this")))
    }
}

impl FromRequestParts<Api> for Visitor {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let broker = Arc::clone(api.broker()?);
        let ConnectInfo(peer) =
            ConnectInfo::<SocketAddr>::from_request_parts(parts, api).await.map_err(|_| {
                // Only a router that is served without `serve` has none.
                Refusal::internal("the address of the client is not known")
            })?;
        let (name, password) = credentials(parts)?;
        let user = broker.authenticate(&name, &password, peer.ip(), LoginProtocol::Http).map_err(
            |refused| {
                tracing::warn!(user = name, %peer, "management login refused: {refused}");
                let why = refused.to_string();
                broker.events.tell(None, || Event::login(&name, "HTTP Basic", peer, Some(&why)));
                Refusal::not_authorized("the name or the password is wrong, or can't be used here")
            },
        )?;
        let actor = Actor { user, connection: ConnectionId::NONE, peer };
        Self { broker, actor }.must_have(&[MANAGEMENT, POLICYMAKER, MONITORING, ADMINISTRATOR])
    }
}

impl FromRequestParts<Api> for Monitor {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let visitor = Visitor::from_request_parts(parts, api).await?;
        visitor.must_have(&[MONITORING, ADMINISTRATOR]).map(Self)
    }
}

impl FromRequestParts<Api> for Policymaker {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let visitor = Visitor::from_request_parts(parts, api).await?;
        visitor.must_have(&[POLICYMAKER, ADMINISTRATOR]).map(Self)
    }
}

impl FromRequestParts<Api> for Administrator {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Refusal> {
        let visitor = Visitor::from_request_parts(parts, api).await?;
        visitor.must_have(&[ADMINISTRATOR]).map(Self)
    }
}

/// The name and password of the `Authorization` header.
fn credentials(parts: &Parts) -> Result<(String, String), Refusal> {
    let refuse = || Refusal::not_authorized("a name and a password are needed (Basic)");
    let value = parts.headers.get(header::AUTHORIZATION).ok_or_else(refuse)?;
    let value = value.to_str().map_err(|_| refuse())?;
    let (scheme, encoded) = value.split_once(' ').ok_or_else(refuse)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(refuse());
    }
    let decoded = STANDARD.decode(encoded.trim()).map_err(|_| refuse())?;
    let decoded = String::from_utf8(decoded).map_err(|_| refuse())?;
    let (name, password) = decoded.split_once(':').ok_or_else(refuse)?;
    Ok((name.to_owned(), password.to_owned()))
}
