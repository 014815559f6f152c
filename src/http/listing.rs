//! Lists of things: filtered by name, sorted, a page at a time, with the columns asked for.
//!
//! Only what is answered is described: the name filter comes first, sorting looks at the one column
//! that it sorts by, and one thing after the other is put into JSON and written. A thing that costs
//! much to describe asks which of its columns somebody will look at ([`Columns`]).

use std::cmp::Ordering;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use regex::RegexBuilder;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use utoipa::IntoParams;

use super::refusal::Refusal;

const PAGE_SIZE_DEFAULT: usize = 100;
const PAGE_SIZE_MAX: usize = 500;

/// Most memory that a filter's compiled expression may take, in bytes.
const REGEX_SIZE_MAX: usize = 1024 * 1024;

/// How a list is asked for.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// From 1 on; without it the whole list is answered, as an array.
    pub page: Option<usize>,
    /// Things on a page, at most 500; 100 if nothing is said.
    pub page_size: Option<usize>,
    /// Only things whose names contain this.
    pub name: Option<String>,
    /// `true`: `name` is a regular expression.
    pub use_regex: Option<String>,
    /// A column to sort by, with dots for columns in columns.
    pub sort: Option<String>,
    /// `true`: the largest first.
    pub sort_reverse: Option<String>,
    /// Only these columns, separated by commas, with dots for columns in columns.
    pub columns: Option<String>,
    /// `true`: without statistics, which costs less.
    pub disable_stats: Option<String>,
    /// `true`: with the counts of messages of queues though `disable_stats` is set.
    pub enable_queue_totals: Option<String>,
}

fn is_true(flag: Option<&String>) -> bool {
    flag.is_some_and(|flag| flag == "true")
}

impl ListQuery {
    pub fn wants_stats(&self) -> bool {
        !is_true(self.disable_stats.as_ref())
    }

    pub fn wants_totals(&self) -> bool {
        self.wants_stats() || is_true(self.enable_queue_totals.as_ref())
    }

    /// The columns that are asked for.
    pub fn wanted_columns(&self) -> Columns {
        match &self.columns {
            Some(columns) => Columns::of(columns),
            None => Columns::All,
        }
    }

    /// Keeps of one thing the columns that are asked for.
    pub fn cut(&self, thing: Value) -> Value {
        match &self.columns {
            Some(columns) => cut(&thing, columns),
            None => thing,
        }
    }

    fn name_filter(&self) -> Result<impl Fn(&str) -> bool, Refusal> {
        let pattern = self.name.clone().filter(|name| !name.is_empty());
        let regex = match &pattern {
            Some(pattern) if is_true(self.use_regex.as_ref()) => {
                let regex = RegexBuilder::new(pattern).size_limit(REGEX_SIZE_MAX).build();
                Some(regex.map_err(|error| {
                    Refusal::bad_request(format!(
                        "the name filter '{pattern}' is not a regular expression: {error}"
                    ))
                })?)
            }
            _ => None,
        };
        let lower = pattern.unwrap_or_default().to_lowercase();
        Ok(move |name: &str| match &regex {
            Some(regex) => regex.is_match(name),
            None => name.to_lowercase().contains(&lower),
        })
    }
}

/// The columns of a thing that somebody will look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Columns {
    All,
    /// These, each without what stands behind its first dot.
    Only(Vec<String>),
}

impl Columns {
    fn of(columns: &str) -> Self {
        Self::Only(parts(columns).map(|column| first(column).to_owned()).collect())
    }

    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.iter().any(|wanted| wanted == name),
        }
    }

    pub fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.has(name))
    }
}

/// A thing in JSON, in the making: with the columns that somebody will look at.
pub struct Shown<'a> {
    columns: &'a Columns,
    out: Map<String, Value>,
}

impl<'a> Shown<'a> {
    pub fn new(columns: &'a Columns) -> Self {
        Self { columns, out: Map::new() }
    }

    pub fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.put_with(name, || value);
    }

    /// The same with a value that costs something to find.
    pub fn put_with<V: Into<Value>>(&mut self, name: &str, value: impl FnOnce() -> V) {
        if self.columns.has(name) {
            self.out.insert(name.to_owned(), value().into());
        }
    }

    pub fn extend(&mut self, more: Map<String, Value>) {
        self.out.extend(more);
    }

    pub fn into_value(self) -> Value {
        self.out.into()
    }
}

/// A list as it is answered, in JSON already.
#[derive(Debug)]
pub struct Listed(Vec<u8>);

impl IntoResponse for Listed {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0).into_response()
    }
}

/// Answers a list of things that stand in their own order: `name` says what the filter looks at,
/// `show` puts one into JSON.
pub fn list<T>(
    query: &ListQuery,
    things: Vec<T>,
    name: impl Fn(&T) -> &str,
    show: impl Fn(&T) -> Value,
) -> Result<Listed, Refusal> {
    list_columns(query, things, name, |thing, _| show(thing))
}

/// The same of things that can be described in part.
pub fn list_columns<T>(
    query: &ListQuery,
    mut things: Vec<T>,
    name: impl Fn(&T) -> &str,
    show: impl Fn(&T, &Columns) -> Value,
) -> Result<Listed, Refusal> {
    let total = things.len();
    let is_wanted = query.name_filter()?;
    things.retain(|thing| is_wanted(name(thing)));
    let page = Page::of(query, total, things.len())?;
    if let Some(column) = &query.sort {
        let columns = Columns::of(column);
        let keyed = things.into_iter().map(|thing| {
            let key = at(&show(&thing, &columns), column).clone();
            (key, thing)
        });
        let mut keyed: Vec<(Value, T)> = keyed.collect();
        keyed.sort_by(|(a, _), (b, _)| compare(a, b));
        things = keyed.into_iter().map(|(_, thing)| thing).collect();
    }
    if is_true(query.sort_reverse.as_ref()) {
        things.reverse();
    }
    let columns = query.wanted_columns();
    page.write(&page.cut(things), |thing| query.cut(show(thing, &columns)))
}

/// What is answered of a list.
#[derive(Debug, Clone, Copy)]
enum Page {
    All,
    Of { number: usize, size: usize, count: usize, total: usize, filtered: usize },
}

/// A page as RabbitMQ's API answers it.
#[derive(Serialize)]
struct PageAnswer<S> {
    filtered_count: usize,
    item_count: usize,
    items: S,
    page: usize,
    page_count: usize,
    page_size: usize,
    total_count: usize,
}

/// Things that are put into JSON one after the other, each when it is written.
struct Items<'a, T, F>(&'a [T], F);

impl<T, F: Fn(&T) -> Value> Serialize for Items<'_, T, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(things, show) = self;
        serializer.collect_seq(things.iter().map(show))
    }
}

impl Page {
    fn of(query: &ListQuery, total: usize, filtered: usize) -> Result<Self, Refusal> {
        let Some(number) = query.page else { return Ok(Self::All) };
        let size = query.page_size.unwrap_or(PAGE_SIZE_DEFAULT);
        if !(1..=PAGE_SIZE_MAX).contains(&size) {
            return Err(Refusal::bad_request(format!(
                "a page has 1 to {PAGE_SIZE_MAX} things, not {size}"
            )));
        }
        let count = filtered.div_ceil(size).max(1);
        if !(1..=count).contains(&number) {
            return Err(Refusal {
                error: "page_out_of_range",
                ..Refusal::bad_request(format!("there is no page {number}: there are {count}"))
            });
        }
        Ok(Self::Of { number, size, count, total, filtered })
    }

    fn cut<T>(self, all: Vec<T>) -> Vec<T> {
        match self {
            Self::All => all,
            Self::Of { number, size, .. } => {
                let before = number.saturating_sub(1).saturating_mul(size);
                all.into_iter().skip(before).take(size).collect()
            }
        }
    }

    fn write<T>(self, things: &[T], show: impl Fn(&T) -> Value) -> Result<Listed, Refusal> {
        let items = Items(things, show);
        let written = match self {
            Self::All => serde_json::to_vec(&items),
            Self::Of { number, size, count, total, filtered } => serde_json::to_vec(&PageAnswer {
                filtered_count: filtered,
                item_count: things.len(),
                items,
                page: number,
                page_count: count,
                page_size: size,
                total_count: total,
            }),
        };
        // Values always are JSON.
        written.map(Listed).map_err(|error| Refusal::internal(error.to_string()))
    }
}

/// What stands in a column, which may be in another one: `message_stats.publish`.
fn at<'a>(thing: &'a Value, column: &str) -> &'a Value {
    let step = |value: &'a Value, name| value.get(name).unwrap_or(&Value::Null);
    column.split('.').fold(thing, step)
}

/// Numbers by size, texts by their letters; what is missing comes first.
fn compare(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) | Value::Object(_) => 4,
    };
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Number(a), Value::Number(b)) => {
            a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal)
        }
        _ => rank(a).cmp(&rank(b)),
    }
}

/// Columns of a list with commas.
fn parts(columns: &str) -> impl Iterator<Item = &str> {
    columns.split(',').map(str::trim).filter(|column| !column.is_empty())
}

/// The column that one in it, or itself, is named by.
fn first(column: &str) -> &str {
    column.split_once('.').map_or(column, |(first, _)| first)
}

fn cut(thing: &Value, columns: &str) -> Value {
    let mut out = Map::new();
    for column in parts(columns) {
        let found = at(thing, column);
        if !found.is_null() {
            put_at(&mut out, column, found.clone());
        }
    }
    Value::Object(out)
}

fn put_at(out: &mut Map<String, Value>, column: &str, value: Value) {
    match column.split_once('.') {
        None => drop(out.insert(column.to_owned(), value)),
        Some((first, rest)) => {
            let inner = out.entry(first).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                put_at(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use serde_json::json;

    use super::*;

    fn listed(query: ListQuery) -> Result<Value, Refusal> {
        let things = vec![("orders", 3), ("payments", 11), ("orders.dead", 2)];
        let show = |(name, count): &(&str, i32)| {
            let publish = count * 2;
            json!({"name": name, "messages": count, "message_stats": {"publish": publish}})
        };
        let Listed(text) = list(&query, things, |(name, _)| name, show)?;
        Ok(serde_json::from_slice(&text).expect("it is JSON"))
    }

    fn names(value: &Value) -> Vec<&str> {
        let items = value.as_array().or(value["items"].as_array()).expect("a list");
        items.iter().filter_map(|item| item["name"].as_str()).collect()
    }

    #[test]
    fn a_list_is_filtered_by_a_part_of_the_name_or_by_an_expression() {
        let name = |name: &str, use_regex: bool| ListQuery {
            name: Some(name.to_owned()),
            use_regex: Some(use_regex.to_string()),
            ..ListQuery::default()
        };
        assert_eq!(names(&listed(name("ORDERS", false)).unwrap()), ["orders", "orders.dead"]);
        assert_eq!(names(&listed(name("s$", true)).unwrap()), ["orders", "payments"]);
        let refused = listed(name("(", true)).unwrap_err();
        assert!(refused.reason.contains("not a regular expression"), "{}", refused.reason);
    }

    #[test]
    fn a_list_is_sorted_by_a_column_in_a_column() {
        let sorted = |reverse: &str| ListQuery {
            sort: Some("message_stats.publish".to_owned()),
            sort_reverse: Some(reverse.to_owned()),
            ..ListQuery::default()
        };
        let listed = |query| listed(query).unwrap();
        assert_eq!(names(&listed(sorted("false"))), ["orders.dead", "orders", "payments"]);
        assert_eq!(names(&listed(sorted("true"))), ["payments", "orders", "orders.dead"]);
    }

    #[test]
    fn a_page_says_how_many_there_are() {
        let page = |page, page_size| ListQuery {
            page: Some(page),
            page_size: Some(page_size),
            ..ListQuery::default()
        };
        let second = listed(page(2, 2)).unwrap();
        assert_eq!(names(&second), ["orders.dead"]);
        let counts = ["filtered_count", "item_count", "page", "page_count", "page_size"];
        assert_eq!(counts.map(|count| second[count].as_u64().unwrap()), [3, 1, 2, 2, 2]);
        assert_eq!(listed(page(3, 2)).unwrap_err().error, "page_out_of_range");
        assert!(listed(page(1, 501)).unwrap_err().reason.contains("500"));
    }

    #[test]
    fn only_the_columns_that_are_asked_for_are_answered() {
        let columns = Some("name, message_stats.publish,nothing".to_owned());
        let cut = listed(ListQuery { columns, page: Some(1), ..ListQuery::default() }).unwrap();
        assert_eq!(cut["items"][1], json!({"name": "payments", "message_stats": {"publish": 22}}));
    }

    #[test]
    fn only_what_is_answered_is_described_and_only_the_column_to_sort_by_of_the_rest() {
        let looked_at = RefCell::new(Vec::new());
        let show = |thing: &usize, columns: &Columns| {
            looked_at.borrow_mut().push((*thing, columns.clone()));
            json!({"name": thing, "rest": 10 - thing})
        };
        let query = ListQuery {
            sort: Some("rest.of".to_owned()),
            page: Some(2),
            page_size: Some(1),
            ..ListQuery::default()
        };
        list_columns(&query, vec![1, 2, 3], |_| "n", show).expect("a page");
        let rest = || Columns::Only(vec!["rest".to_owned()]);
        let expected = [(1, rest()), (2, rest()), (3, rest()), (2, Columns::All)];
        assert_eq!(*looked_at.borrow(), expected);
    }

    #[test]
    fn a_thing_says_what_somebody_will_look_at() {
        let columns = Columns::of("name, message_stats.publish_details.rate");
        assert!(columns.has("message_stats") && !columns.has("publish_details"));
        let mut shown = Shown::new(&columns);
        shown.put("name", "q");
        shown.put_with("messages", || -> Value { unreachable!("nobody asks") });
        assert_eq!(shown.into_value(), json!({"name": "q"}));
    }
}
