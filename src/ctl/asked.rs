//! A verb that was asked for: the words that came with it, the session and the output.

use std::io::{self, BufRead, IsTerminal};

use clap::ArgMatches;
use clap::parser::ValueSource;
use serde_json::Value;

use super::failure::Failure;
use super::output::Output;
use super::session::{Refused, Sent, Session, encode};

/// The longest password that is read, in bytes.
const PASSWORD_LEN_MAX: usize = 4096;

pub(super) const VHOST: &str = "vhost";

pub(super) struct Asked<'a> {
    pub(super) matches: &'a ArgMatches,
    pub(super) session: Session,
    pub(super) output: &'a Output,
}

impl Asked<'_> {
    /// A word that is there, or has a usual value; empty otherwise.
    pub(super) fn text(&self, name: &str) -> &str {
        self.given(name).unwrap_or_default()
    }

    pub(super) fn given(&self, name: &str) -> Option<&str> {
        self.matches.try_get_one::<String>(name).ok().flatten().map(String::as_str)
    }

    /// All words of one name, also those with commas between them.
    pub(super) fn each(&self, name: &str) -> Vec<&str> {
        let words = self.matches.try_get_many::<String>(name).ok().flatten();
        let words = words.into_iter().flatten();
        words
            .flat_map(|word| word.split(','))
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .collect()
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.matches.try_get_one::<bool>(name).ok().flatten().is_some_and(|flag| *flag)
    }

    pub(super) fn number(&self, name: &str) -> Result<i64, Failure> {
        let text = self.text(name);
        text.parse().map_err(|_| Failure::usage(format!("{name} is a whole number, not '{text}'")))
    }

    /// JSON that was given as a word.
    pub(super) fn json(&self, name: &str) -> Result<Value, Failure> {
        let text = self.text(name);
        serde_json::from_str(text)
            .map_err(|error| Failure::data(format!("{name} is not JSON: {error}: {text}")))
    }

    pub(super) fn vhost(&self) -> &str {
        self.text(VHOST)
    }

    /// The vhost, if the command line names one.
    pub(super) fn named_vhost(&self) -> Option<&str> {
        let is_given = self.matches.value_source(VHOST) == Some(ValueSource::CommandLine);
        is_given.then(|| self.vhost())
    }

    /// A password: the word, or what is typed, or the first line of what is piped in.
    pub(super) fn password(&self, name: &str) -> Result<String, Failure> {
        if let Some(password) = self.given(name) {
            return Ok(password.to_owned());
        }
        let password = read_secret("Password: ")?;
        if password.is_empty() {
            return Err(Failure::data("the password is empty: see clear_password for none at all"));
        }
        Ok(password)
    }

    /// A template with the words in the place of their names in braces.
    pub(super) fn fill(&self, template: &str, put: impl Fn(&str) -> String) -> String {
        let mut filled = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, behind) = after.split_once('}').unwrap_or((after, ""));
            filled.push_str(before);
            filled.push_str(&put(&self.matches_text(name)));
            rest = behind;
        }
        filled.push_str(rest);
        filled
    }

    fn matches_text(&self, name: &str) -> String {
        let words = self.matches.try_get_many::<String>(name).ok().flatten();
        words.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    /// A sentence from a template.
    pub(super) fn sentence(&self, template: &str) -> String {
        self.fill(template, str::to_owned)
    }

    /// Says what is being done, where people read.
    pub(super) fn banner(&self, template: &str) -> Result<(), Failure> {
        self.output.banner(&self.sentence(template))
    }

    pub(super) fn get(&self, path: &str) -> Result<Value, Failure> {
        self.send("GET", path, &Sent::default())
    }

    /// Sends a request to a path from a template. What a refusal is about is looked up: a user or
    /// vhost that isn't there has an exit code of its own.
    pub(super) fn send(&self, method: &str, path: &str, sent: &Sent<'_>) -> Result<Value, Failure> {
        let filled = self.fill(path, encode);
        self.session.send(method, &filled, sent).map_err(|refused| self.explain(path, refused))
    }

    pub(super) fn explain(&self, path: &str, refused: Refused) -> Failure {
        // What is wrong with a thing that is made is not that it isn't there.
        let is_itself = matches!(path, "/api/users/{USER}" | "/api/vhosts/{VHOST}");
        if refused.status == 404 || (refused.status == 400 && !is_itself) {
            let is_missing = |kind: &str, name: &str| {
                let path = format!("/api/{kind}/{}", encode(name));
                matches!(self.session.get(&path), Err(Refused { status: 404, .. }))
            };
            if path.contains("{USER}") && is_missing("users", self.text("USER")) {
                return Failure::no_user(self.sentence("User \"{USER}\" does not exist"));
            }
            for name in [VHOST, "VHOST"] {
                let is_meant = path.contains(&format!("{{{name}}}"));
                if is_meant && is_missing("vhosts", self.text(name)) {
                    let vhost = self.text(name);
                    return Failure::data(format!("Virtual host '{vhost}' does not exist"));
                }
            }
        }
        refused.into()
    }
}

/// Something secret: typed without being shown, or the first line of what is piped in.
pub(super) fn read_secret(prompt: &str) -> Result<String, Failure> {
    let failed =
        |error: io::Error| Failure::input_output(format!("cannot read the password: {error}"));
    if io::stdin().is_terminal() {
        return rpassword::prompt_password(prompt).map_err(failed);
    }
    let mut line = String::new();
    let limit = u64::try_from(PASSWORD_LEN_MAX).unwrap_or(u64::MAX);
    let mut input = io::Read::take(io::stdin().lock(), limit);
    input.read_line(&mut line).map_err(failed)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
