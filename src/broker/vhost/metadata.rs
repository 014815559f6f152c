//! What an operator says of a vhost.

use super::Vhost;
use crate::broker::error::Error;
use crate::broker::queue::arguments::QueueType;
use crate::store::definition::VhostDefinition;

/// Longest description, and longest tag, in bytes.
const TEXT_LEN_MAX: usize = 4096;

const TAGS_MAX: usize = 100;

/// What can be changed of a vhost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VhostMetadata {
    pub description: String,
    pub tags: Vec<String>,
    /// The type of queues whose declaration names none, where it can be that type.
    pub default_queue_type: Option<QueueType>,
    pub protected_from_deletion: bool,
}

impl VhostMetadata {
    /// Checks what an operator sets.
    pub fn parse(definition: &VhostDefinition) -> Result<Self, Error> {
        let VhostDefinition { name, description, tags, default_queue_type, .. } = definition;
        let refuse = |why: String| Error::precondition_failed(format!("vhost '{name}': {why}"));
        let is_long = |text: &String| text.len() > TEXT_LEN_MAX;
        if is_long(description) || tags.iter().any(is_long) {
            return Err(refuse(format!(
                "the description and each tag may have {TEXT_LEN_MAX} bytes"
            )));
        }
        if tags.len() > TAGS_MAX {
            return Err(refuse(format!("there may be {TAGS_MAX} tags")));
        }
        let default_queue_type = match default_queue_type.as_deref() {
            None | Some("" | "undefined") => None,
            Some(name) => match QueueType::parse(name) {
                Some(found @ (QueueType::Classic | QueueType::Quorum)) => Some(found),
                _ => {
                    return Err(refuse(format!(
                        "the default queue type can't be '{name}', only classic or quorum"
                    )));
                }
            },
        };
        Ok(Self {
            description: description.clone(),
            tags: tags.clone(),
            default_queue_type,
            protected_from_deletion: definition.protected_from_deletion,
        })
    }
}

impl Vhost {
    pub fn metadata(&self) -> VhostMetadata {
        self.metadata.read().clone()
    }

    pub(in crate::broker) fn set_metadata(&self, metadata: VhostMetadata) {
        *self.metadata.write() = metadata;
    }

    pub fn definition(&self) -> VhostDefinition {
        let VhostMetadata { description, tags, default_queue_type, protected_from_deletion } =
            self.metadata();
        VhostDefinition {
            name: self.name.to_string(),
            description,
            tags,
            default_queue_type: default_queue_type.map(|found| found.name().to_owned()),
            protected_from_deletion,
        }
    }
}
