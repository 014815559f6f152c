//! Which routing keys a user may publish with, and bind by, at a topic exchange.
//!
//! Rule: who has no topic permission for an exchange may use every key there. `{username}` and
//! `{vhost}` in a pattern are put in when it is set; they stand for exactly these letters.

use super::permission::{Access, Pattern};
use crate::broker::error::Error;
use crate::store::definition::TopicPermissionDefinition;

/// A user's topic permission for one exchange.
#[derive(Debug)]
pub struct TopicPermission {
    pub stored: TopicPermissionDefinition,
    write: Pattern,
    read: Pattern,
}

impl TopicPermission {
    pub fn parse(stored: TopicPermissionDefinition) -> Result<Self, regex::Error> {
        let TopicPermissionDefinition { user, vhost, .. } = &stored;
        let pattern = |text: &str| {
            let text = text.replace("{username}", &regex::escape(user));
            Pattern::parse(&text.replace("{vhost}", &regex::escape(vhost)))
        };
        let (write, read) = (pattern(&stored.write)?, pattern(&stored.read)?);
        Ok(Self { stored, write, read })
    }

    /// Refuses with 403 a routing key that the user may not use.
    pub fn check<'a>(
        &self,
        access: Access,
        keys: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Error> {
        let pattern = match access {
            Access::Read => &self.read,
            Access::Write | Access::Configure => &self.write,
        };
        let Some(refused) = keys.into_iter().find(|key| !pattern.matches(key)) else {
            return Ok(());
        };
        let TopicPermissionDefinition { user, vhost, exchange, .. } = &self.stored;
        Err(Error::access_refused(format!(
            "{} access to topic '{refused}' in exchange '{exchange}' in vhost '{vhost}' refused \
             for user '{user}'",
            access.name(),
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_pattern_stand_for_their_letters() {
        let stored = TopicPermissionDefinition {
            user: "a.b".to_owned(),
            vhost: "v".to_owned(),
            exchange: "amq.topic".to_owned(),
            write: "^{username}\\.{vhost}$".to_owned(),
            read: String::new(),
        };
        let permission = TopicPermission::parse(stored).expect("valid");
        assert_eq!(permission.check(Access::Write, ["a.b.v"]), Ok(()));
        let refused = permission.check(Access::Write, ["a.b.v", "axb.v"]).expect_err("not theirs");
        let text = "write access to topic 'axb.v' in exchange 'amq.topic' in vhost 'v' refused for \
                    user 'a.b'";
        assert_eq!(refused, Error::access_refused(text));
        assert!(permission.check(Access::Read, [""]).is_err());
    }
}
