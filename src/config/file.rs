//! The configuration file, and the definitions file that it names. A key that doesn't exist is an
//! error that names its nearest neighbour.

use std::path::Path;

use toml::{Table, Value};

use super::setting::{SETTINGS, Setting};
use super::{ConfigError, Given};

/// How alike two keys have to be for one to be suggested for the other, 0 to 1.
const ALIKE_MIN: f64 = 0.6;

pub(super) fn read(path: &Path) -> Result<Given, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        ConfigError(format!(
            "cannot read the configuration file {}: {error}; name another one with --config",
            path.display()
        ))
    })?;
    parse(&text).map_err(|why| ConfigError(format!("{}: {why}", path.display())))
}

/// The bytes of a definitions file.
pub(super) fn read_definitions(path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|error| {
        let path = path.display();
        ConfigError(format!(
            "cannot read the definitions file {path}: {error} (setting definitions.file)"
        ))
    })
}

fn parse(text: &str) -> Result<Given, String> {
    let table: Table = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut given = Given::new();
    for (key, value) in leaves("", table) {
        let setting = SETTINGS.iter().find(|setting| setting.key == key);
        let setting = setting.ok_or_else(|| unknown_key(&key))?;
        if !setting.allows(&value) {
            return Err(format!(
                "{key} = {value} is not allowed; allowed is {}",
                setting.allowed()
            ));
        }
        given.insert(setting.key, value);
    }
    Ok(given)
}

/// The values of a table and of the tables in it, with their dotted keys. An empty section that
/// exists says nothing; one that doesn't exist is a leaf, so that it is found out.
fn leaves(prefix: &str, table: Table) -> Vec<(String, Value)> {
    let mut leaves = Vec::new();
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value {
            Value::Table(inner) if !inner.is_empty() => {
                leaves.extend(self::leaves(&format!("{key}."), inner));
            }
            Value::Table(_) if SETTINGS.iter().any(|s| s.section() == key) => {}
            value => leaves.push((key, value)),
        }
    }
    leaves
}

fn unknown_key(key: &str) -> String {
    let sections = SETTINGS.iter().map(Setting::section);
    let nearest = SETTINGS
        .iter()
        .map(|setting| setting.key)
        .chain(sections)
        .map(|known| (likeness(key, known), known))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(alike, _)| *alike >= ALIKE_MIN);
    match nearest {
        Some((_, nearest)) => format!("unknown key {key}; did you mean {nearest}?"),
        None => format!("unknown key {key}; `ferrymq --print-config` shows all keys"),
    }
}

/// The whole keys count as much as the names without a section: a right name may stand in a wrong
/// one.
fn likeness(key: &str, known: &str) -> f64 {
    let name = |key| str::rsplit(key, '.').next().unwrap_or_default();
    let of_names = strsim::normalized_damerau_levenshtein(name(key), name(known));
    (strsim::normalized_damerau_levenshtein(key, known) + of_names) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gives_what_it_names_and_nothing_else() {
        let given = parse("[amqp]\nheartbeat_seconds = 20\n[store]\n").expect("valid");
        assert_eq!(given.len(), 1);
        assert_eq!(given.get("amqp.heartbeat_seconds"), Some(&Value::Integer(20)));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_neighbour() {
        let neighbour = |text| parse(text).expect_err("unknown");
        assert_eq!(
            neighbour("[amqp]\nheartbeat_second = 20\n"),
            "unknown key amqp.heartbeat_second; did you mean amqp.heartbeat_seconds?"
        );
        assert_eq!(
            neighbour("data_dir = \"x\"\n"),
            "unknown key data_dir; did you mean store.data_dir?"
        );
        assert_eq!(
            neighbour("[ampq]\nlisten = [\"a:1\"]\n"),
            "unknown key ampq.listen; did you mean amqp.listen?"
        );
        assert_eq!(neighbour("[stoer]\n"), "unknown key stoer; did you mean store?");
        assert_eq!(
            neighbour("[clustering]\n"),
            "unknown key clustering; `ferrymq --print-config` shows all keys"
        );
    }

    #[test]
    fn a_wrong_value_is_named_with_what_is_allowed() {
        assert_eq!(
            parse("[amqp]\nheartbeat_seconds = \"soon\"\n").expect_err("no number"),
            "amqp.heartbeat_seconds = \"soon\" is not allowed; allowed is 0 to 65535 seconds"
        );
        assert!(parse("[amqp]\nlisten = [5672]\n").is_err());
    }

    #[test]
    fn a_file_that_is_no_toml_says_where() {
        assert!(parse("[amqp\n").expect_err("no TOML").contains("line 1"));
    }
}
