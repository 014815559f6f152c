//! The daemon as an operator meets it: the built program, its flags, its errors, its signals.
//!
//! Each test starts what it needs on free ports and in a directory of its own, and leaves nothing.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// For everything that has to happen at last.
const WAIT: Duration = Duration::from_secs(20);

const READY: &str = "/api/health/checks/ready-to-serve-clients";

fn ferrymq() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferrymq"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// Runs the program to its end.
fn run(arguments: &[&str]) -> Output {
    ferrymq().args(arguments).output().expect("the program runs")
}

/// Runs the program to its end, which has to be exit code 1, and returns what it says.
fn refused(arguments: &[&str]) -> String {
    let output = run(arguments);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

/// The flags for a daemon that is in nobody's way.
fn quiet_flags(directory: &Path) -> Vec<String> {
    let data_dir = directory.join("data").display().to_string();
    let flags = ["--amqp-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
    let logs = ["--log-format", "json", "--data-dir", &data_dir, "--metrics-listen", "none"];
    flags.into_iter().chain(logs).map(str::to_owned).collect()
}

/// A daemon that says it is ready. Dropped, it is killed.
struct Daemon {
    child: Child,
    directory: Rc<TempDir>,
    /// Lines of its log, in JSON.
    log: Receiver<String>,
    amqp: String,
    http: String,
}

impl Daemon {
    fn start() -> Self {
        Self::spawn(ferrymq(), Rc::new(tempfile::tempdir().expect("a directory")))
    }

    fn spawn(mut command: Command, directory: Rc<TempDir>) -> Self {
        command.args(quiet_flags(directory.path())).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program runs");
        let stderr = child.stderr.take().expect("piped");
        let (lines, log) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // The test may have ended already.
                let _ = lines.send(line);
            }
        });
        let mut daemon = Self { child, directory, log, amqp: String::new(), http: String::new() };
        let ready = daemon.wait_for_line("is ready");
        let field = |name: &str| ready["fields"][name].as_str().expect("told").to_owned();
        assert!(ready["fields"]["milliseconds"].is_number(), "{ready}");
        (daemon.amqp, daemon.http) = (field("amqp"), field("http"));
        daemon
    }

    fn wait_for_line(&self, part: &str) -> Value {
        let deadline = Instant::now() + WAIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.log.recv_timeout(left);
            let line = line.unwrap_or_else(|error| panic!("no line with {part:?}: {error}"));
            if line.contains(part) {
                return serde_json::from_str(&line).expect("a line of JSON");
            }
        }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).stderr(Stdio::null()).status();
        sent.expect("kill runs");
    }

    /// Its log ends when it does.
    fn wait_for_end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + WAIT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.log.recv_timeout(left) {
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => panic!("it does not end"),
                Err(RecvTimeoutError::Disconnected) => {
                    return self.child.wait().expect("our child");
                }
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The answer to a GET, head and body.
fn get(address: &str, path: &str) -> String {
    let mut socket = connect(address);
    write!(socket, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("answered in time");
    answer
}

fn connect(address: &str) -> TcpStream {
    let socket = TcpStream::connect(address).expect("connected");
    socket.set_read_timeout(Some(WAIT)).expect("set");
    socket
}

/// An AMQP connection that is open, spoken byte by byte.
struct Client(TcpStream);

impl Client {
    fn open(address: &str) -> Self {
        let mut client = Self(connect(address));
        client.0.write_all(b"AMQP\x00\x00\x09\x01").expect("sent");
        client.expect([10, 10]);
        let login = b"\x00\x00\x00\x00\x05PLAIN\x00\x00\x00\x0c\x00guest\x00guest\x05en_US";
        client.send([10, 11], login);
        client.expect([10, 30]);
        client.send([10, 31], b"\x07\xff\x00\x02\x00\x00\x00\x00");
        client.send([10, 40], b"\x01/\x00\x00");
        client.expect([10, 41]);
        client
    }

    fn send(&mut self, [class, method]: [u8; 2], arguments: &[u8]) {
        let size = u32::try_from(arguments.len() + 4).expect("short");
        let mut frame = vec![1, 0, 0];
        frame.extend(size.to_be_bytes());
        frame.extend([0, class, 0, method]);
        frame.extend(arguments);
        frame.push(0xce);
        self.0.write_all(&frame).expect("sent");
    }

    /// The arguments of the next frame, which has to be this method.
    fn expect(&mut self, [class, method]: [u8; 2]) -> Vec<u8> {
        let mut head = [0; 7];
        self.0.read_exact(&mut head).expect("a frame");
        let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        let mut payload = vec![0; size as usize + 1];
        self.0.read_exact(&mut payload).expect("the rest of the frame");
        assert_eq!(payload[..4], [0, class, 0, method]);
        payload.split_off(4)
    }
}

#[test]
fn help_and_version_are_answered() {
    let help = run(&["--help"]);
    assert!(help.status.success());
    assert!(String::from_utf8_lossy(&help.stdout).contains("--data-dir <DIR>"));
    let version = run(&["--version"]);
    let said = format!("ferrymq {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&version.stdout), said);
    for program in [env!("CARGO_BIN_EXE_ferrymqctl"), env!("CARGO_BIN_EXE_ferrymq-perf")] {
        for flag in ["--help", "--version"] {
            let output = Command::new(program).arg(flag).output().expect("the program runs");
            assert!(output.status.success() && !output.stdout.is_empty(), "{program} {flag}");
        }
    }
}

#[test]
fn print_config_prints_what_is_in_force() {
    let output = ferrymq()
        .args(["--print-config", "--amqp-listen", "127.0.0.1:5673"])
        .env("FERRYMQ_AMQP_HEARTBEAT_SECONDS", "7")
        .output()
        .expect("the program runs");
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let config: toml::Table = text.parse().expect("TOML");
    assert_eq!(config["amqp"]["listen"][0].as_str(), Some("127.0.0.1:5673"));
    assert_eq!(config["amqp"]["heartbeat_seconds"].as_integer(), Some(7));
    assert_eq!(config["amqp"]["channel_max"].as_integer(), Some(2047));
}

#[test]
fn an_unknown_key_is_named_with_the_file_and_the_nearest_key() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("ferrymq.toml");
    fs::write(&file, "[amqp]\nframe_max = 8192\n").expect("written");
    let said = refused(&["--config", file.to_str().expect("UTF-8")]);
    let expected = "unknown key amqp.frame_max; did you mean amqp.frame_max_bytes?";
    assert_eq!(said, format!("ferrymq: {}: {expected}\n", file.display()));
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for flags in [&["--port", "5672"][..], &["--log-level", "loud"]] {
        assert_eq!(run(flags).status.code(), Some(2), "{flags:?}");
    }
}

#[test]
fn a_port_in_use_is_an_error_that_says_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let directory = tempfile::tempdir().expect("a directory");
    let data_dir = directory.path().join("data");
    let said = refused(&[
        "--data-dir",
        data_dir.to_str().expect("UTF-8"),
        "--amqp-listen",
        &address,
        "--http-listen",
        "127.0.0.1:0",
        "--metrics-listen",
        "none",
    ]);
    assert!(said.contains(&format!("cannot listen on {address}")), "{said}");
    assert!(said.contains("another process has it; stop that one or choose another"), "{said}");
    assert!(said.contains("(setting amqp.listen)"), "{said}");
    assert!(!data_dir.exists(), "nothing was begun");
}

#[test]
fn a_data_directory_that_cannot_be_written_is_an_error_that_says_what_to_do() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("data"), "no directory").expect("written");
    let flags = quiet_flags(directory.path());
    let said = refused(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(said.contains("cannot create the data directory"), "{said}");
    assert!(said.contains("--data-dir"), "{said}");
}

#[test]
fn a_data_directory_belongs_to_one_process() {
    let daemon = Daemon::start();
    let flags = quiet_flags(daemon.directory.path());
    let said = refused(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(said.contains("is in use by another ferrymq process"), "{said}");
    assert!(get(&daemon.http, READY).starts_with("HTTP/1.1 200"), "the first is unharmed");
}

#[test]
fn a_ready_daemon_answers_health_checks() {
    let daemon = Daemon::start();
    let ready = get(&daemon.http, READY);
    assert!(ready.starts_with("HTTP/1.1 200") && ready.ends_with(r#"{"status":"ok"}"#), "{ready}");
    let nothing = get(&daemon.http, "/api/nothing");
    assert!(nothing.starts_with("HTTP/1.1 404"), "{nothing}");
    assert!(nothing.contains("application/json") && nothing.contains("/api/nothing"), "{nothing}");
    assert!(run(&["--check-health", "--http-listen", &daemon.http]).status.success());
    let http = daemon.http.clone();
    drop(daemon);
    assert!(refused(&["--check-health", "--http-listen", &http]).contains("no broker answers"));
}

/// With a log level above info the daemon once stopped as soon as it had started: what it waited
/// for stood among the arguments of a log line that was left out.
#[test]
fn a_daemon_that_logs_little_serves_until_it_is_told_to_stop() {
    let directory = tempfile::tempdir().expect("a directory");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
    let http = port.to_string();
    let mut command = ferrymq();
    command.args(["--data-dir", &directory.path().join("data").display().to_string()]);
    command.args(["--amqp-listen", "127.0.0.1:0", "--http-listen", &http, "--log-level", "off"]);
    command.args(["--metrics-listen", "none"]);
    let mut child = command.spawn().expect("the program runs");
    let start = Instant::now();
    while TcpStream::connect(&http).is_err() {
        assert!(start.elapsed() < WAIT, "it serves");
        assert_eq!(child.try_wait().expect("its state"), None, "it runs");
        thread::yield_now();
    }
    while !get(&http, READY).starts_with("HTTP/1.1 200") {
        assert!(start.elapsed() < WAIT, "it is ready");
    }
    assert_eq!(child.try_wait().expect("its state"), None, "it still runs");
    child.kill().expect("it ran");
    child.wait().expect("it ends");
}

#[test]
fn sigterm_tells_clients_320_and_ends_with_exit_code_0() {
    for name in ["TERM", "INT"] {
        let mut daemon = Daemon::start();
        let mut client = Client::open(&daemon.amqp);
        daemon.signal(name);
        let close = client.expect([10, 50]);
        assert_eq!(close[..2], 320_u16.to_be_bytes());
        assert!(String::from_utf8_lossy(&close).contains("CONNECTION_FORCED"));
        client.send([10, 51], b"");
        assert_eq!(daemon.wait_for_end().code(), Some(0));
        // What it held is free again.
        Daemon::spawn(ferrymq(), Rc::clone(&daemon.directory));
        let refused = TcpStream::connect(&daemon.amqp).expect_err("nobody listens");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
}

#[test]
fn while_clients_are_waited_for_the_health_check_says_stopping() {
    let mut daemon = Daemon::start();
    let mut client = Client::open(&daemon.amqp);
    daemon.signal("TERM");
    client.expect([10, 50]);
    let stopping = get(&daemon.http, READY);
    assert!(stopping.starts_with("HTTP/1.1 503"), "{stopping}");
    assert!(stopping.contains("the broker is stopping"), "{stopping}");
    client.send([10, 51], b"");
    assert_eq!(daemon.wait_for_end().code(), Some(0));
}

#[test]
fn a_client_that_ignores_the_goodbye_does_not_keep_the_daemon() {
    let mut daemon = Daemon::start();
    let silent = Client::open(&daemon.amqp);
    daemon.signal("TERM");
    assert_eq!(daemon.wait_for_end().code(), Some(0));
    drop(silent);
}

#[test]
fn a_second_signal_ends_the_daemon_at_once() {
    let mut daemon = Daemon::start();
    let silent = Client::open(&daemon.amqp);
    let deadline = Instant::now() + WAIT;
    let status = loop {
        daemon.signal("TERM");
        if let Some(status) = daemon.child.try_wait().expect("our child") {
            break status;
        }
        assert!(Instant::now() < deadline, "it does not end");
    };
    assert_eq!(status.code(), Some(1));
    drop(silent);
}

#[test]
fn a_daemon_without_descriptors_accepts_again_when_there_are_some() {
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 48; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_ferrymq")]);
    let directory = tempfile::tempdir().expect("a directory");
    let daemon = Daemon::spawn(limited, Rc::new(directory));
    let crowd: Vec<TcpStream> = (0..60).map(|_| connect(&daemon.amqp)).collect();
    daemon.wait_for_line("cannot accept connections for now");
    drop(crowd);
    Client::open(&daemon.amqp);
    assert!(get(&daemon.http, READY).starts_with("HTTP/1.1 200"));
}
