//! The form of a definitions file: what each part needs to have. Parts that are not known are left
//! alone, so that files of other versions can be read.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use super::Problems;
use crate::broker::event::Event;
use crate::store::definition::{
    DestinationKind, GlobalParameterDefinition, ParameterDefinition, PermissionDefinition,
    TopicPermissionDefinition,
};

/// A definitions file, part by part.
#[derive(Debug, Default)]
pub struct Document {
    pub(super) users: Vec<UserPart>,
    pub(super) vhosts: Vec<VhostPart>,
    pub(super) permissions: Vec<PermissionDefinition>,
    pub(super) topic_permissions: Vec<TopicPermissionDefinition>,
    pub(super) parameters: Vec<ParameterDefinition>,
    pub(super) global_parameters: Vec<GlobalParameterDefinition>,
    pub(super) policies: Vec<PolicyPart>,
    pub(super) queues: Vec<QueuePart>,
    pub(super) exchanges: Vec<ExchangePart>,
    pub(super) bindings: Vec<BindingPart>,
}

/// Tags, as a list or as one text with commas between them.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Tags {
    List(Vec<String>),
    Text(String),
}

impl Default for Tags {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Tags {
    pub(super) fn list(&self) -> Vec<String> {
        match self {
            Self::List(tags) => tags.clone(),
            Self::Text(text) => {
                let tags = text.split(',').map(str::trim).filter(|tag| !tag.is_empty());
                tags.map(str::to_owned).collect()
            }
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct UserPart {
    pub(super) name: String,
    pub(super) password_hash: Option<String>,
    #[serde(default = "sha256")]
    pub(super) hashing_algorithm: String,
    /// In files that people have written.
    pub(super) password: Option<String>,
    #[serde(default)]
    pub(super) tags: Tags,
    #[serde(default)]
    pub(super) limits: Map<String, Json>,
}

fn sha256() -> String {
    "rabbit_password_hashing_sha256".to_owned()
}

/// What is said of a vhost: beside its name in newer files, in `metadata` in others.
#[derive(Debug, Default, Deserialize)]
pub(super) struct VhostMetadataPart {
    pub(super) description: Option<String>,
    pub(super) tags: Option<Tags>,
    pub(super) default_queue_type: Option<String>,
    pub(super) protected_from_deletion: Option<bool>,
}

#[derive(Debug, Deserialize)]
pub(super) struct VhostPart {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) own: VhostMetadataPart,
    #[serde(default)]
    pub(super) metadata: VhostMetadataPart,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct PolicyPart {
    pub(super) vhost: String,
    pub(super) name: String,
    pub(super) pattern: String,
    #[serde(default = "all")]
    pub(super) apply_to: String,
    #[serde(default)]
    pub(super) priority: i64,
    pub(super) definition: Map<String, Json>,
}

fn all() -> String {
    "all".to_owned()
}

#[derive(Debug, Deserialize)]
pub(super) struct QueuePart {
    pub(super) vhost: String,
    pub(super) name: String,
    #[serde(default = "yes")]
    pub(super) durable: bool,
    #[serde(default)]
    pub(super) auto_delete: bool,
    #[serde(default)]
    pub(super) arguments: Map<String, Json>,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
pub(super) struct ExchangePart {
    pub(super) vhost: String,
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default = "yes")]
    pub(super) durable: bool,
    #[serde(default)]
    pub(super) auto_delete: bool,
    #[serde(default)]
    pub(super) internal: bool,
    #[serde(default)]
    pub(super) arguments: Map<String, Json>,
}

#[derive(Debug, Deserialize)]
pub(super) struct BindingPart {
    pub(super) vhost: String,
    pub(super) source: String,
    pub(super) destination: String,
    pub(super) destination_type: DestinationKind,
    #[serde(default)]
    pub(super) routing_key: String,
    #[serde(default)]
    pub(super) arguments: Map<String, Json>,
}

impl Document {
    /// Tells that it was taken up, by the sizes of its parts.
    pub(super) fn event(&self) -> Event {
        Event::new("definitions.imported")
            .number("users", self.users.len())
            .number("vhosts", self.vhosts.len())
            .number("permissions", self.permissions.len())
            .number("topic_permissions", self.topic_permissions.len())
            .number("parameters", self.parameters.len())
            .number("global_parameters", self.global_parameters.len())
            .number("policies", self.policies.len())
            .number("queues", self.queues.len())
            .number("exchanges", self.exchanges.len())
            .number("bindings", self.bindings.len())
    }

    /// Reads a whole file, or that of one vhost, whose parts don't say which.
    pub fn read(json: Json, vhost: Option<&str>) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let mut parts = match json {
            Json::Object(parts) => parts,
            _ => {
                problems.add("a definitions file is a JSON object".to_owned());
                Map::new()
            }
        };
        let mut reading = Reading { parts: &mut parts, vhost, problems: &mut problems };
        let document = Self {
            users: reading.of_broker("users"),
            vhosts: reading.of_broker("vhosts"),
            permissions: reading.of_broker("permissions"),
            topic_permissions: reading.of_broker("topic_permissions"),
            parameters: reading.of_vhosts("parameters"),
            global_parameters: reading.of_broker("global_parameters"),
            policies: reading.of_vhosts("policies"),
            queues: reading.of_vhosts("queues"),
            exchanges: reading.of_vhosts("exchanges"),
            bindings: reading.of_vhosts("bindings"),
        };
        problems.check().map(|()| document)
    }

    /// Whether all that it declares is there again after a restart.
    pub(super) fn is_durable(&self) -> bool {
        let mut all = self.queues.iter().map(|queue| queue.durable);
        all.all(|is| is) && self.exchanges.iter().all(|exchange| exchange.durable)
    }
}

struct Reading<'a> {
    parts: &'a mut Map<String, Json>,
    vhost: Option<&'a str>,
    problems: &'a mut Problems,
}

impl Reading<'_> {
    /// What a file of one vhost doesn't have.
    fn of_broker<T: DeserializeOwned>(&mut self, part: &str) -> Vec<T> {
        if self.vhost.is_some() { Vec::new() } else { self.list(part) }
    }

    fn of_vhosts<T: DeserializeOwned>(&mut self, part: &str) -> Vec<T> {
        if let (Some(vhost), Some(Json::Array(things))) = (self.vhost, self.parts.get_mut(part)) {
            let objects = things.iter_mut().filter_map(Json::as_object_mut);
            objects.for_each(|thing| drop(thing.insert("vhost".to_owned(), vhost.into())));
        }
        self.list(part)
    }

    fn list<T: DeserializeOwned>(&mut self, part: &str) -> Vec<T> {
        let things = match self.parts.remove(part) {
            None => return Vec::new(),
            Some(Json::Array(things)) => things,
            Some(_) => {
                self.problems.add(format!("'{part}' is not a list"));
                return Vec::new();
            }
        };
        let mut read = Vec::with_capacity(things.len());
        for (number, thing) in things.into_iter().enumerate() {
            let name = thing.get("name").and_then(Json::as_str).map(str::to_owned);
            match serde_json::from_value(thing) {
                Ok(thing) => read.push(thing),
                Err(error) => {
                    let name = name.map(|name| format!(" ('{name}')")).unwrap_or_default();
                    self.problems.add(format!("number {} of '{part}'{name}: {error}", number + 1));
                }
            }
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_part_that_is_not_what_it_should_be_is_named() {
        let file = json!({
            "users": [{"name": "u", "tags": 7}], "queues": [{"name": "q"}], "vhosts": {},
            "bindings": [{
                "vhost": "/", "source": "e", "destination": "q", "destination_type": "stone",
            }],
            "something_new": 1,
        });
        let problems = Document::read(file, None).expect_err("wrong").to_string();
        for part in
            ["number 1 of 'users' ('u')", "missing field `vhost`", "'vhosts' is not", "stone"]
        {
            assert!(problems.contains(part), "{problems}");
        }
        assert!(Document::read(json!([]), None).is_err());
    }

    #[test]
    fn a_file_of_one_vhost_is_about_that_one_and_nothing_else() {
        let file = json!({"queues": [{"name": "q", "vhost": "other"}], "users": [{"name": "u"}]});
        let document = Document::read(file, Some("v")).expect("right");
        assert_eq!((document.queues[0].vhost.as_str(), document.users.len()), ("v", 0));
    }
}
