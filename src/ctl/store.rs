//! `ferrymqctl store`: a data directory checked, dumped, and saved into a new one.

use std::fmt::Write as _;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::{json, progress};
use crate::store::OpenError;
use crate::store::offline::{self, DumpFilter, Dumped, Problem, QueueName, Repaired, Report};

const ABOUT: &str = "Look at a data directory that no broker has open: check, dump, repair.\n\n\
    None of these commands changes the directory.";

const CHECK: &str = "Say what is in each file of a data directory, and what is wrong.\n\n\
    Reads all of it, with every checksum, and changes nothing. While it runs, no broker can start \
    on the directory.";

const CHECK_MORE: &str = "Examples:
  ferrymqctl store check /var/lib/ferrymq
  ferrymqctl store check /var/lib/ferrymq --json | jq '.queues[] | select(.lost > 0)'

Exit codes:
  0  the directory is whole
  1  something is wrong with it; each problem says what to do
  2  it could not look: wrong usage, no such directory, in use by a broker

Limits:
  The first 1000 problems of a file are listed, the others counted. It needs room for a copy of
  catalog/ and for the places of all messages (20 bytes each) in the directory for temporary
  files, which TMPDIR names, and memory as a broker that starts. Ended by a signal, it leaves
  ferrymqctl-* there, to be removed.";

const DUMP: &str = "Print the definitions and the messages that live, one JSON object a line.\n\n\
    Definitions come first, then each queue's messages, oldest first, of a queue with priorities \
    by level, the highest first. Password hashes are left out.";

const DUMP_MORE: &str = "Examples:
  ferrymqctl store dump /var/lib/ferrymq | grep '\"kind\":\"queue\"'
  ferrymqctl store dump /var/lib/ferrymq --vhost / --queue orders --limit 10 --bodies
  ferrymqctl store dump DIR --queue orders --bodies | jq -r 'select(.body) | .body | @base64d'

A message:
  {\"body_bytes\":5,\"exchange\":\"\",\"kind\":\"message\",\"properties\":{\"delivery_mode\":2},
   \"queue\":\"orders\",\"redelivered\":false,\"routing_key\":\"orders\",\"seq\":1099511627777,
   \"vhost\":\"/\"}, in one line

  Where there is something to say, it has \"level\" of a queue with priorities, \"failed\" and \"returned\":
  how often it came back, and \"due_ms\": it is not delivered before, in milliseconds since 1970. One
  that an exchange holds back names it as \"held_by\" and has no \"queue\".

  Values that JSON does not have are objects: {\"base64\":...} for bytes that are no text,
  {\"timestamp\":...} for seconds since 1970, {\"decimal\":...}, {\"float\":...}.

Exit codes:
  0  all of it was printed
  1  printed, but something that should be there can't be read: see `ferrymqctl store check`
  2  it could not look: wrong usage, no such directory or queue, in use, another version's files

Limits:
  The whole log is read before the first line. Memory as a broker that starts, however long the
  queues are; room for temporary files (TMPDIR) as `check` needs it.";

const REPAIR: &str = "Save all that can be read of a data directory into a new one.\n\n\
    Definitions, messages in their order with their numbers, and what may have been delivered. The \
    original is not touched. Messages whose queue's definition is lost go to a durable queue \
    recovered.<id> in the vhost /.";

const REPAIR_MORE: &str = "Examples:
  ferrymqctl store repair /var/lib/ferrymq --to /var/lib/ferrymq.new
  mv /var/lib/ferrymq /var/lib/ferrymq.damaged && mv /var/lib/ferrymq.new /var/lib/ferrymq

Exit codes:
  0  all was saved
  1  saved, but something could not be; it is named
  2  nothing was saved: wrong usage, no such directory, in use, another version's files, no room

Limits:
  The new directory needs room for all messages that live, and the directory for temporary files
  (TMPDIR) as `check` needs it. The files belong to the user that runs this: let it be the user
  that the broker runs as.";

pub(super) fn command() -> Command {
    let directory = Arg::new("DIR")
        .required(true)
        .value_parser(value_parser!(PathBuf))
        .help("The data directory, as store.data_dir names it");
    let text =
        |name: &'static str, value, help| Arg::new(name).long(name).value_name(value).help(help);
    let flag =
        |name: &'static str, help| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let limit = text("limit", "N", "Of each queue at most so many messages, the oldest");
    let limit = limit.value_parser(value_parser!(u64));
    let to = text("to", "NEW", "The new directory; it must not exist or be empty");
    let to = to.required(true).value_parser(value_parser!(PathBuf));
    let check = Command::new("check")
        .about(CHECK)
        .after_help(CHECK_MORE)
        .args([directory.clone(), flag("json", "Print one JSON object instead of text")]);
    let dump = Command::new("dump").about(DUMP).after_help(DUMP_MORE).args([
        directory.clone(),
        text("queue", "NAME", "Only queues of this name, and no other definitions"),
        text("vhost", "VHOST", "Only what is in this vhost"),
        limit,
        flag("bodies", "Print the bodies, too, as base64"),
    ]);
    let repair = Command::new("repair").about(REPAIR).after_help(REPAIR_MORE).args([directory, to]);
    Command::new("store")
        .about(ABOUT)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([check, dump, repair])
}

/// Why there is no answer.
enum Failure {
    Store(OpenError),
    Output(io::Error),
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

pub(super) fn run(matches: &ArgMatches) -> ExitCode {
    quiet_sled();
    let outcome = match matches.subcommand() {
        Some(("check", matches)) => check(matches),
        Some(("dump", matches)) => dump(matches),
        Some(("repair", matches)) => repair(matches),
        // clap lets nothing else through.
        _ => Ok(false),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        // Who reads has seen enough.
        Err(Failure::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failure::Output(error)) => {
            eprintln!("ferrymqctl: cannot print or read on: {error}");
            ExitCode::from(2)
        }
        Err(Failure::Store(error)) => {
            eprintln!("ferrymqctl: {error}");
            ExitCode::from(2)
        }
    }
}

/// sled panics on some damaged files. That is caught and reported as damage: its own words about it
/// help nobody.
fn quiet_sled() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let is_sled = panic.location().is_some_and(|place| place.file().contains("/sled-"));
        if !is_sled {
            default(panic);
        }
    }));
}

/// Reads a log with a bar that says how far that is.
fn watched<T>(read: impl FnOnce(&mut offline::Watch<'_>) -> T) -> T {
    let bar = progress::on_terminal(progress::BYTES, Some(0));
    let answer = read(&mut |done, whole| {
        bar.set_length(whole);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    answer
}

fn directory(matches: &ArgMatches) -> PathBuf {
    matches.get_one::<PathBuf>("DIR").cloned().unwrap_or_default()
}

fn check(matches: &ArgMatches) -> Result<bool, Failure> {
    let report = watched(|watch| offline::check(&directory(matches), watch))?;
    let mut out = io::stdout().lock();
    if matches.get_flag("json") {
        serde_json::to_writer_pretty(&mut out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        out.write_all(text_of(&report).as_bytes())?;
    }
    Ok(report.is_whole())
}

fn dump(matches: &ArgMatches) -> Result<bool, Failure> {
    // The vhost that other verbs take when none is said is not meant here.
    let is_said = |name: &&str| matches.value_source(name) == Some(ValueSource::CommandLine);
    let text = |name| matches.get_one::<String>(Some(name).filter(is_said)?).cloned();
    let limit = matches.get_one::<u64>("limit").copied();
    let filter = DumpFilter { vhost: text("vhost"), queue: text("queue"), limit };
    let with_body = matches.get_flag("bodies");
    let mut out = BufWriter::new(io::stdout().lock());
    let mut each = |dumped: Dumped<'_>| {
        let line = match dumped {
            Dumped::Definition(definition) => json::definition(definition),
            Dumped::Message(message) => json::message(&message, with_body),
        };
        serde_json::to_writer(&mut out, &line)?;
        out.write_all(b"\n")
    };
    let is_whole = watched(|watch| offline::dump(&directory(matches), &filter, watch, &mut each))??;
    out.flush()?;
    if !is_whole {
        eprintln!(
            "ferrymqctl: something that should be there can't be read: `ferrymqctl store check` \
             says what"
        );
    }
    Ok(is_whole)
}

fn repair(matches: &ArgMatches) -> Result<bool, Failure> {
    let directory = directory(matches);
    let to = matches.get_one::<PathBuf>("to").cloned().unwrap_or_default();
    let Repaired { report, definitions, messages, has_no_users } =
        watched(|watch| offline::repair(&directory, &to, watch))?;
    let mut text = text_of(&report);
    let _ = writeln!(
        text,
        "\nsaved to {}: definitions: {definitions}, messages: {messages}. {} is as it was",
        to.display(),
        directory.display()
    );
    if has_no_users {
        text.push_str(
            "no user was left to be saved: nobody can connect to a broker on the new directory, and \
             `ferrymqctl store dump` shows what is in it\n",
        );
    }
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(report.lost() == 0 && !report.may_have_lost_more())
}

fn text_of(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string doesn't fail.
    let _ = put_files(&mut text, report);
    let _ = put_queues(&mut text, report);
    let _ = put_sum(&mut text, report);
    text
}

fn put_files(text: &mut String, report: &Report) -> std::fmt::Result {
    for file in &report.files {
        write!(text, "{}: {} bytes", file.file, file.bytes)?;
        if !file.holds.is_empty() {
            write!(text, ", {}", file.holds)?;
        }
        text.push('\n');
        file.problems.iter().try_for_each(|problem| put_problem(text, problem))?;
        if file.problems_not_listed > 0 {
            writeln!(text, "  ! problems that are not listed: {}", file.problems_not_listed)?;
        }
        for lost in &file.lost {
            writeln!(text, "  ! messages lost: {}, of {}", lost.messages, named(&lost.queue))?;
        }
    }
    Ok(())
}

fn put_problem(text: &mut String, problem: &Problem) -> std::fmt::Result {
    text.push_str("  ! ");
    if let Some(offset) = problem.offset {
        write!(text, "at {offset}")?;
        if let Some(bytes) = problem.bytes {
            write!(text, ", {bytes} bytes")?;
        }
        text.push_str(": ");
    }
    write!(text, "{}", problem.text)?;
    if !problem.queues.is_empty() {
        let names: Vec<String> = problem.queues.iter().map(named).collect();
        write!(text, " [{}]", names.join("; "))?;
    }
    text.push('\n');
    Ok(())
}

fn put_queues(text: &mut String, report: &Report) -> std::fmt::Result {
    if report.queues.is_empty() {
        return writeln!(text, "\nno messages in durable queues");
    }
    writeln!(text, "\n{:>12} {:>16} {:>8}  queue", "messages", "bytes", "lost")?;
    for queue in &report.queues {
        let (messages, bytes, lost) = (queue.messages, queue.bytes, queue.lost);
        writeln!(text, "{messages:>12} {bytes:>16} {lost:>8}  {}", named(&queue.queue))?;
    }
    Ok(())
}

fn put_sum(text: &mut String, report: &Report) -> std::fmt::Result {
    let directory = report.directory.display();
    if report.is_whole() {
        return writeln!(text, "\n{directory} is whole");
    }
    let (problems, lost) = (report.problems(), report.lost());
    write!(text, "\n{directory}: problems: {problems}, messages known to be lost: {lost}")?;
    if report.may_have_lost_more() {
        write!(text, "; there may be more")?;
    }
    text.push('\n');
    Ok(())
}

/// A queue or an exchange, so that its name can hold anything and the line stays one.
fn named(queue: &QueueName) -> String {
    let kind = if queue.is_exchange { "exchange " } else { "" };
    format!("{kind}{:?} in the vhost {:?}", queue.name, queue.vhost)
}
