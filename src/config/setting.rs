//! Every setting of the daemon, once: its key, what it is for, its default and what is allowed.
//!
//! The key gives the other two names, and `--help`, `--print-config` and the checks read this
//! table.
//!
//! ```text
//! file:         [amqp] heartbeat_seconds = 20
//! environment:  FERRYMQ_AMQP_HEARTBEAT_SECONDS=20
//! flag:         --amqp-heartbeat-seconds 20
//! ```

use toml::Value;

pub(super) struct Setting {
    /// Dotted, as a path in the file.
    pub key: &'static str,
    pub purpose: &'static str,
    pub kind: Kind,
}

/// What a setting may hold, and what it holds when nobody says anything.
pub(super) enum Kind {
    Whole {
        default: i64,
        min: i64,
        max: i64,
        unit: &'static str,
    },
    Word {
        default: &'static str,
        allowed: &'static [&'static str],
    },
    Path {
        default: &'static str,
    },
    /// A file that need not be: nothing, if nothing is said.
    File,
    Address {
        default: &'static str,
    },
    /// An address, or [`NOWHERE`].
    AddressOrNone {
        default: &'static str,
    },
    Addresses {
        default: &'static [&'static str],
    },
    Names {
        default: &'static [&'static str],
    },
    LogFilter {
        default: &'static str,
    },
    /// A share of what there is, 0 to 1, or a number of bytes.
    Watermark {
        default: f64,
        bytes_min: f64,
    },
}

/// Its flag and its variable go without the section: people type them every day.
const DATA_DIR: &str = "store.data_dir";

/// Says in a flag or a variable what `[]` says in the file.
const NO_NAMES: &str = "none";

/// Stands for an address that is not listened on.
pub const NOWHERE: &str = "none";

const KIB: i64 = 1024;
const MIB: i64 = 1024 * KIB;

/// More bytes than any machine has.
const BYTES_END: f64 = 1e18;

const LOG_LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// In the order of `--help`: settings of one section stand together.
pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        key: "amqp.listen",
        purpose: "Addresses for AMQP clients",
        kind: Kind::Addresses { default: &["0.0.0.0:5672"] },
    },
    Setting {
        key: "amqp.connections_max",
        purpose: "Most AMQP connections at a time; more are refused",
        kind: Kind::Whole { default: 65_536, min: 1, max: 16_777_216, unit: "connections" },
    },
    Setting {
        key: "amqp.channel_max",
        purpose: "Most channels of a connection",
        kind: Kind::Whole { default: 2047, min: 1, max: 65_535, unit: "channels" },
    },
    Setting {
        key: "amqp.consumers_per_channel_max",
        purpose: "Most consumers of a channel",
        kind: Kind::Whole { default: 65_535, min: 1, max: 16_777_216, unit: "consumers" },
    },
    Setting {
        key: "amqp.consumer_timeout_ms",
        purpose: "A consumer that doesn't settle a delivery for so long is cancelled; 0 never is",
        kind: Kind::Whole { default: 0, min: 0, max: 315_360_000_000, unit: "ms" },
    },
    Setting {
        key: "amqp.frame_max_bytes",
        purpose: "Largest frame; clients may ask for less",
        kind: Kind::Whole { default: 128 * KIB, min: 4 * KIB, max: 16 * MIB, unit: "bytes" },
    },
    Setting {
        key: "amqp.message_size_max_bytes",
        purpose: "Largest body of a message",
        kind: Kind::Whole { default: 128 * MIB, min: 1, max: 512 * MIB, unit: "bytes" },
    },
    Setting {
        key: "amqp.heartbeat_seconds",
        purpose: "Heartbeat interval proposed to clients, which decide; 0 is none",
        kind: Kind::Whole { default: 60, min: 0, max: 65_535, unit: "seconds" },
    },
    Setting {
        key: "amqp.handshake_timeout_seconds",
        purpose: "How long a client may take to log in",
        kind: Kind::Whole { default: 10, min: 1, max: 3600, unit: "seconds" },
    },
    Setting {
        key: "http.listen",
        purpose: "Address for health checks and management",
        kind: Kind::Address { default: "0.0.0.0:15672" },
    },
    Setting {
        key: "metrics.listen",
        purpose: "Address for Prometheus, which is not asked for a name and password",
        kind: Kind::AddressOrNone { default: "0.0.0.0:15692" },
    },
    Setting {
        key: DATA_DIR,
        purpose: "Where everything durable is kept; it belongs to one process",
        kind: Kind::Path { default: "./ferrymq-data" },
    },
    Setting {
        key: "store.segment_size_bytes",
        purpose: "Length at which one segment of the log is followed by the next",
        kind: Kind::Whole { default: 64 * MIB, min: 64 * KIB, max: 2048 * MIB, unit: "bytes" },
    },
    Setting {
        key: "store.in_flight_bytes_max",
        purpose: "What may wait to be written; beyond it publishers rest",
        kind: Kind::Whole { default: 64 * MIB, min: 64 * KIB, max: 65_536 * MIB, unit: "bytes" },
    },
    Setting {
        key: "store.disk_free_limit_bytes",
        purpose: "Publishers are held back while the data directory's disk has less room; 0 never does",
        kind: Kind::Whole { default: 50_000_000, min: 0, max: 1024 * 1024 * MIB, unit: "bytes" },
    },
    Setting {
        key: "store.audit_bytes_max",
        purpose: "What the audit log may take on disk, the oldest entries go first; 0 keeps none",
        kind: Kind::Whole { default: 16 * MIB, min: 0, max: 65_536 * MIB, unit: "bytes" },
    },
    Setting {
        key: "store.queue_memory_bytes_max",
        purpose: "Ready messages kept in memory beside the log, of all queues; what is beyond it is on \
                  disk only",
        kind: Kind::Whole { default: 128 * MIB, min: MIB, max: 1024 * 1024 * MIB, unit: "bytes" },
    },
    Setting {
        key: "memory.high_watermark",
        purpose: "Publishers are held back while the process uses more: a share of the machine's or the \
                  container's memory, or bytes; 0 never does",
        kind: Kind::Watermark { default: 0.6, bytes_min: 1_048_576.0 },
    },
    Setting {
        key: "auth.loopback_users",
        purpose: "Users who may connect from this machine only",
        kind: Kind::Names { default: &["guest"] },
    },
    Setting {
        key: "definitions.file",
        purpose: "Definitions file that is taken up at the start, before clients are let in",
        kind: Kind::File,
    },
    Setting {
        key: "definitions.import",
        purpose: "When: always, or only if the file is another one than at the last start",
        kind: Kind::Word { default: "if-changed", allowed: &["if-changed", "always"] },
    },
    Setting {
        key: "log.level",
        purpose: "What is told on stderr",
        kind: Kind::LogFilter { default: "info" },
    },
    Setting {
        key: "log.format",
        purpose: "How it is told: lines for people or a JSON object a line",
        kind: Kind::Word { default: "text", allowed: &["text", "json"] },
    },
];

impl Setting {
    pub fn flag(&self) -> String {
        self.spoken().replace(['.', '_'], "-")
    }

    pub fn environment_variable(&self) -> String {
        format!("FERRYMQ_{}", self.spoken().replace('.', "_").to_uppercase())
    }

    fn spoken(&self) -> &'static str {
        if self.key == DATA_DIR { self.name() } else { self.key }
    }

    /// `amqp` of `amqp.listen`.
    pub fn section(&self) -> &'static str {
        self.key.split_once('.').map_or("", |(section, _)| section)
    }

    /// `listen` of `amqp.listen`.
    pub fn name(&self) -> &'static str {
        self.key.split_once('.').map_or(self.key, |(_, name)| name)
    }

    /// Whether a flag may be repeated, and text is separated by commas.
    pub fn is_list(&self) -> bool {
        matches!(self.kind, Kind::Addresses { .. } | Kind::Names { .. })
    }

    pub fn default(&self) -> Value {
        match self.kind {
            Kind::Whole { default, .. } => Value::Integer(default),
            Kind::File => Value::from(""),
            Kind::Watermark { default, .. } => Value::Float(default),
            Kind::Word { default, .. }
            | Kind::Path { default }
            | Kind::Address { default }
            | Kind::AddressOrNone { default }
            | Kind::LogFilter { default } => Value::from(default),
            Kind::Addresses { default } | Kind::Names { default } => Value::from(default.to_vec()),
        }
    }

    /// What stands for the value in `--help`.
    pub fn placeholder(&self) -> String {
        match self.kind {
            Kind::Whole { unit, .. } => unit.to_uppercase(),
            Kind::Word { .. } => "WORD".to_owned(),
            Kind::Path { .. } => "DIR".to_owned(),
            Kind::File => "FILE".to_owned(),
            Kind::Address { .. } | Kind::AddressOrNone { .. } | Kind::Addresses { .. } => {
                "HOST:PORT".to_owned()
            }
            Kind::Names { .. } => "NAME".to_owned(),
            Kind::LogFilter { .. } => "LEVEL".to_owned(),
            Kind::Watermark { .. } => "SHARE|BYTES".to_owned(),
        }
    }

    /// What is allowed, for people.
    pub fn allowed(&self) -> String {
        match self.kind {
            Kind::Whole { min, max, unit, .. } => format!("{min} to {max} {unit}"),
            Kind::Word { allowed, .. } => allowed.join(" or "),
            Kind::Path { .. } => "a path".to_owned(),
            Kind::File => "a path, or nothing".to_owned(),
            Kind::Address { .. } => "HOST:PORT".to_owned(),
            Kind::AddressOrNone { .. } => format!("HOST:PORT, or {NOWHERE}"),
            Kind::Addresses { .. } => "one HOST:PORT or more".to_owned(),
            Kind::Names { .. } => format!("names; {NO_NAMES} for an empty list"),
            Kind::Watermark { bytes_min, .. } => format!("0 to 1, or {bytes_min} bytes or more"),
            Kind::LogFilter { .. } => {
                format!("{}, also by module as in info,ferrymq::store=debug", LOG_LEVELS.join(", "))
            }
        }
    }

    /// A value from a flag or an environment variable.
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        let value = match self.kind {
            Kind::Whole { .. } => text.trim().parse().map(Value::Integer).ok(),
            Kind::Watermark { .. } => text.trim().parse().map(Value::Float).ok(),
            Kind::Names { .. } if text == NO_NAMES => Some(Value::Array(Vec::new())),
            Kind::Addresses { .. } | Kind::Names { .. } => {
                Some(Value::from(text.split(',').map(str::trim).collect::<Vec<_>>()))
            }
            _ => Some(Value::from(text)),
        };
        value
            .filter(|value| self.allows(value))
            .ok_or_else(|| format!("allowed is {}", self.allowed()))
    }

    pub fn allows(&self, value: &Value) -> bool {
        let text = value.as_str();
        let texts = value
            .as_array()
            .and_then(|items| items.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        match self.kind {
            Kind::Whole { min, max, .. } => {
                value.as_integer().is_some_and(|whole| (min..=max).contains(&whole))
            }
            Kind::Word { allowed, .. } => text.is_some_and(|text| allowed.contains(&text)),
            Kind::Path { .. } => text.is_some_and(|text| !text.is_empty()),
            Kind::File => text.is_some(),
            Kind::Address { .. } => text.is_some_and(is_address),
            Kind::AddressOrNone { .. } => {
                text.is_some_and(|text| text == NOWHERE || is_address(text))
            }
            Kind::Addresses { .. } => texts.is_some_and(|addresses| {
                !addresses.is_empty() && addresses.into_iter().all(is_address)
            }),
            Kind::Names { .. } => {
                texts.is_some_and(|names| names.iter().all(|name| !name.is_empty()))
            }
            Kind::LogFilter { .. } => text.is_some_and(is_log_filter),
            Kind::Watermark { bytes_min, .. } => {
                let whole = value.as_integer().map(|whole| whole as f64);
                let number = value.as_float().or(whole);
                number.is_some_and(|n| {
                    (0.0..=1.0).contains(&n) || (bytes_min..BYTES_END).contains(&n)
                })
            }
        }
    }
}

/// Whether the form is right; whether there is such a host shows when it is listened on.
fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_one_host = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
        !host.is_empty() && is_one_host && port.parse::<u16>().is_ok()
    })
}

/// A level for everything or `module=level`, separated by commas. A lone word that is no level
/// would be taken for a module to trace, so it is refused here.
fn is_log_filter(text: &str) -> bool {
    text.split(',').map(str::trim).all(|directive| {
        let level = match directive.split_once('=') {
            Some(("", _)) => return false,
            Some((_, level)) => level,
            None => directive,
        };
        LOG_LEVELS.contains(&level)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(key: &str) -> &'static Setting {
        SETTINGS.iter().find(|setting| setting.key == key).expect("a key of the table")
    }

    #[test]
    fn every_default_is_allowed() {
        for setting in SETTINGS {
            assert!(setting.allows(&setting.default()), "{}", setting.key);
        }
    }

    /// The page can't be generated by a program nobody calls, but it can be held to the table.
    #[test]
    fn the_page_for_operators_has_a_row_for_every_setting() {
        let page = include_str!("../../docs/configuration.md");
        for setting in SETTINGS {
            let row = format!(
                "| `{}` | `{}` | {} |",
                setting.key,
                setting.default().to_string().trim_matches('"'),
                setting.allowed(),
            );
            assert!(page.contains(&row), "docs/configuration.md has no {row}");
            assert!(page.contains(setting.purpose), "nor: {}", setting.purpose);
        }
    }

    #[test]
    fn one_key_gives_all_three_names() {
        let setting = setting("amqp.heartbeat_seconds");
        assert_eq!(setting.flag(), "amqp-heartbeat-seconds");
        assert_eq!(setting.environment_variable(), "FERRYMQ_AMQP_HEARTBEAT_SECONDS");
        assert_eq!((setting.section(), setting.name()), ("amqp", "heartbeat_seconds"));
        assert_eq!(self::setting(DATA_DIR).environment_variable(), "FERRYMQ_DATA_DIR");
    }

    #[test]
    fn whole_numbers_stay_between_their_limits() {
        let frame_max = setting("amqp.frame_max_bytes");
        assert_eq!(frame_max.parse("4096"), Ok(Value::Integer(4096)));
        for wrong in ["4095", "16777217", "-1", "4k", ""] {
            let refused = frame_max.parse(wrong).expect_err(wrong);
            assert_eq!(refused, "allowed is 4096 to 16777216 bytes");
        }
        assert!(!frame_max.allows(&Value::from("8192")));
    }

    #[test]
    fn an_address_has_a_host_and_a_port() {
        let listen = setting("http.listen");
        for right in ["0.0.0.0:15672", "localhost:0", "[::]:15672"] {
            assert!(listen.parse(right).is_ok(), "{right}");
        }
        for wrong in ["15672", ":15672", "localhost", "localhost:http", "::1:15672", "a:65536"] {
            assert!(listen.parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lists_are_separated_by_commas_and_hold_no_gaps() {
        let listen = setting("amqp.listen");
        assert_eq!(listen.parse("a:1, b:2"), Ok(Value::from(vec!["a:1", "b:2"])));
        assert!(setting("metrics.listen").parse(NOWHERE).is_ok());
        assert!(setting("http.listen").parse(NOWHERE).is_err());
        assert!(listen.parse("a:1,").is_err());
        assert!(!listen.allows(&Value::Array(Vec::new())), "somebody has to be served");
        let users = setting("auth.loopback_users");
        assert_eq!(users.parse("none"), Ok(Value::Array(Vec::new())));
        assert!(users.parse("").is_err());
    }

    #[test]
    fn a_watermark_is_a_share_or_bytes() {
        let watermark = setting("memory.high_watermark");
        for right in ["0", "0.6", "1", "1048576", "2000000000"] {
            assert!(watermark.parse(right).is_ok(), "{right}");
        }
        assert!(watermark.allows(&Value::Integer(2_000_000_000)));
        for wrong in ["-0.1", "1.5", "1048575", "60%", "NaN", "inf", ""] {
            assert!(watermark.parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_misspelt_level_is_not_taken_for_a_module() {
        let level = setting("log.level");
        assert!(level.parse("warn,ferrymq::store=debug").is_ok());
        for wrong in ["infoo", "warn,ferrymq", "=debug", "ferrymq=loud", ""] {
            assert!(level.parse(wrong).is_err(), "{wrong}");
        }
    }
}
