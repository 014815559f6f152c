//! The command line of `ferrymq-perf`.

use clap::{Args, Parser, Subcommand};
use serde_json::json;

use super::Failure;
use super::link::Target;
use super::load::Load;
use super::plan::{Plan, Routing};
use super::{connections, process};

const SCENARIOS: &str = "\
Scenarios of `run`:
  a  16 B transient, one producer, queue and consumer, no confirms, automatic acks
  b  1 KiB persistent, confirms in a window of 1000, prefetch 1000, acks for 100 at a time
  c  as b, each publish waits for its confirm
  d  64 KiB persistent, window 100, prefetch 100, acks for 10
  e  128 B through a fanout exchange to 10 queues, window 1000
  f  64 B through a topic exchange with 10,000 bindings, window 1000
  g  64 B through a headers exchange with 1,000 bindings, window 1000
  h  1,000,000 persistent messages of 100 B: filled, then drained
  i  connections that are opened and closed, from 1 thread and from 8
  j  5,000 idle connections (needs --pid)
  l  5,000 messages a second of b, with honest latencies

Exit codes: 0 every message was right, 1 one was not or the broker is not to be reached, 2 usage.";

/// ferrymq-perf measures AMQP 0-9-1 brokers, and checks every message: none missing, none twice,
/// those of a producer in order.
#[derive(Debug, Parser)]
#[command(name = "ferrymq-perf", version, after_help = SCENARIOS)]
pub struct Flags {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a scenario by its letter, or all of them
    Run {
        /// A letter, or `all`
        scenario: String,
        #[command(flatten)]
        common: Common,
        /// How long, in seconds, where the scenario has no other end
        #[arg(long)]
        seconds: Option<f64>,
    },
    /// Runs a load of your own making
    Load {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        load: LoadFlags,
    },
}

#[derive(Debug, Args)]
struct Common {
    /// The broker
    #[arg(long, default_value = "amqp://guest:guest@127.0.0.1:5672/%2f")]
    uri: String,
    /// The broker's process, if it runs here: adds its CPU time and memory
    #[arg(long)]
    pid: Option<u32>,
    /// One JSON object a line instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct LoadFlags {
    #[arg(long, default_value_t = 1)]
    producers: usize,
    /// Of each queue
    #[arg(long, default_value_t = 1)]
    consumers: usize,
    #[arg(long, default_value_t = 1)]
    queues: usize,
    /// Bytes of a body
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// Persistent messages in durable queues
    #[arg(long)]
    persistent: bool,
    /// Publishes of a producer that may wait for their confirm; without it no confirms
    #[arg(long)]
    window: Option<u64>,
    /// Unacked messages of a consumer; 0 is no limit
    #[arg(long, default_value_t = 0)]
    prefetch: u16,
    /// Messages that are acked at a time; 0 is automatic
    #[arg(long, default_value_t = 0)]
    ack_every: u64,
    #[arg(long, value_enum, default_value_t = Routing::Default)]
    routing: Routing,
    /// Of a topic or headers exchange
    #[arg(long, default_value_t = 0)]
    bindings: usize,
    /// Messages a second of all producers together
    #[arg(long)]
    rate: Option<f64>,
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Publishes so many, then consumes them, instead of both for a time
    #[arg(long)]
    backlog: Option<u64>,
}

impl LoadFlags {
    fn plan(&self) -> Plan {
        Plan {
            producers: self.producers,
            consumers_per_queue: self.consumers,
            queues: self.queues,
            size: self.size,
            persistent: self.persistent,
            window: self.window,
            prefetch: self.prefetch,
            ack_every: self.ack_every,
            routing: self.routing,
            bindings: self.bindings,
            rate: self.rate,
            seconds: self.seconds,
            backlog: self.backlog,
        }
    }
}

impl Flags {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match &self.command {
            Command::Load { common, load } => run_plan("load", &load.plan(), common),
            Command::Run { scenario, common, seconds } => match scenario.as_str() {
                "all" => {
                    let letters = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "l"];
                    letters.iter().try_for_each(|letter| run_named(letter, *seconds, common))
                }
                letter => run_named(letter, *seconds, common),
            },
        }
    }
}

fn run_named(letter: &str, seconds: Option<f64>, common: &Common) -> Result<(), Failure> {
    let target = Target::parse(&common.uri)?;
    match letter {
        "i" => {
            for threads in [1, 8] {
                let rate = connections::churn(&target, threads, seconds.unwrap_or(4.0))?;
                let found =
                    json!({ "scenario": "i", "threads": threads, "connections_per_second": rate });
                print(
                    common,
                    &found,
                    &format!("i        {rate:>10.0} connections/s from {threads} threads"),
                );
            }
            Ok(())
        }
        "j" => {
            let pid = common.pid.ok_or("scenario j needs --pid")?;
            process::resident_mib(pid)?;
            let kib = connections::idle(&target, 5000, pid)?;
            let found = json!({ "scenario": "j", "kib_per_connection": kib });
            print(
                common,
                &found,
                &format!("j        {kib:>10.1} KiB for each of 5,000 idle connections"),
            );
            Ok(())
        }
        _ => {
            let plan = Plan::named(letter).ok_or_else(|| {
                format!("there is no scenario '{letter}'; --help lists those that there are")
            })?;
            let seconds = seconds.unwrap_or(plan.seconds);
            run_plan(letter, &Plan { seconds, ..plan }, common)
        }
    }
}

fn print(common: &Common, found: &serde_json::Value, line: &str) {
    if common.json { println!("{found}") } else { println!("{line}") }
}

fn run_plan(name: &str, plan: &Plan, common: &Common) -> Result<(), Failure> {
    if let Some(problem) = plan.problem() {
        return Err(problem.into());
    }
    let target = Target::parse(&common.uri)?;
    let load = Load::begin(&target, plan, common.pid)?;
    let ran = load.run();
    // Also after a failure; that one is told rather than what follows from it.
    let ended = load.end();
    let phases = ran?;
    ended?;
    for phase in &phases {
        match common.json {
            true => println!("{}", phase.json(name)),
            false => phase.print(name),
        }
    }
    match phases.iter().find(|phase| !phase.wrong.is_nothing()) {
        Some(phase) => Err(format!("scenario {name}: {}", phase.wrong_in_words()).into()),
        None => Ok(()),
    }
}
