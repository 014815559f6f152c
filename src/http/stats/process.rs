//! What the process uses of the machine at this moment.

use std::path::Path;

use crate::broker::Broker;
use crate::host;
use crate::store;

/// What is used, and what is left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Use {
    /// Memory of the process, in bytes.
    pub memory_bytes: u64,
    pub descriptors: u64,
    /// AMQP connections.
    pub connections: u64,
    /// Tasks that the runtime has.
    pub tasks: u64,
    /// Free space of the data directory's file system, in bytes.
    pub disk_free_bytes: u64,
}

impl Use {
    /// Measures it; what can't be found out is 0. Reads files of the system.
    pub fn measure(broker: &Broker, data_dir: &Path) -> Self {
        let tasks = tokio::runtime::Handle::try_current().map(|handle| handle.metrics());
        Self {
            memory_bytes: host::resident_bytes().unwrap_or_default(),
            descriptors: host::open_descriptors().unwrap_or_default(),
            connections: broker.registry.len() as u64,
            tasks: tasks.map(|metrics| metrics.num_alive_tasks() as u64).unwrap_or_default(),
            disk_free_bytes: store::free_bytes(data_dir).unwrap_or_default(),
        }
    }
}
