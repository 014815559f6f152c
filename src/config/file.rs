//! The configuration file. A key that doesn't exist is an error that names its nearest neighbour.

use std::path::Path;

use toml::{Table, Value};

use super::{Config, ConfigError};

/// How alike two keys have to be for one to be suggested for the other, 0 to 1.
const ALIKE_MIN: f64 = 0.7;

pub(super) fn read(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        ConfigError(format!("cannot read the configuration file {}: {error}", path.display()))
    })?;
    parse(&text).map_err(|why| ConfigError(format!("{}: {why}", path.display())))
}

fn parse(text: &str) -> Result<Config, String> {
    let table: Table = toml::from_str(text).map_err(|error| error.to_string())?;
    let known = Table::try_from(Config::default()).map_err(|error| error.to_string())?;
    check_keys("", &table, &known)?;
    toml::from_str(text).map_err(|error| error.to_string())
}

fn check_keys(prefix: &str, table: &Table, known: &Table) -> Result<(), String> {
    for (key, value) in table {
        let Some(expected) = known.get(key) else {
            return Err(unknown_key(prefix, key, known));
        };
        if let (Value::Table(inner), Value::Table(known)) = (value, expected) {
            check_keys(&format!("{prefix}{key}."), inner, known)?;
        }
    }
    Ok(())
}

fn unknown_key(prefix: &str, key: &str, known: &Table) -> String {
    let nearest = known
        .keys()
        .map(|candidate| (strsim::jaro_winkler(key, candidate), candidate))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(alike, _)| *alike >= ALIKE_MIN);
    match nearest {
        Some((_, nearest)) => {
            format!("unknown key {prefix}{key}; did you mean {prefix}{nearest}?")
        }
        None => {
            let all: Vec<&str> = known.keys().map(String::as_str).collect();
            format!("unknown key {prefix}{key}; the keys here are {}", all.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_changes_what_it_names_and_nothing_else() {
        let config = parse("[amqp]\nheartbeat_seconds = 20\n").expect("valid");
        assert_eq!(config.amqp.heartbeat_seconds, 20);
        assert_eq!(config.store, Config::default().store);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_neighbour() {
        let error = parse("[amqp]\nheartbeat_second = 20\n").expect_err("unknown");
        assert_eq!(
            error,
            "unknown key amqp.heartbeat_second; did you mean amqp.heartbeat_seconds?"
        );
        assert!(parse("[qqq]\n").expect_err("unknown").contains("the keys here are"));
    }

    #[test]
    fn a_value_of_the_wrong_type_is_refused() {
        assert!(parse("[amqp]\nheartbeat_seconds = \"soon\"\n").is_err());
    }
}
