//! The daemon's command line: one flag for every setting, and a few that are not settings.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::Given;
use super::setting::{SETTINGS, Setting};

const ABOUT: &str = "FerryMQ, a durable AMQP 0-9-1 message broker.\n\n\
    Every setting can be given as a flag, as an environment variable or in a TOML file; a flag is \
    stronger than the variable, and the variable than the file. `ferrymq --print-config` prints \
    all of them as such a file.";

/// What the command line says.
#[derive(Debug)]
pub struct Flags {
    pub config: Option<PathBuf>,
    pub print_config: bool,
    pub check_health: bool,
    pub(super) given: Given,
}

impl Flags {
    /// Reads a command line, the program's name first. The error knows its exit code: `--help` and
    /// `--version` are 0, wrong usage is 2.
    pub fn parse(
        arguments: impl IntoIterator<Item: Into<OsString> + Clone>,
    ) -> Result<Self, clap::Error> {
        let mut matches = command().try_get_matches_from(arguments)?;
        Ok(Self {
            config: matches.remove_one("config"),
            print_config: matches.get_flag("print-config"),
            check_health: matches.get_flag("check-health"),
            given: SETTINGS.iter().filter_map(|setting| given(setting, &mut matches)).collect(),
        })
    }
}

fn given(
    setting: &'static Setting,
    matches: &mut ArgMatches,
) -> Option<(&'static str, toml::Value)> {
    let texts: Vec<String> = matches.remove_many(setting.key)?.collect();
    // The parser of the argument has allowed each, so it allows them together.
    let value = setting.parse(&texts.join(",")).ok()?;
    Some((setting.key, value))
}

fn command() -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("TOML file with settings [default: none] [env: FERRYMQ_CONFIG]");
    let print_config = Arg::new("print-config")
        .long("print-config")
        .action(ArgAction::SetTrue)
        .help("Print the settings in force as TOML and exit");
    let check_health = Arg::new("check-health")
        .long("check-health")
        .action(ArgAction::SetTrue)
        .conflicts_with("print-config")
        .help(
            "Ask the broker with these settings on this machine whether it serves: exit 0, else 1",
        );
    Command::new("ferrymq")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .next_line_help(true)
        .args([config, print_config, check_health])
        .args(SETTINGS.iter().map(argument))
}

fn argument(setting: &'static Setting) -> Arg {
    let default = match setting.default() {
        toml::Value::String(text) if text.is_empty() => "none".to_owned(),
        toml::Value::String(text) => text,
        toml::Value::Array(items) => {
            items.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    };
    let again = if setting.is_list() { "; repeat it, or separate by commas" } else { "" };
    let help = format!(
        "{}: {}{again} [default: {default}] [env: {}]",
        setting.purpose,
        setting.allowed(),
        setting.environment_variable()
    );
    Arg::new(setting.key)
        .long(setting.flag())
        .value_name(setting.placeholder())
        .action(if setting.is_list() { ArgAction::Append } else { ArgAction::Set })
        .allow_negative_numbers(true)
        .value_parser(|text: &str| setting.parse(text).map(|_| text.to_owned()))
        .help_heading(setting.section())
        .help(help)
}

#[cfg(test)]
mod tests {
    use toml::Value;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Flags, clap::Error> {
        Flags::parse([&["ferrymq"], arguments].concat())
    }

    #[test]
    fn flags_of_lists_are_repeated_or_separated_by_commas() {
        let flags = parse(&["--amqp-listen", "a:1", "--amqp-listen", "b:2,c:3"]).expect("valid");
        let listen = flags.given.get("amqp.listen");
        assert_eq!(listen, Some(&Value::from(vec!["a:1", "b:2", "c:3"])));
        assert_eq!(flags.given.len(), 1, "what is not said is not given");
    }

    #[test]
    fn a_wrong_value_is_a_usage_error_that_names_the_flag_and_what_is_allowed() {
        let error = parse(&["--amqp-channel-max", "70000"]).expect_err("too many");
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        assert!(text.contains("'70000' for '--amqp-channel-max <CHANNELS>'"), "{text}");
        assert!(text.contains("allowed is 1 to 65535 channels"), "{text}");
    }

    #[test]
    fn help_tells_every_setting_with_its_default_its_limits_and_its_variable() {
        let help = command().render_long_help().to_string();
        let said: String = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for setting in SETTINGS {
            for part in [setting.flag(), setting.environment_variable(), setting.allowed()] {
                assert!(said.contains(&part), "{part} is not in:\n{help}");
            }
        }
        assert!(said.contains("[default: 131072]"), "{help}");
    }
}
