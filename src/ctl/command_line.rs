//! The words that all verbs share: where the broker is, who asks, how it is printed; the help and
//! the completions.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use clap_complete::Shell;

use super::action::at;
use super::asked::{VHOST, read_secret};
use super::failure::Failure;
use super::file;
use super::output::{Formatter, Output};
use super::session::{Login, Place, Session, login_in};
use super::verb::{Action, Verb};
use super::{store, verbs};

const ABOUT: &str = "ferrymqctl manages a FerryMQ broker.\n\n\
    Verbs and exit codes are rabbitmqctl's. They speak to the management API of a running broker; \
    `store` looks at the data of a stopped one.";

const PROGRAM: &str = "ferrymqctl";
const OF_ALL: &str = "Options of all verbs";
const USUAL_USER: &str = "guest";
const USUAL_URL: &str = "http://127.0.0.1:15672";

/// Where the verbs are listed by subject, in place of clap's one long list.
const TEMPLATE: &str = "{about}\n\n{usage-heading} {usage}\n{after-help}\n\n{options}";

pub(super) fn command() -> Command {
    with_verbs(verbs::all())
}

fn with_verbs(verbs: impl Iterator<Item = &'static Verb>) -> Command {
    let mut command = Command::new(PROGRAM)
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .override_usage("ferrymqctl [OPTIONS] VERB [WORDS]\n       ferrymqctl VERB --help")
        .help_template(TEMPLATE)
        .disable_help_flag(true)
        .after_help(verbs_by_subject())
        .args(shared())
        .subcommand(store::command())
        .subcommand(Command::new("version").about("Print the version of ferrymqctl"))
        .subcommand(completions_command());
    for verb in verbs {
        command = command.subcommand(verb.command());
    }
    command
}

fn verbs_by_subject() -> String {
    let mut text = String::new();
    let mut put = |title: &str, verbs: &mut dyn Iterator<Item = (&str, &str)>| {
        text.push_str(&format!("\n{title}:\n"));
        for (name, about) in verbs {
            let first = about.lines().next().unwrap_or_default();
            text.push_str(&format!("  {name:32} {first}\n"));
        }
    };
    for subject in verbs::SUBJECTS.iter().filter(|subject| !subject.title.is_empty()) {
        put(subject.title, &mut subject.verbs.iter().map(|verb| (verb.name, verb.about)));
    }
    let more = [
        ("store", "Check, dump or repair the data directory of a stopped broker"),
        ("version", "Print the version of ferrymqctl; server_version asks the broker"),
        ("completions", "Print a shell's completions of these verbs"),
        ("help", "Say more of a verb"),
    ];
    put("Other", &mut more.into_iter());
    text.trim_end().to_owned()
}

/// The options that stand before or behind any verb.
fn shared() -> Vec<Arg> {
    let option = |name: &'static str, value, help| {
        Arg::new(name).long(name).value_name(value).help(help).global(true).help_heading(OF_ALL)
    };
    let flag = |name: &'static str, help| {
        Arg::new(name)
            .long(name)
            .action(ArgAction::SetTrue)
            .help(help)
            .global(true)
            .help_heading(OF_ALL)
    };
    vec![
        option(VHOST, "VHOST", "The vhost [default: /]")
            .short('p')
            .default_value("/")
            .hide_default_value(true),
        option("url", "URL", "Where the management API is")
            .short('U')
            .env("FERRYMQ_URL")
            .hide_env_values(true)
            .default_value(USUAL_URL),
        option("username", "USER", "Who asks [default: guest]")
            .short('u')
            .env("FERRYMQ_USER")
            .hide_env_values(true),
        option("password", "PASSWORD", "The user's password; without one it is asked for")
            .env("FERRYMQ_PASSWORD")
            .hide_env_values(true)
            .conflicts_with("password-file"),
        option("password-file", "FILE", "A file whose first line is the password")
            .value_hint(ValueHint::FilePath),
        option(
            "ca-file",
            "FILE",
            "Certificates (PEM) to trust instead of the usual ones, for https",
        )
        .visible_alias("cacert")
        .value_hint(ValueHint::FilePath),
        option("node", "NODE", "Refuse if the broker is not the node of this name").short('n'),
        option("timeout", "SECONDS", "Longest time for an answer [default: no limit]")
            .short('t')
            .value_parser(value_parser!(u64)),
        option(
            "formatter",
            "FORMATTER",
            "How lists are printed [default: pretty_table on a terminal, table elsewhere]",
        )
        .value_parser(value_parser!(Formatter)),
        flag("quiet", "Print no sentences but the answer").short('q'),
        flag("silent", "Print no sentences and no column names").short('s'),
        flag("no-table-headers", "Print no column names"),
        // Names of nodes are compared as they are, long or short.
        flag("longnames", "Nothing: for rabbitmqctl's sake").short('l').hide(true),
        flag("help", "Say more of a verb").short('h').short_alias('?').action(ArgAction::Help),
    ]
}

pub(super) fn output(matches: &ArgMatches) -> Output {
    Output {
        formatter: matches.get_one::<Formatter>("formatter").copied(),
        is_quiet: matches.get_flag("quiet"),
        is_silent: matches.get_flag("silent"),
        has_headers: !matches.get_flag("no-table-headers"),
    }
}

fn text<'a>(matches: &'a ArgMatches, name: &str) -> Option<&'a str> {
    matches.get_one::<String>(name).map(String::as_str)
}

pub(super) fn place(matches: &ArgMatches) -> Result<Place, Failure> {
    let seconds = matches.get_one::<u64>("timeout").copied();
    Ok(Place {
        url: text(matches, "url").unwrap_or(USUAL_URL).to_owned(),
        // Rule (rabbitmqctl): 0 is no limit.
        timeout: seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs),
        authorities: text(matches, "ca-file").map(file::content).transpose()?,
    })
}

/// Who asks. The password is asked for where a person can be; `guest` has a usual one.
pub(super) fn login(matches: &ArgMatches) -> Result<Login, Failure> {
    let in_url = text(matches, "url").and_then(login_in);
    let (url_user, url_password) =
        in_url.map_or((None, None), |(user, password)| (Some(user), password));
    let named = text(matches, "username").map(str::to_owned);
    // A password in the address is that of the user in the address.
    let url_password = url_password.filter(|_| named.is_none() || named == url_user);
    let user = named.or(url_user).unwrap_or_else(|| USUAL_USER.to_owned());
    let password = match (text(matches, "password-file"), text(matches, "password"), url_password) {
        (Some(file), _, _) => file::secret(file)?,
        (None, Some(password), _) => password.to_owned(),
        (None, None, Some(password)) => password,
        (None, None, None) if user == USUAL_USER => USUAL_USER.to_owned(),
        (None, None, None) if io::stdin().is_terminal() => {
            read_secret(&format!("Password of {user}: "))?
        }
        (None, None, None) => {
            return Err(Failure::usage(format!(
                "the password of {user} is needed: --password-file, --password or FERRYMQ_PASSWORD"
            )));
        }
    };
    Ok(Login { user, password })
}

/// Refuses to go on if the broker is another node than `--node` says. The part behind the `@` may
/// be left out.
pub(super) fn check_node(matches: &ArgMatches, session: &Session) -> Result<(), Failure> {
    let Some(wanted) = text(matches, "node") else { return Ok(()) };
    let overview = session.get("/api/overview?columns=node")?;
    let node = at(&overview, "node").as_str().unwrap_or_default();
    let is_wanted = node == wanted || node.split('@').next() == Some(wanted);
    is_wanted.then_some(()).ok_or_else(|| {
        let base = session.base();
        Failure::unavailable(format!("the broker at {base} is the node {node}, not {wanted}"))
    })
}

/// Prints what clap has to say. Wrong usage is 64, and 2 for `store`, whose codes are its own.
pub(super) fn tell(told: &clap::Error, arguments: &[OsString]) -> ExitCode {
    // Who reads it may be gone.
    let _ = told.print();
    let is_store = arguments.iter().any(|word| word == "store");
    match (told.use_stderr(), is_store) {
        (false, _) => ExitCode::SUCCESS,
        (true, true) => ExitCode::from(2),
        (true, false) => ExitCode::from(64),
    }
}

/// What is there, for who types no verb.
pub(super) fn help() -> ExitCode {
    eprintln!("{}", command().render_help());
    ExitCode::from(64)
}

pub(super) fn version() -> ExitCode {
    println!("{}", env!("CARGO_PKG_VERSION"));
    ExitCode::SUCCESS
}

fn completions_command() -> Command {
    let shell = Arg::new("SHELL").required(true).value_parser(value_parser!(Shell));
    Command::new("completions")
        .about("Print a shell's completions of these verbs")
        .after_help("Example:\n  ferrymqctl completions bash > /etc/bash_completion.d/ferrymqctl")
        .arg(shell)
}

pub(super) fn completions(matches: &ArgMatches) -> ExitCode {
    let Some(shell) = matches.get_one::<Shell>("SHELL") else { return ExitCode::from(64) };
    let mut script = Vec::new();
    let here = verbs::all().filter(|verb| !matches!(verb.action, Action::NotHere));
    clap_complete::generate(*shell, &mut with_verbs(here), PROGRAM, &mut script);
    match io::stdout().lock().write_all(&script) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => ExitCode::from(74),
        _ => ExitCode::SUCCESS,
    }
}
