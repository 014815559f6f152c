//! All verbs, a file for each subject.

mod access;
mod alerts;
mod audit;
mod checks;
mod definitions;
mod elsewhere;
mod features;
mod limits;
mod lists;
mod messages;
mod node;
mod operations;
mod parameters;
mod policies;
mod report;
mod users;
mod vhosts;

use super::verb::{Subject, Verb};

/// In the order of the help. Those without a title aren't in it.
pub(super) const SUBJECTS: &[&Subject] = &[
    &users::SUBJECT,
    &access::SUBJECT,
    &vhosts::SUBJECT,
    &lists::SUBJECT,
    &operations::SUBJECT,
    &messages::SUBJECT,
    &alerts::SUBJECT,
    &audit::SUBJECT,
    &policies::SUBJECT,
    &parameters::SUBJECT,
    &limits::SUBJECT,
    &definitions::SUBJECT,
    &node::SUBJECT,
    &checks::SUBJECT,
    &features::SUBJECT,
    &elsewhere::SUBJECT,
];

pub(super) fn all() -> impl Iterator<Item = &'static Verb> {
    SUBJECTS.iter().flat_map(|subject| subject.verbs)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::ctl::command_line::command;
    use crate::ctl::verb::Action;

    use super::*;

    /// A shell's words, up to where another program or a file comes.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut is_quoted) = (Vec::new(), None::<String>, false);
        for letter in line.chars() {
            match letter {
                '\'' => {
                    is_quoted = !is_quoted;
                    word.get_or_insert_default();
                }
                '|' | '<' | '>' if !is_quoted => break,
                ' ' if !is_quoted => words.extend(word.take()),
                letter => word.get_or_insert_default().push(letter),
            }
        }
        words.extend(word);
        words
    }

    #[test]
    fn every_verb_has_an_example_that_is_understood() {
        command().debug_assert();
        for verb in all().filter(|verb| !matches!(verb.action, Action::NotHere)) {
            assert!(!verb.example.is_empty(), "{}", verb.name);
            for line in verb.example.lines() {
                let words = words(line);
                assert_eq!(words[0], verb.name);
                let line = ["ferrymqctl".to_owned()].into_iter().chain(words);
                command().try_get_matches_from(line).unwrap_or_else(|told| panic!("{told}"));
            }
        }
    }

    #[test]
    fn the_usual_columns_are_columns() {
        for verb in all() {
            if let Action::List(list) = &verb.action {
                let is_known = |name| list.columns.iter().any(|(known, _)| known == name);
                assert!(list.usual.iter().all(is_known), "{}", verb.name);
            }
        }
    }

    const BEGIN: &str = "<!-- Written by `UPDATE=1 cargo test --lib ctl::verbs` -->\n";
    const END: &str = "<!-- End of what is written -->\n";

    /// The verbs by subject, as tables.
    fn tables() -> String {
        let mut text = String::new();
        for subject in SUBJECTS.iter().filter(|subject| !subject.title.is_empty()) {
            text.push_str(&format!(
                "\n### {}\n\n| verb | what it does | example |\n|---|---|---|\n",
                subject.title
            ));
            for verb in subject.verbs {
                let examples: Vec<String> = verb
                    .example
                    .lines()
                    .map(|line| format!("`ferrymqctl {}`", line.replace('|', "\\|")))
                    .collect();
                let examples = examples.join("<br>");
                text.push_str(&format!("| `{}` | {} | {examples} |\n", verb.name, verb.about));
            }
        }
        text.push_str("\n### Not here\n\n| verb | why |\n|---|---|\n");
        for verb in all().filter(|verb| matches!(verb.action, Action::NotHere)) {
            text.push_str(&format!("| `{}` | {} |\n", verb.name, verb.about));
        }
        text.push('\n');
        text
    }

    #[test]
    fn the_manual_has_every_verb() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
        let text = std::fs::read_to_string(&path).expect("the manual");
        let (before, rest) = text.split_once(BEGIN).expect("where the tables begin");
        let (_, after) = rest.split_once(END).expect("where the tables end");
        let fresh = format!("{before}{BEGIN}{}{END}{after}", tables());
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &fresh).expect("it can be written");
        }
        let is_fresh = text == fresh || std::env::var_os("UPDATE").is_some();
        assert!(is_fresh, "docs/cli.md is stale: UPDATE=1 cargo test --lib ctl::verbs");
    }
}
