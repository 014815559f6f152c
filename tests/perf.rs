//! The load generator against a broker in this process: every kind of load runs, counts right, and
//! fails when something is wrong.

use std::process::{Command, Output};

use serde_json::Value;

#[path = "support/broker.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod test_broker;

use test_broker::TestBroker;

struct Broker {
    uri: String,
    _broker: TestBroker,
}

impl Broker {
    fn start() -> Self {
        let broker = TestBroker::start();
        let uri = format!("amqp://guest:guest@{}/%2f", broker.amqp_address());
        Self { uri, _broker: broker }
    }

    fn perf(&self, arguments: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ferrymq-perf"));
        command.args(arguments.split(' ')).args(["--json", "--uri", &self.uri]);
        command.output().expect("the program runs")
    }

    /// What a load says that has to go well, by phase.
    fn measured(&self, arguments: &str) -> Vec<Value> {
        phases(self.perf(arguments), arguments)
    }
}

fn phases(output: Output, arguments: &str) -> Vec<Value> {
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments}: {complaints}");
    said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn count(phase: &Value, name: &str) -> u64 {
    phase[name].as_u64().unwrap_or_else(|| panic!("{name} in {phase}"))
}

#[test]
fn each_load_counts_what_it_published_and_consumed() {
    let broker = Broker::start();
    let loads = [
        ("load --seconds 0.2 --size 16", 1),
        ("load --seconds 0.2 --persistent --window 100 --prefetch 100 --ack-every 10", 1),
        ("load --seconds 0.2 --window 1 --size 12", 1),
        ("load --seconds 0.2 --size 300000 --persistent --window 5 --prefetch 3 --ack-every 2", 1),
        ("load --seconds 0.2 --producers 3 --consumers 2 --queues 4 --window 50", 1),
        ("load --seconds 0.2 --queues 7 --queues-per-consumer 3 --consumers 2 --ack-every 5", 1),
        ("load --seconds 0.2 --idle-queues 1001 --idle-connections 20", 1),
        ("load --seconds 0.2 --routing fanout --queues 3 --window 50", 3),
        ("load --seconds 0.2 --routing topic --bindings 50 --window 50", 1),
        ("load --seconds 0.2 --routing headers --bindings 50 --window 50", 1),
        ("load --seconds 0.2 --rate 1000 --window 50", 1),
        ("load --seconds 0.2 --size 24 --checksum", 1),
        ("load --seconds 0.2 --size 300000 --checksum --window 5", 1),
        ("load --seconds 0.2 --argument x-max-priority=3 --argument x-queue-mode=lazy", 1),
        ("run b --seconds 0.2", 1),
    ];
    for (arguments, copies) in loads {
        let [phase] = &broker.measured(arguments)[..] else { panic!("{arguments}: one phase") };
        let (published, consumed) = (count(phase, "published"), count(phase, "consumed"));
        assert!(published > 0, "{arguments}");
        assert_eq!(consumed, copies * published, "{arguments}");
    }
}

#[test]
fn a_backlog_is_filled_and_then_drained() {
    let broker = Broker::start();
    let flags = "load --backlog 5000 --persistent --window 500 --prefetch 100 --ack-every 50";
    let [fill, drain] = &broker.measured(flags)[..] else { panic!("two phases") };
    assert_eq!((count(fill, "published"), count(fill, "consumed")), (5000, 0));
    assert_eq!((count(drain, "published"), count(drain, "consumed")), (0, 5000));
}

#[test]
fn a_broker_that_it_starts_is_stopped_and_started_again_with_its_backlog() {
    let directory = tempfile::tempdir().expect("a directory");
    let address = free_address();
    let start = format!(
        "{} --amqp-listen {address} --http-listen 127.0.0.1:0 --metrics-listen none --data-dir {} --log-level error",
        env!("CARGO_BIN_EXE_ferrymq"),
        directory.path().display()
    );
    let uri = format!("amqp://{address}");
    let data_dir = directory.path().to_str().expect("text");
    let flags = "load --backlog 5000 --persistent --window 500 --ack-every 50 --restart --json";
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferrymq-perf"));
    command.args(flags.split(' ')).args(["--uri", &uri, "--start", &start, "--data-dir", data_dir]);
    let [restart, fill, drain] = &phases(command.output().expect("it runs"), flags)[..] else {
        panic!("three lines")
    };
    assert!(restart["start_ms"].as_f64().expect("a time") > 0.0);
    assert_eq!((count(fill, "published"), count(drain, "consumed")), (5000, 5000));
    assert!(fill["resident_mib"].as_f64().expect("memory") > 0.0);
    assert!(fill["disk_mib"].as_f64().expect("disk") > 0.0);
    let found = std::net::TcpStream::connect(address);
    assert!(found.is_err(), "the broker is stopped at the end");
}

fn free_address() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

#[test]
fn what_cannot_be_run_is_refused_in_words() {
    let broker = Broker::start();
    let cases = [
        ("run z", "there is no scenario 'z'"),
        ("load --size 3", "--size 3 is too small"),
        ("load --routing topic", "--bindings"),
        ("load --size 20 --checksum", "--size 20 is too small"),
        ("load --argument x-max-length=yes", "x-max-length"),
        ("load --queues-per-consumer 0", "there has to be"),
        ("load --backlog 10 --queues-per-consumer 2", "a connection for each"),
        ("run j", "--pid"),
        ("load --backlog 10 --persistent --restart", "needs --start"),
        ("load --restart", "--restart needs"),
        ("run m", "--start"),
        ("run m --start true", "a broker is there already"),
    ];
    for (arguments, words) in cases {
        let output = broker.perf(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments}: {said}");
        assert!(said.contains(words), "{words:?} is not in {said:?}");
    }
}
