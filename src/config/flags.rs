//! The daemon's flags, each with its environment variable.

use std::path::PathBuf;

use clap::Parser;

use super::{Config, LogFormat};

/// FerryMQ, a durable AMQP 0-9-1 message broker.
///
/// Every setting can be given in a TOML file (--config); the most used ones also as environment
/// variables and flags, which are stronger in that order. --print-config shows all of them.
#[derive(Debug, Default, Parser)]
#[command(name = "ferrymq", version)]
pub struct Flags {
    /// TOML file with settings.
    #[arg(long, value_name = "FILE", env = "FERRYMQ_CONFIG")]
    pub config: Option<PathBuf>,

    /// Where everything durable is kept; belongs to one process [default: ./ferrymq-data]
    #[arg(long, value_name = "DIR", env = "FERRYMQ_DATA_DIR")]
    pub data_dir: Option<PathBuf>,

    /// Address for AMQP clients; repeat it, or separate by commas, for more [default: 0.0.0.0:5672]
    #[arg(long, value_name = "HOST:PORT", env = "FERRYMQ_AMQP_LISTEN", value_delimiter = ',')]
    pub amqp_listen: Vec<String>,

    /// Address for management and health checks [default: 0.0.0.0:15672]
    #[arg(long, value_name = "HOST:PORT", env = "FERRYMQ_HTTP_LISTEN")]
    pub http_listen: Option<String>,

    /// error, warn, info, debug or trace, or a filter by module [default: info]
    #[arg(long, value_name = "LEVEL", env = "FERRYMQ_LOG_LEVEL")]
    pub log_level: Option<String>,

    /// How log lines look [default: text]
    #[arg(long, value_name = "FORMAT", env = "FERRYMQ_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,

    /// Print the settings in force as TOML and exit.
    #[arg(long)]
    pub print_config: bool,
}

impl Flags {
    pub(super) fn apply(&self, config: &mut Config) {
        if let Some(data_dir) = &self.data_dir {
            config.store.data_dir.clone_from(data_dir);
        }
        if !self.amqp_listen.is_empty() {
            config.amqp.listen.clone_from(&self.amqp_listen);
        }
        if let Some(listen) = &self.http_listen {
            config.http.listen.clone_from(listen);
        }
        if let Some(level) = &self.log_level {
            config.log.level.clone_from(level);
        }
        if let Some(format) = self.log_format {
            config.log.format = format;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_stronger_than_the_file() {
        let mut config = Config::default();
        config.log.level = "debug".to_owned();
        let flags =
            Flags::parse_from(["ferrymq", "--log-level", "warn", "--amqp-listen", "a:1,b:2"]);
        flags.apply(&mut config);
        assert_eq!(config.log.level, "warn");
        assert_eq!(config.amqp.listen, ["a:1", "b:2"]);
    }
}
