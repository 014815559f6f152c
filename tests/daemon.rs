//! The daemon as an operator meets it: flags, errors, readiness, stopping.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const BINARY: &str = env!("CARGO_BIN_EXE_ferrymq");

/// Longer than any of these takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

fn run(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).output().expect("the binary can be run")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A daemon on free ports, ended with its value.
struct Daemon {
    process: Child,
    log: BufReader<std::process::ChildStderr>,
    ready_line: String,
}

impl Daemon {
    fn start(data_dir: &Path) -> Self {
        let mut process = Command::new(BINARY)
            .arg("--data-dir")
            .arg(data_dir)
            .args(["--amqp-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary can be run");
        let mut log = BufReader::new(process.stderr.take().expect("piped"));
        let mut ready_line = String::new();
        log.read_line(&mut ready_line).expect("the daemon says that it is ready");
        Self { process, log, ready_line }
    }

    fn address(&self, name: &str) -> String {
        let (_, rest) = self.ready_line.split_once(&format!("{name}=")).expect("named");
        rest.trim_start_matches('[').split([' ', ']']).next().expect("an address").to_owned()
    }

    fn health(&self) -> String {
        let mut socket = TcpStream::connect(self.address("http")).expect("it listens");
        let request = "GET /api/health/checks/ready-to-serve-clients HTTP/1.1\r\nHost: x\r\n\
                       Connection: close\r\n\r\n";
        socket.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("it answers");
        answer
    }

    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().expect("kill is there").success());
    }

    fn wait(&mut self) -> Option<i32> {
        let begin = Instant::now();
        while begin.elapsed() < DEADLINE {
            if let Some(status) = self.process.try_wait().expect("it can be waited for") {
                return status.code();
            }
            std::thread::yield_now();
        }
        panic!("the daemon did not end");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn help_names_every_flag_with_its_default() {
    let output = run(&["--help"]);
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    for word in ["--config", "./ferrymq-data", "0.0.0.0:5672", "0.0.0.0:15672", "FERRYMQ_LOG_LEVEL"]
    {
        assert!(help.contains(word), "{word} is missing in:\n{help}");
    }
    assert!(output.status.success());
    let version = run(&["--version"]);
    assert_eq!(version.stdout, format!("ferrymq {}\n", env!("CARGO_PKG_VERSION")).into_bytes());
}

#[test]
fn printed_settings_are_those_of_file_and_flags() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("ferrymq.toml");
    std::fs::write(&file, "[amqp]\nheartbeat_seconds = 17\n[log]\nlevel = \"debug\"\n")
        .expect("written");
    let output =
        run(&["--config", file.to_str().expect("UTF-8"), "--log-level", "warn", "--print-config"]);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(printed.contains("heartbeat_seconds = 17"), "{printed}");
    assert!(printed.contains("level = \"warn\""), "{printed}");
}

#[test]
fn an_unknown_key_is_refused_with_a_suggestion() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("ferrymq.toml");
    std::fs::write(&file, "[stoer]\n").expect("written");
    let output = run(&["--config", file.to_str().expect("UTF-8")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("unknown key stoer; did you mean store?"));
}

#[test]
fn a_port_in_use_is_named_with_a_remedy() {
    let directory = tempfile::tempdir().expect("a directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let data_dir = directory.path().to_str().expect("UTF-8");
    let output = run(&["--data-dir", data_dir, "--amqp-listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    assert!(error.contains(&address) && error.contains("choose another port"), "{error}");
}

#[test]
fn a_data_directory_that_cannot_be_is_named_with_a_remedy() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    std::fs::write(&file, "").expect("written");
    let below = file.join("data");
    let ports = ["--amqp-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
    let output = run(&[&["--data-dir", below.to_str().expect("UTF-8")], &ports[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    assert!(error.contains("cannot create the data directory"), "{error}");
    assert!(error.contains("--data-dir"), "{error}");
}

#[test]
fn a_daemon_is_ready_healthy_alone_and_stops_when_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut daemon = Daemon::start(directory.path());
    assert!(daemon.ready_line.contains("is ready"), "{}", daemon.ready_line);
    assert!(daemon.health().starts_with("HTTP/1.1 200 OK"), "{}", daemon.health());

    let ports = ["--amqp-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
    let data_dir = directory.path().to_str().expect("UTF-8");
    let second = run(&[&["--data-dir", data_dir], &ports[..]].concat());
    assert_eq!(second.status.code(), Some(1));
    assert!(stderr(&second).contains("is in use by another ferrymq process"));

    let begin = Instant::now();
    daemon.signal("-TERM");
    assert_eq!(daemon.wait(), Some(0));
    assert!(begin.elapsed() < DEADLINE);
    let mut rest = String::new();
    daemon.log.read_to_string(&mut rest).expect("the log ends");
    assert!(rest.contains("stopped"), "{rest}");
    // What was locked is free again.
    let mut again = Daemon::start(directory.path());
    again.signal("-INT");
    assert_eq!(again.wait(), Some(0));
}
