//! What each letter does, and what is printed of it.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::broker::Broker;
use super::flags::Common;
use super::link::Target;
use super::load::Load;
use super::plan::Plan;
use super::report::Phase;
use super::{Failure, connections, process};

/// How long churn lasts when nobody says.
const CHURN_SECONDS: f64 = 4.0;

/// Connections that are idle in j.
const IDLE: usize = 5000;

/// What a broker is left alone for before its memory is read: what it costs to be idle or to have a
/// backlog is what stays when the work is done.
const SETTLE: Duration = Duration::from_secs(2);

/// One run against one broker.
pub(super) struct Runner<'a> {
    common: &'a Common,
    target: &'a Target,
    /// With the time until it served, when it was started here.
    started: Option<(Broker, Duration)>,
}

impl<'a> Runner<'a> {
    /// Starts the broker, if that was asked for.
    pub(super) fn begin(common: &'a Common, target: &'a Target) -> Result<Self, Failure> {
        let started = common.start.as_ref().map(|command| Broker::start(command, target));
        Ok(Self { common, target, started: started.transpose()? })
    }

    /// The broker's process, if it is known.
    fn pid(&self) -> Option<u32> {
        self.started.as_ref().map(|(broker, _)| broker.pid()).or(self.common.pid)
    }

    fn print(&self, found: &Value, line: &str) {
        if self.common.json { println!("{found}") } else { println!("{line}") }
    }

    /// `plan` is that of the letter, if it is a load.
    pub(super) fn run_named(
        mut self,
        letter: &str,
        plan: Option<&'a Plan>,
        seconds: Option<f64>,
    ) -> Result<(), Failure> {
        match (letter, plan) {
            ("i", _) => self.churn(seconds.unwrap_or(CHURN_SECONDS)),
            ("j", _) => self.idle(),
            ("m", _) => self.start_up(),
            (_, Some(plan)) => self.run_plan(letter, plan),
            (_, None) => {
                Err(format!("there is no scenario '{letter}'; --help lists those that there are")
                    .into())
            }
        }
    }

    fn churn(&self, seconds: f64) -> Result<(), Failure> {
        for threads in [1, 8] {
            let rate = connections::churn(self.target, threads, seconds)?;
            self.print(
                &json!({ "scenario": "i", "threads": threads, "connections_per_second": rate }),
                &format!("i        {rate:>10.0} connections/s from {threads} threads"),
            );
        }
        Ok(())
    }

    fn idle(&self) -> Result<(), Failure> {
        let pid = self.pid().ok_or("scenario j needs --pid or --start")?;
        let kib = connections::idle(self.target, IDLE, pid)?;
        self.print(
            &json!({ "scenario": "j", "kib_per_connection": kib }),
            &format!("j        {kib:>10.1} KiB for each of {IDLE} idle connections"),
        );
        Ok(())
    }

    fn start_up(&self) -> Result<(), Failure> {
        let (broker, took) = self.started.as_ref().ok_or("scenario m needs --start")?;
        std::thread::sleep(SETTLE);
        let (millis, mib) = (took.as_secs_f64() * 1000.0, process::resident_mib(broker.pid())?);
        self.print(
            &json!({ "scenario": "m", "start_ms": millis, "idle_mib": mib }),
            &format!("m        {millis:>10.0} ms until a client is served  {mib:.0} MiB idle"),
        );
        Ok(())
    }

    fn begin_load(&self, plan: &'a Plan) -> Result<Load<'a>, Failure> {
        if let Some(problem) = plan.problem() {
            return Err(problem.into());
        }
        let data_dir: Option<&'a Path> = self.common.data_dir.as_deref();
        Load::begin(self.target, plan, self.pid(), data_dir)
    }

    /// A load; one with a backlog has two phases, and perhaps a restart between them.
    pub(super) fn run_plan(&mut self, name: &str, plan: &'a Plan) -> Result<(), Failure> {
        let mut load = self.begin_load(plan)?;
        let ran = match plan.backlog {
            None => load.run().map(|phase| vec![phase]),
            Some(backlog) => self.run_backlog(name, plan, &mut load, backlog),
        };
        // Also after a failure; that one is told rather than what follows from it.
        let ended = load.end();
        let phases = ran?;
        ended?;
        self.report(name, &phases)
    }

    fn run_backlog(
        &mut self,
        name: &str,
        plan: &Plan,
        load: &mut Load<'_>,
        backlog: u64,
    ) -> Result<Vec<Phase>, Failure> {
        let mut fill = load.fill(backlog)?;
        std::thread::sleep(SETTLE);
        fill.used.resident_mib = self.pid().map(process::resident_mib).transpose()?;
        if plan.restart {
            let started = self.started.as_mut();
            let (broker, _) = started.ok_or("a load with a restart needs --start")?;
            let took = broker.restart(self.target)?;
            load.reconnect(broker.pid())?;
            let millis = took.as_secs_f64() * 1000.0;
            self.print(
                &json!({ "scenario": name, "phase": "restart", "start_ms": millis }),
                &format!(
                    "{name} restart {millis:>7.0} ms until a client is served with the backlog"
                ),
            );
        }
        let drain = load.drain(&fill)?;
        Ok(vec![fill, drain])
    }

    fn report(&self, name: &str, phases: &[Phase]) -> Result<(), Failure> {
        for phase in phases {
            match self.common.json {
                true => println!("{}", phase.json(name)),
                false => phase.print(name),
            }
        }
        match phases.iter().find(|phase| !phase.wrong.is_nothing()) {
            Some(phase) => Err(format!("scenario {name}: {}", phase.wrong_in_words()).into()),
            None => Ok(()),
        }
    }
}
