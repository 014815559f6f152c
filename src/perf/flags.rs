//! The command line of `ferrymq-perf`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::Failure;
use super::link::Target;
use super::plan::{Plan, Routing};
use super::scenarios::Runner;
use crate::protocol::table::{FieldTable, FieldValue};
use crate::protocol::wire::ShortStr;

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
  j  5,000 idle connections (needs --pid or --start)
  k  as h, with a restart of the broker between the two (needs --start)
  l  5,000 messages a second of b, with honest latencies
  m  start-up and idle memory (needs --start)

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
pub(super) struct Common {
    /// The broker
    #[arg(long, default_value = "amqp://guest:guest@127.0.0.1:5672/%2f")]
    uri: String,
    /// The broker's process, if it runs here: adds its CPU time and memory, and those of the
    /// processes that it has started
    #[arg(long, conflicts_with = "start")]
    pub(super) pid: Option<u32>,
    /// Starts the broker by this line for the shell, stops it at the end, and counts its CPU time
    /// and memory
    #[arg(long)]
    pub(super) start: Option<String>,
    /// The broker's data directory, if it is here: adds what it takes of the disk
    #[arg(long)]
    pub(super) data_dir: Option<PathBuf>,
    /// Bodies carry a checksum, and the consumers check it
    #[arg(long)]
    checksum: bool,
    /// An argument of the queues, as NAME=VALUE, as often as needed: numbers, true and false are
    /// sent as such, the rest as text
    #[arg(long = "argument", value_parser = parse_argument)]
    arguments: Vec<(ShortStr, FieldValue)>,
    /// One JSON object a line instead of a table
    #[arg(long)]
    pub(super) json: bool,
}

fn parse_argument(text: &str) -> Result<(ShortStr, FieldValue), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    let name = ShortStr::try_from(name).map_err(|_| "a name has at most 255 bytes")?;
    let value = match (value.parse::<i64>(), value.parse::<bool>()) {
        (Ok(number), _) => FieldValue::I64(number),
        (_, Ok(truth)) => FieldValue::Bool(truth),
        _ => FieldValue::LongStr(bytes::Bytes::copy_from_slice(value.as_bytes())),
    };
    Ok((name, value))
}

/// Most values of a header: each has a message that is encoded beforehand.
const HEADER_VALUES_MAX: u32 = 65_536;

fn parse_header(text: &str) -> Result<(ShortStr, u32), String> {
    let (name, count) = text.split_once('=').ok_or("write it as NAME=COUNT")?;
    let name = ShortStr::try_from(name).map_err(|_| "a name has at most 255 bytes")?;
    match count.parse() {
        Ok(count @ 1..=HEADER_VALUES_MAX) => Ok((name, count)),
        _ => Err(format!("a count is a number from 1 to {HEADER_VALUES_MAX}")),
    }
}

impl Common {
    /// The plan with what is common to all loads.
    fn applied_to(&self, plan: Plan) -> Plan {
        let arguments = FieldTable::from_iter(self.arguments.iter().cloned());
        Plan { checksum: self.checksum, arguments, ..plan }
    }
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
    /// Queues that a consumer's connection consumes from
    #[arg(long, default_value_t = 1)]
    queues_per_consumer: usize,
    /// Durable queues that stay empty, beside those of the load
    #[arg(long, default_value_t = 0)]
    idle_queues: usize,
    /// Connections with a channel that say nothing, beside those of the load
    #[arg(long, default_value_t = 0)]
    idle_connections: usize,
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
    /// Of each message
    #[arg(long)]
    priority: Option<u8>,
    /// Milliseconds until a message dies
    #[arg(long)]
    expiration: Option<u64>,
    /// A header with so many values in turn, as NAME=COUNT
    #[arg(long, value_parser = parse_header)]
    header: Option<(ShortStr, u32)>,
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
    /// Starts the broker again between the two (needs --start)
    #[arg(long)]
    restart: bool,
}

impl LoadFlags {
    fn plan(&self) -> Plan {
        Plan {
            producers: self.producers,
            consumers_per_queue: self.consumers,
            queues: self.queues,
            queues_per_consumer: self.queues_per_consumer,
            idle_queues: self.idle_queues,
            idle_connections: self.idle_connections,
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
            restart: self.restart,
            priority: self.priority,
            expiration_ms: self.expiration,
            header: self.header.clone(),
            ..Plan::default()
        }
    }
}

/// All scenarios that need nothing but a broker.
const LETTERS: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "l"];

/// Those that need its process, or to start it.
const LETTERS_WITH_PROCESS: [&str; 1] = ["j"];
const LETTERS_WITH_START: [&str; 2] = ["k", "m"];

impl Flags {
    pub(super) fn run(&self) -> Result<(), Failure> {
        match &self.command {
            Command::Load { common, load } => Runner::begin(common, &Target::parse(&common.uri)?)?
                .run_plan("load", &common.applied_to(load.plan())),
            Command::Run { scenario, common, seconds } => {
                let mut letters = vec![scenario.as_str()];
                if scenario == "all" {
                    letters = LETTERS.to_vec();
                    if common.pid.is_some() || common.start.is_some() {
                        letters.extend(LETTERS_WITH_PROCESS);
                    }
                    if common.start.is_some() {
                        letters.extend(LETTERS_WITH_START);
                    }
                }
                let target = Target::parse(&common.uri)?;
                letters.iter().try_for_each(|letter| {
                    let plan = Plan::named(letter).map(|plan| {
                        let seconds = seconds.unwrap_or(plan.seconds);
                        common.applied_to(Plan { seconds, ..plan })
                    });
                    Runner::begin(common, &target)?.run_named(letter, plan.as_ref(), *seconds)
                })
            }
        }
    }
}
