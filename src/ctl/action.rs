//! What is done with a verb that is one list or one request.

use serde_json::Value;

use super::asked::Asked;
use super::failure::Failure;
use super::output::{Answer, Rows};
use super::session::{Refused, Sent, encode};
use super::verb::{COLUMN, Change, Check, Column, List};

impl Asked<'_> {
    pub(super) fn list(&self, list: &List) -> Result<Answer, Failure> {
        let chosen = self.columns(list.columns, list.usual)?;
        self.banner(list.banner)?;
        self.list_at(list.path, &chosen)
    }

    /// The things at a path, with these columns. The broker is asked for no others.
    pub(super) fn list_at(&self, path: &str, chosen: &[Column]) -> Result<Answer, Failure> {
        self.list_filtered(path, chosen, chosen, Some)
    }

    /// The things at a path that are wanted, as the filter leaves them, with the chosen columns.
    /// The filter sees what is fetched, and the broker is asked for no more.
    pub(super) fn list_filtered(
        &self,
        path: &str,
        fetched: &[Column],
        chosen: &[Column],
        wanted: impl FnMut(Value) -> Option<Value>,
    ) -> Result<Answer, Failure> {
        let places: Vec<String> = fetched.iter().map(|(_, place)| encode(place)).collect();
        let path = format!("{path}?columns={}", places.join(","));
        let things: Vec<Value> = array(self.get(&path)?)?.into_iter().filter_map(wanted).collect();
        Ok(Answer::Rows(rows_of(things.iter(), chosen)))
    }

    /// The things on one page of a list that is answered in pages.
    pub(super) fn items(&self, path: &str, chosen: &[Column]) -> Result<Answer, Failure> {
        let page = self.get(path)?;
        let items = at(&page, "items").as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(Answer::Rows(rows_of(items.iter(), chosen)))
    }

    /// The names of the things at a path.
    pub(super) fn names(&self, path: &str) -> Result<Vec<String>, Failure> {
        let things = array(self.get(&format!("{path}?columns=name"))?)?;
        let name = |thing: &Value| at(thing, "name").as_str().map(str::to_owned);
        Ok(things.iter().filter_map(name).collect())
    }

    /// The columns that the command line asks for, or the usual ones.
    pub(super) fn columns(
        &self,
        known: &'static [Column],
        usual: &[&'static str],
    ) -> Result<Vec<Column>, Failure> {
        let asked = self.each(COLUMN);
        let names = if asked.is_empty() { usual.to_vec() } else { asked };
        let find = |name: &str| known.iter().find(|(known, _)| *known == name).copied();
        names.iter().map(|name| find(name).ok_or_else(|| no_column(name, known))).collect()
    }

    pub(super) fn change(&self, change: &Change) -> Result<Answer, Failure> {
        let body = (change.body)(self)?;
        self.banner(change.banner)?;
        self.send(change.method, change.path, &Sent { body: Some(&body), headers: &[] })?;
        Ok(Answer::Done(self.sentence(change.done)))
    }

    pub(super) fn check(&self, check: &Check) -> Result<Answer, Failure> {
        self.banner(check.banner)?;
        match self.session.get(&self.fill(check.path, encode)) {
            Ok(_) => Ok(Answer::Done(self.sentence(check.passed))),
            Err(refused) if refused.status == 503 => Err(Failure::unavailable(told(&refused))),
            Err(refused) => Err(self.explain(check.path, refused)),
        }
    }
}

/// Why a check failed: the reason, and what goes with it.
fn told(refused: &Refused) -> String {
    let known = ["status", "reason", "error"];
    let more = refused.answer.as_object().into_iter().flatten();
    let more = more.filter(|(name, _)| !known.contains(&name.as_str()));
    more.fold(refused.reason(), |text, (name, value)| format!("{text}; {name}: {value}"))
}

fn no_column(name: &str, known: &[Column]) -> Failure {
    let known: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    Failure::usage(format!("there is no column {name}; there are: {}", known.join(", ")))
}

/// The things in a list that was answered.
pub(super) fn array(answer: Value) -> Result<Vec<Value>, Failure> {
    match answer {
        Value::Array(things) => Ok(things),
        _ => Err(Failure::software("the broker was asked for a list and answered something else")),
    }
}

/// A row for each thing.
pub(super) fn rows_of<'a>(things: impl Iterator<Item = &'a Value>, chosen: &[Column]) -> Rows {
    let row = |thing: &Value| chosen.iter().map(|(_, place)| at(thing, place).clone()).collect();
    Rows {
        columns: chosen.iter().map(|(name, _)| (*name).to_owned()).collect(),
        rows: things.map(row).collect(),
    }
}

/// What stands at a place, with dots for values in values; null where nothing does.
pub(super) fn at<'a>(thing: &'a Value, place: &str) -> &'a Value {
    place.split('.').fold(thing, |value, name| value.get(name).unwrap_or(&Value::Null))
}
