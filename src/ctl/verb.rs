//! What a verb is: its name, its words on the command line, and what it asks of the broker.
//!
//! A verb is declared once, as a value in the table of its subject; the command line, the help, the
//! completions and what is done follow from that. Most verbs are one request ([`Change`]) or one
//! list ([`List`]); what neither can say is a function.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Command, ValueHint};
use serde_json::Value;

use super::asked::Asked;
use super::failure::Failure;
use super::output::Answer;

/// Verbs that belong together.
pub(super) struct Subject {
    pub(super) title: &'static str,
    pub(super) verbs: &'static [Verb],
}

pub(super) struct Verb {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// Without the program's name; more than one are lines.
    pub(super) example: &'static str,
    pub(super) words: &'static [Word],
    pub(super) action: Action,
}

pub(super) enum Action {
    List(List),
    Change(Change),
    Check(Check),
    Own(fn(&Asked<'_>) -> Result<Answer, Failure>),
    /// It can't be done here; what the verb is about says why.
    NotHere,
}

/// Things of one kind, with the columns that are asked for. `banner` and `path` are templates, as
/// [`Asked::fill`] says.
pub(super) struct List {
    pub(super) banner: &'static str,
    pub(super) path: &'static str,
    pub(super) columns: &'static [Column],
    /// The columns that are shown when none is asked for.
    pub(super) usual: &'static [&'static str],
}

/// A column as it is called on the command line, and where it stands in the API's JSON, with dots
/// for values in values.
pub(super) type Column = (&'static str, &'static str);

/// Columns: `"name"` stands in the JSON under its own name, `"pid" = "name"` elsewhere.
macro_rules! columns {
    (@ $name:literal) => { ($name, $name) };
    (@ $name:literal = $place:literal) => { ($name, $place) };
    ($($name:literal $(= $place:literal)?),* $(,)?) => {
        &[$(columns!(@ $name $(= $place)?)),*]
    };
}
pub(super) use columns;

/// One request that changes something. `banner`, `path` and `done` are templates.
pub(super) struct Change {
    pub(super) banner: &'static str,
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) body: fn(&Asked<'_>) -> Result<Value, Failure>,
    /// What is said at the end; most changes have nothing to add.
    pub(super) done: &'static str,
}

/// A health check: what is said when it passes. All are templates.
pub(super) struct Check {
    pub(super) banner: &'static str,
    pub(super) path: &'static str,
    pub(super) passed: &'static str,
}

/// The body of requests that have none.
pub(super) fn no_body(_: &Asked<'_>) -> Result<Value, Failure> {
    Ok(Value::Null)
}

/// A word after the verb. The name of one in capitals is its place holder.
pub(super) struct Word {
    name: &'static str,
    kind: Kind,
    about: &'static str,
    usual: Option<&'static str>,
    allowed: Allowed,
}

/// What a word may be.
enum Allowed {
    Anything,
    Number,
    OneOf(&'static [&'static str]),
    /// The name of a file.
    File,
}

enum Kind {
    Required,
    Optional,
    Many,
    Option,
    Flag,
}

impl Word {
    const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self { name, kind, about, usual: None, allowed: Allowed::Anything }
    }

    /// A value that is used when none is given.
    pub(super) const fn or(self, usual: &'static str) -> Self {
        Self { usual: Some(usual), ..self }
    }

    /// A whole number.
    pub(super) const fn number(self) -> Self {
        Self { allowed: Allowed::Number, ..self }
    }

    pub(super) const fn one_of(self, words: &'static [&'static str]) -> Self {
        Self { allowed: Allowed::OneOf(words), ..self }
    }

    pub(super) const fn file(self) -> Self {
        Self { allowed: Allowed::File, ..self }
    }
}

pub(super) const fn required(name: &'static str, about: &'static str) -> Word {
    Word::new(name, Kind::Required, about)
}

pub(super) const fn optional(name: &'static str, about: &'static str) -> Word {
    Word::new(name, Kind::Optional, about)
}

/// Any number of words, none as well.
pub(super) const fn many(name: &'static str, about: &'static str) -> Word {
    Word::new(name, Kind::Many, about)
}

/// `--name VALUE`.
pub(super) const fn option(name: &'static str, about: &'static str) -> Word {
    Word::new(name, Kind::Option, about)
}

/// `--name`.
pub(super) const fn flag(name: &'static str, about: &'static str) -> Word {
    Word::new(name, Kind::Flag, about)
}

/// The name of the columns of every list on the command line.
pub(super) const COLUMN: &str = "COLUMN";

impl Verb {
    /// The verb on the command line.
    pub(super) fn command(&self) -> Command {
        if matches!(self.action, Action::NotHere) {
            let rest =
                Arg::new("REST").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true);
            return Command::new(self.name).about(self.about).hide(true).arg(rest);
        }
        let examples: Vec<String> =
            self.example.lines().map(|line| format!("  ferrymqctl {}", line.trim())).collect();
        let mut more = format!("Example:\n{}", examples.join("\n"));
        let mut command = Command::new(self.name).about(self.about);
        for word in self.words {
            command = command.arg(word.arg());
        }
        if let Action::List(list) = &self.action {
            let names: Vec<&str> = list.columns.iter().map(|(name, _)| *name).collect();
            let usual = list.usual.join(" ");
            let about = format!("What to show of each [default: {usual}]");
            command =
                command.arg(Arg::new(COLUMN).action(ArgAction::Append).num_args(0..).help(about));
            more = format!("Columns:\n  {}\n\n{more}", names.join(", "));
        }
        command.after_help(more)
    }
}

impl Word {
    fn arg(&self) -> Arg {
        let arg = Arg::new(self.name).help(self.about);
        let arg = match self.kind {
            Kind::Required => arg.required(true),
            Kind::Optional => arg,
            Kind::Many => arg.action(ArgAction::Append).num_args(0..),
            Kind::Option => arg.long(self.name).value_name("VALUE").allow_negative_numbers(true),
            Kind::Flag => arg.long(self.name).action(ArgAction::SetTrue),
        };
        let arg = match self.allowed {
            Allowed::Anything => arg,
            Allowed::Number => arg.value_parser(|text: &str| {
                let number: Result<i64, _> = text.parse();
                number.map(|_| text.to_owned()).map_err(|_| "it is a whole number")
            }),
            Allowed::OneOf(words) => arg.value_parser(PossibleValuesParser::new(words)),
            Allowed::File => arg.value_hint(ValueHint::FilePath),
        };
        match self.usual {
            Some(usual) => arg.default_value(usual),
            None => arg,
        }
    }
}
