//! A broker that the load generator starts and stops itself, to see how long that takes.
//!
//! Owner of the broker's process: dropped, it is killed.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::Failure;
use super::link::{Link, Target};

/// How long a start or a stop may take.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// Between two looks whether it is there: what a start's time is exact to.
const LOOK: Duration = Duration::from_millis(1);

pub(super) struct Broker {
    command: String,
    child: Child,
}

impl Broker {
    /// Starts it by a line for the shell. Answers how long it took until a client was served.
    pub(super) fn start(command: &str, target: &Target) -> Result<(Self, Duration), Failure> {
        if Link::open(target).is_ok() {
            return Err("a broker is there already: the one that --start begins needs the \
                        address of --uri for itself"
                .into());
        }
        let begun = Instant::now();
        let child = spawn(command)?;
        let mut broker = Self { command: command.to_owned(), child };
        broker.wait_until_ready(target)?;
        Ok((broker, begun.elapsed()))
    }

    /// Stops it in order and starts it again. Answers how long the start took.
    pub(super) fn restart(&mut self, target: &Target) -> Result<Duration, Failure> {
        self.stop()?;
        let begun = Instant::now();
        self.child = spawn(&self.command)?;
        self.wait_until_ready(target)?;
        Ok(begun.elapsed())
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_ready(&mut self, target: &Target) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            let Err(refused) = Link::open(target) else { return Ok(()) };
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the broker of --start ended at once: {status}").into());
            }
            if begun.elapsed() > WAIT_MAX {
                return Err(format!("the broker of --start does not answer: {refused}").into());
            }
            std::thread::sleep(LOOK);
        }
    }

    fn stop(&mut self) -> Result<(), Failure> {
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        let begun = Instant::now();
        while self.child.try_wait()?.is_none() {
            if begun.elapsed() > WAIT_MAX {
                return Err("the broker of --start does not stop when it gets SIGTERM".into());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

/// The shell becomes the broker, so that the process is the broker's own.
fn spawn(command: &str) -> Result<Child, Failure> {
    let mut shell = Command::new("sh");
    // What it has to say is no part of our table.
    let shell = shell.args(["-c", &format!("exec {command}")]).stdout(Stdio::null());
    Ok(shell.spawn().map_err(|error| format!("--start {command}: {error}"))?)
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.stop().is_err() {
            let _ = self.child.kill();
        }
    }
}
