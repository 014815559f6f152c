//! What a user may do in a vhost: a regular expression over names for each kind of access.

use regex::{Regex, RegexBuilder};

use crate::store::definition::PermissionDefinition;

/// Most memory that a pattern may take, in bytes as it is compiled.
const COMPILED_BYTES_MAX: usize = 1024 * 1024;

/// The three kinds of access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Declare and delete.
    Configure,
    /// Publish, and bind as a destination.
    Write,
    /// Consume, get, purge, and bind as a source.
    Read,
}

impl Access {
    pub fn name(self) -> &'static str {
        match self {
            Self::Configure => "configure",
            Self::Write => "write",
            Self::Read => "read",
        }
    }
}

/// A pattern over names, unanchored; the empty one matches nothing. Those that nearly every user
/// has need no regular expression.
#[derive(Debug, Clone)]
pub(super) enum Pattern {
    /// As it was written: there is more than one way.
    Nothing(&'static str),
    Everything,
    Matching(Regex),
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, regex::Error> {
        Ok(match text {
            "" => Self::Nothing(""),
            "^$" => Self::Nothing("^$"),
            ".*" => Self::Everything,
            text => Self::Matching(RegexBuilder::new(text).size_limit(COMPILED_BYTES_MAX).build()?),
        })
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Nothing(_) => false,
            Self::Everything => true,
            Self::Matching(regex) => regex.is_match(name),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Nothing(text) => (*text).to_owned(),
            Self::Everything => ".*".to_owned(),
            Self::Matching(regex) => regex.as_str().to_owned(),
        }
    }
}

/// A user's permissions in one vhost.
#[derive(Debug, Clone)]
pub struct Permissions {
    configure: Pattern,
    write: Pattern,
    read: Pattern,
}

impl Permissions {
    pub fn parse(configure: &str, write: &str, read: &str) -> Result<Self, regex::Error> {
        Ok(Self {
            configure: Pattern::parse(configure)?,
            write: Pattern::parse(write)?,
            read: Pattern::parse(read)?,
        })
    }

    /// The permissions as they were written.
    pub fn definition(&self, user: &str, vhost: &str) -> PermissionDefinition {
        PermissionDefinition {
            user: user.to_owned(),
            vhost: vhost.to_owned(),
            configure: self.configure.text(),
            write: self.write.text(),
            read: self.read.text(),
        }
    }

    pub fn allow(&self, access: Access, name: &str) -> bool {
        match access {
            Access::Configure => self.configure.matches(name),
            Access::Write => self.write.matches(name),
            Access::Read => self.read.matches(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_unanchored_and_the_empty_one_refuses_all() {
        let permissions = Permissions::parse("", "^amq\\.", "orders").expect("valid");
        assert!(!permissions.allow(Access::Configure, ""));
        assert!(permissions.allow(Access::Write, "amq.default"));
        assert!(!permissions.allow(Access::Write, "my.amq.default"));
        assert!(permissions.allow(Access::Read, "new-orders-2"));
    }
}
