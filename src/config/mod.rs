//! The daemon's settings: one TOML file, then environment variables, then flags, each stronger than
//! the one before. Imports nothing of ours.

mod file;
mod flags;

use std::fmt;
use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

pub use flags::Flags;

/// The least frame_max that AMQP allows, in bytes.
const FRAME_MAX_BYTES_MIN: u32 = 4096;

/// The most that a body may have, in bytes.
const MESSAGE_SIZE_MAX_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Smaller segments would be all head.
const SEGMENT_SIZE_BYTES_MIN: u64 = 64 * 1024;

/// All settings. Every key has a default; the file needs only what differs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub amqp: Amqp,
    pub http: Http,
    pub store: Store,
    pub auth: Auth,
    pub log: Log,
}

/// AMQP clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Amqp {
    /// Addresses to listen on, HOST:PORT.
    pub listen: Vec<String>,
    /// Most connections at a time; more wait to be accepted.
    pub connections_max: usize,
    /// Most channels of a connection, 1 to 65535.
    pub channel_max: u16,
    /// Most consumers of a channel.
    pub consumers_per_channel_max: usize,
    /// Largest frame, in bytes, from 4096.
    pub frame_max_bytes: u32,
    /// Largest body of a message, in bytes, to 536870912.
    pub message_size_max_bytes: u64,
    /// Interval of heartbeats that is proposed to clients, in seconds; 0 is none.
    pub heartbeat_seconds: u16,
    /// How long a client may take to log in, in seconds.
    pub handshake_timeout_seconds: u16,
}

impl Default for Amqp {
    fn default() -> Self {
        Self {
            listen: vec!["0.0.0.0:5672".to_owned()],
            connections_max: 65_536,
            channel_max: 2047,
            consumers_per_channel_max: 65_535,
            frame_max_bytes: 131_072,
            message_size_max_bytes: 128 * 1024 * 1024,
            heartbeat_seconds: 60,
            handshake_timeout_seconds: 10,
        }
    }
}

/// Operators and probes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Address to listen on, HOST:PORT.
    pub listen: String,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: "0.0.0.0:15672".to_owned() }
    }
}

/// The data directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// Where everything durable is kept. It belongs to one process.
    pub data_dir: PathBuf,
    /// Length at which a segment of the log is followed by the next, in bytes.
    pub segment_size_bytes: u64,
    /// Bytes of messages that may wait to be written; beyond it publishers rest.
    pub in_flight_bytes_max: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./ferrymq-data"),
            segment_size_bytes: 64 * 1024 * 1024,
            in_flight_bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// Who may come in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Users who may connect from this machine only.
    pub loopback_users: Vec<String>,
}

impl Default for Auth {
    fn default() -> Self {
        Self { loopback_users: vec!["guest".to_owned()] }
    }
}

/// What is told on stderr.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// error, warn, info, debug or trace; or a filter such as `info,ferrymq::store=debug`.
    pub level: String,
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// What is wrong with the settings, where, and what would be right.
#[derive(Debug)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Settings from defaults, file, environment and flags.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        let mut config = match &flags.config {
            Some(path) => file::read(path)?,
            None => Self::default(),
        };
        flags.apply(&mut config);
        config.check()?;
        Ok(config)
    }

    /// All settings as a file would say them.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }

    fn check(&self) -> Result<(), ConfigError> {
        let between = |key: &str, value: u64, low: u64, high: u64| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(ConfigError(format!("{key} = {value} is out of range: {low} to {high} is allowed")))
        };
        let Amqp { frame_max_bytes, message_size_max_bytes, .. } = self.amqp;
        let (frame_min, frame_max) = (u64::from(FRAME_MAX_BYTES_MIN), u64::from(u32::MAX) / 2);
        between("amqp.frame_max_bytes", u64::from(frame_max_bytes), frame_min, frame_max)?;
        between("amqp.channel_max", u64::from(self.amqp.channel_max), 1, u64::from(u16::MAX))?;
        let body_max = MESSAGE_SIZE_MAX_BYTES_MAX;
        between("amqp.message_size_max_bytes", message_size_max_bytes, 1, body_max)?;
        let handshake = u64::from(self.amqp.handshake_timeout_seconds);
        between("amqp.handshake_timeout_seconds", handshake, 1, 3600)?;
        between("amqp.connections_max", self.amqp.connections_max as u64, 1, 1 << 24)?;
        let segment = self.store.segment_size_bytes;
        between("store.segment_size_bytes", segment, SEGMENT_SIZE_BYTES_MIN, 1 << 31)?;
        between("store.in_flight_bytes_max", self.store.in_flight_bytes_max, 1 << 16, 1 << 36)?;
        if self.amqp.listen.is_empty() {
            return Err(ConfigError(
                "amqp.listen names no address: give at least one, such as 0.0.0.0:5672".to_owned(),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_out_of_range_is_named_with_what_is_allowed() {
        let mut config = Config::default();
        config.amqp.frame_max_bytes = 100;
        let error = config.check().expect_err("too small").to_string();
        assert!(
            error.starts_with("amqp.frame_max_bytes = 100 is out of range: 4096 to "),
            "{error}"
        );
    }

    #[test]
    fn what_is_printed_can_be_read_again() {
        let config = Config::default();
        assert_eq!(toml::from_str::<Config>(&config.to_toml()).expect("own text"), config);
    }
}
