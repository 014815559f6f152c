//! The built program, run with words.

use std::io::Write;
use std::process::{Command, Stdio};

use ferrymq::config::Config;
use serde_json::Value;

use crate::support::*;

/// What a run left.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// What was printed by a run that ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        self.out
    }

    /// A run that failed with this code and said this.
    #[track_caller]
    pub fn expect_failed(self, code: i32, said: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.contains(said), "{said:?} is not in {self:?}");
    }
}

pub fn run(words: &[&str], input: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferrymqctl"));
    for variable in ["FERRYMQ_URL", "FERRYMQ_USER", "FERRYMQ_PASSWORD"] {
        command.env_remove(variable);
    }
    let piped =
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // One that doesn't read its input may have ended.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    Ran {
        code: output.status.code().expect("no signal"),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// A broker, and the program that knows where it is.
pub struct Managed {
    pub broker: TestBroker,
    url: String,
}

impl Managed {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        let broker = TestBroker::with(change);
        let url = format!("http://{}", broker.http_address());
        Self { broker, url }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn ctl(&self, words: &[&str]) -> Ran {
        self.ctl_with(words, "")
    }

    pub fn ctl_with(&self, words: &[&str], input: &str) -> Ran {
        run(&[&["--url", &self.url], words].concat(), input)
    }

    /// Runs a verb that has to be done, and what it answers in JSON.
    #[track_caller]
    pub fn json(&self, words: &[&str]) -> Value {
        let out = self.ctl(&[words, &["--formatter", "json"]].concat()).expect(0);
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    pub fn client(&self) -> Client {
        self.broker.client()
    }
}
