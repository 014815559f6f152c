//! The daemon's settings: defaults, one TOML file, environment variables and flags, each stronger
//! than the one before. Of ours it knows only what rules of alerts are; what it hands out never
//! changes while the daemon runs.
//!
//! ```text
//! setting.rs  the table ──▶ defaults ┐
//! file.rs     --config FILE ─────────┤ given, key by key ──▶ Config
//!             FERRYMQ_...  ──────────┤
//! flags.rs    --...  ────────────────┘
//! ```

mod alert;
mod file;
mod flags;
mod setting;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fmt::Write;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use self::setting::SETTINGS;
pub use alert::Alert;
pub use flags::Flags;
pub use setting::NOWHERE;

/// Names the file, as `--config` does.
const CONFIG_VARIABLE: &str = "FERRYMQ_CONFIG";

/// Values that one source gave, by the keys of the table; all of them are allowed.
type Given = BTreeMap<&'static str, Value>;

/// All settings. What each is for, its default and its limits stand in the table in `setting.rs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub amqp: Amqp,
    pub http: Http,
    pub metrics: Metrics,
    pub store: Store,
    pub memory: Memory,
    pub auth: Auth,
    pub definitions: Definitions,
    pub log: Log,
    #[serde(skip_deserializing)]
    pub alert: Alert,
}

/// AMQP clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amqp {
    pub listen: Vec<String>,
    pub connections_max: usize,
    pub channel_max: u16,
    pub consumers_per_channel_max: usize,
    pub consumer_timeout_ms: u64,
    pub frame_max_bytes: u32,
    pub message_size_max_bytes: u64,
    pub heartbeat_seconds: u16,
    pub handshake_timeout_seconds: u16,
}

/// Operators and probes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub listen: String,
}

/// Prometheus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Or [`NOWHERE`].
    pub listen: String,
}

/// The data directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    pub data_dir: PathBuf,
    pub segment_size_bytes: u64,
    pub in_flight_bytes_max: u64,
    pub disk_free_limit_bytes: u64,
    pub audit_bytes_max: u64,
    pub queue_memory_bytes_max: u64,
}

/// The process's memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Up to 1 a share of what the process may use, else bytes.
    pub high_watermark: f64,
}

/// Who may come in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    pub loopback_users: Vec<String>,
}

/// What is defined from a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definitions {
    /// Empty: none.
    pub file: PathBuf,
    pub import: ImportWhen,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImportWhen {
    IfChanged,
    Always,
}

impl Definitions {
    /// The bytes of the file, if there is one to be taken up. Blocks.
    pub fn read(&self) -> Result<Option<Vec<u8>>, ConfigError> {
        match self.file.as_os_str().is_empty() {
            true => Ok(None),
            false => file::read_definitions(&self.file).map(Some),
        }
    }
}

/// What is told on stderr.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
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

impl Default for Config {
    fn default() -> Self {
        Self::from_sources(&[])
    }
}

impl Config {
    /// Settings from defaults, file, environment and flags. `variable` looks up one variable of the
    /// environment.
    pub fn load(
        flags: &Flags,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let path = flags.config.clone().or_else(|| variable(CONFIG_VARIABLE).map(PathBuf::from));
        let (file, alert) = match path.filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => file::read(&path)?,
            None => (Given::new(), Alert::default()),
        };
        let environment = read_environment(variable)?;
        Ok(Self { alert, ..Self::from_sources(&[&flags.given, &environment, &file]) })
    }

    /// All settings as a file would say them, each with what it is for.
    pub fn to_toml(&self) -> String {
        let table = Table::try_from(self).unwrap_or_default();
        let (mut text, mut section) = (String::new(), "");
        for setting in SETTINGS {
            if setting.section() != section {
                section = setting.section();
                let _ = writeln!(text, "[{section}]");
            }
            let Some(value) = table.get(section).and_then(|held| held.get(setting.name())) else {
                continue;
            };
            let _ = writeln!(text, "# {}: {}.", setting.purpose, setting.allowed());
            let _ = writeln!(text, "{} = {value}\n", setting.name());
        }
        if !self.alert.rule.is_empty() {
            // With the names of what they stand in, so that tables in a rule get theirs, too.
            let rules = BTreeMap::from([("alert", BTreeMap::from([("rule", &self.alert.rule)]))]);
            text += &toml::to_string(&rules).unwrap_or_default();
        }
        text
    }

    /// The first source that gives a key wins; the default stands behind all of them.
    fn from_sources(strongest_first: &[&Given]) -> Self {
        let mut table = Table::new();
        for setting in SETTINGS {
            let given = strongest_first.iter().find_map(|source| source.get(setting.key));
            let value = given.cloned().unwrap_or_else(|| setting.default());
            table
                .entry(setting.section())
                .or_insert_with(|| Value::Table(Table::new()))
                .as_table_mut()
                .expect("a section is a table")
                .insert(setting.name().to_owned(), value);
        }
        table.try_into().expect("the table of settings and the fields of Config are the same")
    }
}

/// A variable that is empty is not set: that is how a compose file passes on one that isn't.
fn read_environment(variable: impl Fn(&str) -> Option<OsString>) -> Result<Given, ConfigError> {
    let mut given = Given::new();
    for setting in SETTINGS {
        let name = setting.environment_variable();
        let Some(text) = variable(&name).filter(|text| !text.is_empty()) else { continue };
        let text = text.to_string_lossy();
        let value = setting.parse(&text).map_err(|allowed| {
            let key = setting.key;
            ConfigError(format!("environment: {name}={text} is not allowed for {key}; {allowed}"))
        })?;
        given.insert(setting.key, value);
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settings from these flags, these variables and a file with this text.
    fn load(flags: &[&str], variables: &[(&str, &str)], text: &str) -> Result<Config, ConfigError> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ferrymq.toml");
        std::fs::write(&path, text).expect("written");
        let path = path.to_str().expect("UTF-8");
        let flags = [&["ferrymq", "--config", path], flags].concat();
        let flags = Flags::parse(flags).expect("valid flags");
        Config::load(&flags, |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    }

    #[test]
    fn flag_beats_environment_beats_file_beats_default() {
        let file =
            "[store]\ndata_dir = \"f\"\n[http]\nlisten = \"f:1\"\n[log]\nlevel = \"debug\"\n";
        let variables = [("FERRYMQ_DATA_DIR", "e"), ("FERRYMQ_HTTP_LISTEN", "e:1")];
        let config = load(&["--data-dir", "g"], &variables, file).expect("valid");
        assert_eq!(config.store.data_dir, PathBuf::from("g"));
        assert_eq!(config.http.listen, "e:1");
        assert_eq!(config.log.level, "debug");
        assert_eq!(config.amqp, Config::default().amqp);
    }

    #[test]
    fn a_wrong_variable_is_named_with_what_is_allowed() {
        let error = load(&[], &[("FERRYMQ_AMQP_CHANNEL_MAX", "0")], "").expect_err("none allowed");
        assert_eq!(
            error.to_string(),
            "environment: FERRYMQ_AMQP_CHANNEL_MAX=0 is not allowed for amqp.channel_max; \
             allowed is 1 to 65535 channels"
        );
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        let config = load(&[], &[("FERRYMQ_LOG_FORMAT", "")], "").expect("valid");
        assert_eq!(config.log.format, LogFormat::Text);
    }

    #[test]
    fn an_error_in_the_file_names_the_file() {
        let error = load(&[], &[], "[amqp]\nport = 1\n").expect_err("unknown").to_string();
        assert!(error.contains("ferrymq.toml: unknown key amqp.port"), "{error}");
    }

    #[test]
    fn what_is_printed_can_be_read_again() {
        let flags = ["--amqp-listen", "a:1,b:2", "--data-dir", "x"];
        let config = load(&flags, &[], "").expect("valid");
        assert_eq!(load(&[], &[], &config.to_toml()).expect("own text"), config);
        let rule = "[[alert.rule]]\nname = \"r\"\nqueue = \"q\"\nkind = \"oldest_age\"\n\
            threshold = 60\nexchange = { name = \"alerts\" }\n";
        let config = load(&[], &[], rule).expect("valid");
        assert_eq!(config.alert.rule.len(), 1);
        assert_eq!(load(&[], &[], &config.to_toml()).expect("own text"), config);
    }

    #[test]
    fn the_largest_value_of_every_setting_has_room_in_its_field() {
        for setting in SETTINGS {
            if let setting::Kind::Whole { max, .. } = setting.kind {
                Config::from_sources(&[&Given::from([(setting.key, Value::Integer(max))])]);
            }
        }
    }
}
