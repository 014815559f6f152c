//! How an answer is printed: for people on a terminal, for scripts in a pipe, as JSON or CSV.

use std::io::{self, BufWriter, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use serde::Serializer as _;
use serde_json::{Value, json};

use super::failure::Failure;

/// What a verb found or did.
pub(super) enum Answer {
    /// It is done, and this is what came of it; the sentence may be empty.
    Done(String),
    /// It is done; what may help is left out where sentences are not wanted.
    Advice(String),
    Rows(Rows),
    /// One thing: as JSON, and as text for people.
    Document {
        value: Value,
        text: String,
    },
    /// All has been printed already.
    Printed,
}

/// A list: each row has a value for each column.
pub(super) struct Rows {
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<Value>>,
}

// Without a sentence each, which would make the help of every verb twice as long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Formatter {
    Table,
    PrettyTable,
    Json,
    Csv,
}

/// Where and how it is printed.
pub(super) struct Output {
    /// None: what suits people on a terminal and scripts elsewhere.
    pub(super) formatter: Option<Formatter>,
    /// No sentences but the answer's.
    pub(super) is_quiet: bool,
    /// No sentences and no headers.
    pub(super) is_silent: bool,
    pub(super) has_headers: bool,
}

impl Output {
    fn formatter(&self) -> Formatter {
        self.formatter.unwrap_or(if io::stdout().is_terminal() {
            Formatter::PrettyTable
        } else {
            Formatter::Table
        })
    }

    /// Whether sentences are printed, which a program would have to take out again.
    pub(super) fn talks(&self) -> bool {
        let is_for_people = matches!(self.formatter(), Formatter::Table | Formatter::PrettyTable);
        is_for_people && !self.is_quiet && !self.is_silent
    }

    pub(super) fn is_json(&self) -> bool {
        self.formatter() == Formatter::Json
    }

    pub(super) fn banner(&self, text: &str) -> Result<(), Failure> {
        if self.talks() && !text.is_empty() {
            writeln!(io::stdout().lock(), "{}", printable(text))?;
        }
        Ok(())
    }

    pub(super) fn answer(&self, answer: &Answer) -> Result<(), Failure> {
        let mut out = BufWriter::new(io::stdout().lock());
        match answer {
            Answer::Done(text) => self.done(&mut out, text, true)?,
            Answer::Advice(text) => self.done(&mut out, text, self.talks())?,
            Answer::Rows(rows) => self.rows(&mut out, rows)?,
            Answer::Document { value, .. } if self.is_json() => {
                serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
                writeln!(out)?;
            }
            Answer::Document { text, .. } => writeln!(out, "{}", text.trim_end())?,
            Answer::Printed => {}
        }
        Ok(out.flush()?)
    }

    fn done(&self, out: &mut impl Write, text: &str, is_wanted: bool) -> io::Result<()> {
        if self.is_json() {
            let mut answer = json!({ "result": "ok" });
            if !text.is_empty() {
                answer["message"] = text.into();
            }
            writeln!(out, "{answer}")
        } else if is_wanted && !text.is_empty() {
            writeln!(out, "{}", printable(text))
        } else {
            Ok(())
        }
    }

    fn rows(&self, out: &mut impl Write, list: &Rows) -> Result<(), Failure> {
        let has_headers = self.has_headers && !self.is_silent && !list.rows.is_empty();
        match self.formatter() {
            Formatter::Json => put_json(out, list)?,
            Formatter::Csv => put_csv(out, list, has_headers)?,
            Formatter::PrettyTable if list.rows.is_empty() => {}
            Formatter::PrettyTable => writeln!(out, "{}", pretty(list, has_headers))?,
            Formatter::Table => {
                if has_headers {
                    writeln!(out, "{}", list.columns.join("\t"))?;
                }
                for row in &list.rows {
                    let cells: Vec<String> = row.iter().map(cell).collect();
                    writeln!(out, "{}", cells.join("\t"))?;
                }
            }
        }
        Ok(())
    }
}

/// An array with an object in each line, its members in the order of the columns.
fn put_json(out: &mut impl Write, list: &Rows) -> io::Result<()> {
    writeln!(out, "[")?;
    for (number, row) in list.rows.iter().enumerate() {
        let pairs = list.columns.iter().zip(row);
        serde_json::Serializer::new(&mut *out).collect_map(pairs)?;
        writeln!(out, "{}", if number + 1 < list.rows.len() { "," } else { "" })?;
    }
    writeln!(out, "]")
}

fn put_csv(out: &mut impl Write, list: &Rows, has_headers: bool) -> Result<(), Failure> {
    let failed = |error: csv::Error| match error.into_kind() {
        csv::ErrorKind::Io(error) => error.into(),
        _ => Failure::software("a row has more columns than there are"),
    };
    let mut csv =
        csv::WriterBuilder::new().quote_style(csv::QuoteStyle::NonNumeric).from_writer(out);
    if has_headers {
        csv.write_record(&list.columns).map_err(failed)?;
    }
    for row in &list.rows {
        csv.write_record(row.iter().map(plain)).map_err(failed)?;
    }
    Ok(csv.flush()?)
}

fn pretty(list: &Rows, has_headers: bool) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    if let Ok(size) = rustix::termios::tcgetwinsize(io::stdout())
        && size.ws_col > 0
    {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(size.ws_col);
    }
    if has_headers {
        table.set_header(&list.columns);
    }
    for row in &list.rows {
        table.add_row(row.iter().map(|value| {
            let cell = Cell::new(cell(value));
            let is_number = value.is_number();
            if is_number { cell.set_alignment(CellAlignment::Right) } else { cell }
        }));
    }
    table
}

/// A value in a cell of a table, in one line.
pub(super) fn cell(value: &Value) -> String {
    printable(&plain(value))
}

/// Texts as they are, lists in brackets, nothing for what isn't there.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            let items: Vec<String> = items.iter().map(plain).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// Control characters as `\` and three octal digits: names come from others, and some characters
/// move a terminal's cursor or end a line.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            out.push_str(&format!("\\{:03o}", u32::from(letter)));
        } else {
            out.push(letter);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Rows {
        let columns = ["name", "tags", "messages", "arguments"].map(str::to_owned).to_vec();
        let row = vec![json!("a\tb"), json!(["x", "y"]), json!(3), json!({"x": 1})];
        Rows { columns, rows: vec![row, vec![json!("c,\"d"), json!([]), Value::Null, json!({})]] }
    }

    fn printed(formatter: Formatter, is_silent: bool) -> String {
        let formatter = Some(formatter);
        let output = Output { formatter, is_quiet: false, is_silent, has_headers: true };
        let mut out = Vec::new();
        output.rows(&mut out, &list()).expect("it is printed");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn in_a_pipe_a_row_is_a_line_whatever_is_in_its_names() {
        let text =
            "name\ttags\tmessages\targuments\na\\011b\t[x, y]\t3\t{\"x\":1}\nc,\"d\t[]\t\t{}\n";
        assert_eq!(printed(Formatter::Table, false), text);
        assert_eq!(printed(Formatter::Table, true).lines().count(), 2);
    }

    #[test]
    fn json_and_csv_keep_values_as_they_are() {
        let all: Value = serde_json::from_str(&printed(Formatter::Json, true)).expect("JSON");
        assert_eq!(
            all[0],
            json!({"name": "a\tb", "tags": ["x", "y"], "messages": 3, "arguments": {"x": 1}})
        );
        assert_eq!(all[1]["messages"], Value::Null);
        let csv = printed(Formatter::Csv, false);
        assert!(csv.starts_with("\"name\",\"tags\",\"messages\",\"arguments\"\n"), "{csv}");
        assert!(csv.contains("\"a\tb\",\"[x, y]\",3,"), "{csv}");
        assert!(csv.contains("\"c,\"\"d\""), "{csv}");
    }

    #[test]
    fn a_table_for_people_has_lines_and_numbers_at_the_right() {
        let table = printed(Formatter::PrettyTable, false);
        assert!(table.contains("┆        3 ┆") && table.contains("┌"), "{table}");
    }
}
