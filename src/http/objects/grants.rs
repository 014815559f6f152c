//! What users may do, of whatever kind: permissions and topic permissions are listed alike.

use serde::Serialize;
use serde_json::json;

use crate::broker::auth::User;
use crate::http::listing::{ListQuery, Listed, list};
use crate::http::refusal::Refusal;
use crate::http::visitor::Visitor;
use crate::store::definition::{PermissionDefinition, TopicPermissionDefinition};

/// What one user may do in one vhost; in the order of users, then vhosts.
pub(super) trait Grant: Ord + Serialize + Sized {
    /// All that a user has.
    fn all_of(user: &User) -> Vec<Self>;

    /// The user and the vhost.
    fn place(&self) -> (&str, &str);
}

impl Grant for PermissionDefinition {
    fn all_of(user: &User) -> Vec<Self> {
        user.permissions()
    }

    fn place(&self) -> (&str, &str) {
        (&self.user, &self.vhost)
    }
}

impl Grant for TopicPermissionDefinition {
    fn all_of(user: &User) -> Vec<Self> {
        user.topic_permissions()
    }

    fn place(&self) -> (&str, &str) {
        (&self.user, &self.vhost)
    }
}

pub(super) fn list_all<G: Grant>(visitor: &Visitor, query: &ListQuery) -> Result<Listed, Refusal> {
    listed::<G>(visitor, query, |_| true)
}

/// Those in a vhost, or 404.
pub(super) fn list_in_vhost<G: Grant>(
    visitor: &Visitor,
    vhost: &str,
    query: &ListQuery,
) -> Result<Listed, Refusal> {
    visitor.vhost(vhost)?;
    listed::<G>(visitor, query, |grant| grant.place().1 == vhost)
}

fn listed<G: Grant>(
    visitor: &Visitor,
    query: &ListQuery,
    is_wanted: impl Fn(&G) -> bool,
) -> Result<Listed, Refusal> {
    let users = visitor.broker.users();
    let mut found: Vec<G> = users.iter().flat_map(|user| G::all_of(user)).collect();
    found.retain(is_wanted);
    found.sort_unstable();
    list(query, found, |grant| grant.place().0, |grant| json!(grant))
}

/// Those of a user, or 404.
pub(super) fn list_of_user<G: Grant>(
    visitor: &Visitor,
    user: &str,
    query: &ListQuery,
) -> Result<Listed, Refusal> {
    let found = G::all_of(&*visitor.existing_user(user)?);
    list(query, found, |grant| grant.place().1, |grant| json!(grant))
}

/// Those of a user in a vhost.
pub(super) fn existing<G: Grant>(visitor: &Visitor, vhost: &str, user: &str) -> Vec<G> {
    let found = visitor.broker.user(user).map(|user| G::all_of(&user));
    let mut found = found.unwrap_or_default();
    found.retain(|grant| grant.place().1 == vhost);
    found
}
