//! Runs a load: makes what it needs, starts producers and consumers, watches them, and takes away
//! what it made.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{ScopedJoinHandle, scope};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::Failure;
use super::consumer::{Consumed, Consumer};
use super::link::{Link, Target};
use super::plan::{Plan, Routing};
use super::process;
use super::producer::{Produced, Producer, Route, Until};
use super::report::{Phase, Used};
use super::tally::{Tally, Wrong};
use crate::protocol::generated::{
    BasicPublish, ExchangeDeclare, ExchangeDelete, QueueBind, QueueDeclare, QueueDelete,
};
use crate::protocol::properties::{BasicProperties, Properties};
use crate::protocol::table::{FieldTable, FieldValue};
use crate::protocol::wire::ShortStr;

/// Longest latency that is told apart, in microseconds.
const LATENCY_MAX: u64 = 600_000_000;

/// Different keys or headers that a producer uses in turn.
const ROUTES_MAX: usize = 1000;

const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// What a broker is left alone for when idle things were made, so that what it took to make them is
/// not taken for what they cost.
const SETTLE: Duration = Duration::from_millis(1500);

/// Latencies in microseconds, to three digits.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(LATENCY_MAX, 3).expect("the limits are right")
}

/// What everybody counts together.
pub(super) struct Progress {
    begun: Instant,
    published: AtomicU64,
    consumed: AtomicU64,
    over: AtomicBool,
}

impl Progress {
    fn new() -> Self {
        let (published, consumed) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { begun: Instant::now(), published, consumed, over: AtomicBool::new(false) }
    }

    pub(super) fn published(&self, count: u64) {
        self.published.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn consumed(&self, count: u64) {
        self.consumed.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn nanos_at(&self, time: Instant) -> u64 {
        u64::try_from(time.saturating_duration_since(self.begun).as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn micros_since(&self, nanos: u64) -> u64 {
        self.nanos_at(Instant::now()).saturating_sub(nanos) / 1000
    }

    /// Prints a line every second until all is over.
    fn print(&self) {
        let (mut before, mut printed) = ((0, 0), Instant::now());
        while !self.over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
            if printed.elapsed() < PROGRESS_EVERY {
                continue;
            }
            printed = Instant::now();
            let now =
                (self.published.load(Ordering::Relaxed), self.consumed.load(Ordering::Relaxed));
            eprintln!(
                "  {:>9} published, {:>9} consumed a second",
                now.0 - before.0,
                now.1 - before.1
            );
            before = now;
        }
    }
}

/// The messages of the queues of a consumer: how many have come, and how many will have when all is
/// published.
pub(super) struct QueueCount {
    came: AtomicU64,
    expected: AtomicU64,
}

impl QueueCount {
    fn new(expected: u64) -> Self {
        Self { came: AtomicU64::new(0), expected: AtomicU64::new(expected) }
    }

    pub(super) fn came(&self, count: u64) {
        self.came.fetch_add(count, Ordering::AcqRel);
    }

    pub(super) fn is_complete(&self) -> bool {
        self.came.load(Ordering::Acquire) >= self.expected.load(Ordering::Acquire)
    }

    /// All is published, and not all has come.
    pub(super) fn is_waited_for(&self) -> bool {
        self.expected.load(Ordering::Acquire) != u64::MAX
    }
}

/// A load on its way.
pub(super) struct Load<'a> {
    target: &'a Target,
    plan: &'a Plan,
    pid: Option<u32>,
    data_dir: Option<&'a Path>,
    link: Link,
    exchange: ShortStr,
    queues: Vec<ShortStr>,
    idle_queues: Vec<ShortStr>,
    /// Only held.
    _idle_connections: Vec<Link>,
}

impl<'a> Load<'a> {
    /// Makes queues, exchange and bindings, with names of their own.
    pub(super) fn begin(
        target: &'a Target,
        plan: &'a Plan,
        pid: Option<u32>,
        data_dir: Option<&'a Path>,
    ) -> Result<Self, Failure> {
        let name = format!("perf.{:08x}", rand::random::<u32>());
        let mut link = Link::open(target)?;
        let durable = plan.persistent;
        let queues = declare(&mut link, plan, &name, plan.queues, durable)?;
        let idle = format!("{name}.idle");
        let idle_queues = declare(&mut link, plan, &idle, plan.idle_queues, true)?;
        let _idle_connections = open_idle(target, plan)?;
        let kind = match plan.routing {
            Routing::Default => "",
            Routing::Fanout => "fanout",
            Routing::Topic => "topic",
            Routing::Headers => "headers",
        };
        let exchange = ShortStr::default();
        let mut load = Self {
            target,
            plan,
            pid,
            data_dir,
            link,
            exchange,
            queues,
            idle_queues,
            _idle_connections,
        };
        if plan.routing != Routing::Default {
            load.exchange = ShortStr::try_from(name.as_str())?;
            let (exchange, kind) = (load.exchange.clone(), ShortStr::from_static(kind));
            let declare = ExchangeDeclare { exchange, kind, durable, ..ExchangeDeclare::default() };
            load.link.call(1, declare)?;
            load.bind()?;
        }
        if pid.is_some() && plan.idle_queues + plan.idle_connections + plan.bindings > 0 {
            std::thread::sleep(SETTLE);
        }
        Ok(load)
    }

    fn bind(&mut self) -> Result<(), Failure> {
        let Self { plan, link, queues, exchange, .. } = self;
        let numbers = 0..plan.bindings.max(1);
        let places = queues.iter().flat_map(|queue| numbers.clone().map(move |n| (queue, n)));
        let bind = |(queue, number): (&ShortStr, usize)| {
            let (routing_key, arguments) = match plan.routing {
                Routing::Topic => (key(number, "*"), FieldTable::default()),
                Routing::Headers => (ShortStr::default(), matching(number)),
                Routing::Default | Routing::Fanout => Default::default(),
            };
            let (queue, exchange) = (queue.clone(), exchange.clone());
            QueueBind { queue, exchange, routing_key, arguments, ..QueueBind::default() }
        };
        link.call_all(1, places.map(bind))
    }

    /// Where a producer's messages go, in turn.
    fn routes(&self) -> Vec<Route> {
        let properties = |headers: Option<FieldTable>| {
            let expiration = self.plan.expiration_ms.map(|ms| ms.to_string());
            Properties::from(&BasicProperties {
                delivery_mode: self.plan.persistent.then_some(2),
                priority: self.plan.priority,
                expiration: expiration.and_then(|text| ShortStr::try_from(text.as_str()).ok()),
                headers,
                ..Default::default()
            })
        };
        let exchange = self.exchange.clone();
        let publish = |routing_key| BasicPublish {
            exchange: exchange.clone(),
            routing_key,
            ..BasicPublish::default()
        };
        let route = |routing_key, headers, counted_as| Route {
            publish: publish(routing_key),
            properties: properties(headers),
            counted_as,
        };
        let many = self.plan.bindings.min(ROUTES_MAX);
        match self.plan.routing {
            Routing::Default => {
                let headers = self.headers();
                let to_queue = |headers: &Option<FieldTable>| {
                    let queues = self.queues.iter().enumerate();
                    let to = |(number, queue): (_, &ShortStr)| {
                        route(queue.clone(), headers.clone(), number)
                    };
                    queues.map(to).collect::<Vec<_>>()
                };
                headers.iter().flat_map(to_queue).collect()
            }
            Routing::Fanout => vec![route(ShortStr::default(), None, 0)],
            Routing::Topic => (0..many)
                .map(|number| route(key(number * self.plan.bindings / many, "x"), None, 0))
                .collect(),
            Routing::Headers => (0..many)
                .map(|number| route(ShortStr::default(), Some(header(number)), 0))
                .collect(),
        }
    }

    /// The headers of messages, in turn.
    fn headers(&self) -> Vec<Option<FieldTable>> {
        let Some((name, count)) = &self.plan.header else { return vec![None] };
        let with = |value| FieldTable::from_iter([(name.clone(), FieldValue::U32(value))]);
        (0..*count).map(|value| Some(with(value))).collect()
    }

    /// Runs both sides for a time.
    pub(super) fn run(&self) -> Result<Phase, Failure> {
        let until = Until::Time(Duration::from_secs_f64(self.plan.seconds));
        self.phase("", Some(until), None)
    }

    /// Publishes so many messages.
    pub(super) fn fill(&self, backlog: u64) -> Result<Phase, Failure> {
        self.phase("fill", Some(Until::Count(backlog / self.plan.producers as u64)), None)
    }

    /// Consumes what was filled.
    pub(super) fn drain(&self, fill: &Phase) -> Result<Phase, Failure> {
        self.phase("drain", None, Some(&fill.counts))
    }

    /// The broker was started again, and this is its process now.
    pub(super) fn reconnect(&mut self, pid: u32) -> Result<(), Failure> {
        (self.link, self.pid) = (Link::open(self.target)?, Some(pid));
        self._idle_connections = open_idle(self.target, self.plan)?;
        Ok(())
    }

    /// `publish` says until when is published, if it is; `left` what an earlier phase has left to
    /// be consumed. What is published alone is not consumed.
    fn phase(
        &self,
        name: &str,
        publish: Option<Until>,
        left: Option<&Vec<BTreeMap<u32, u64>>>,
    ) -> Result<Phase, Failure> {
        let fills = name == "fill";
        let expected = |queue: usize| left.map_or(u64::MAX, |left| left[queue].values().sum());
        let counts: Vec<QueueCount> = self
            .queues_of_consumers()
            .map(|queues| QueueCount::new(queues.map(expected).fold(0, u64::saturating_add)))
            .collect();
        let consumers = self.consumers(fills)?;
        let (producers, routes) =
            (if publish.is_some() { self.plan.producers } else { 0 }, self.routes());
        let producers: Vec<Producer> = (0..producers)
            .map(|number| Producer::open(self.target, number as u32, self.plan, &routes))
            .collect::<Result<_, _>>()?;
        let rate = self.plan.rate.map(|rate| rate / self.plan.producers as f64);
        let (used, progress) = (self.used_before()?, Progress::new());
        let (produced, consumed) = scope(|scope| {
            scope.spawn(|| progress.print());
            let consuming: Vec<_> = consumers
                .into_iter()
                .map(|(queues, consumer)| {
                    let (count, progress) = (&counts[queues], &progress);
                    (queues, scope.spawn(move || consumer.run(count, progress)))
                })
                .collect();
            let producing: Vec<_> = producers
                .into_iter()
                .map(|producer| {
                    let (until, progress) = (publish.expect("they publish"), &progress);
                    scope.spawn(move || producer.run(until, rate, progress))
                })
                .collect();
            let produced = joined(producing);
            if let Ok(produced) = &produced
                && publish.is_some()
            {
                self.expect(&counts, produced);
            } else if produced.is_err() {
                // Nobody waits for what will not come.
                counts.iter().for_each(|count| count.expected.store(0, Ordering::Release));
            }
            let consumed: Result<Vec<(usize, Consumed)>, Failure> = consuming
                .into_iter()
                .map(|(queues, thread)| Ok((queues, joined(vec![thread])?.remove(0))))
                .collect();
            progress.over.store(true, Ordering::Relaxed);
            (produced, consumed)
        });
        let (produced, consumed) = (produced?, consumed?);
        let published = match left {
            Some(left) => left.clone(),
            None => {
                (0..self.queues.len()).map(|queue| self.published_to(queue, &produced)).collect()
            }
        };
        let used = self.used_since(used, progress.begun.elapsed())?;
        Ok(self.result(name, used, produced, consumed, published, fills))
    }

    /// The numbers of the queues that a connection consumes from together.
    fn queues_of_consumers(&self) -> impl Iterator<Item = Range<usize>> {
        let (all, each) = (self.queues.len(), self.plan.queues_per_consumer);
        (0..all).step_by(each).map(move |first| first..all.min(first + each))
    }

    /// With the number of the queues that it consumes from.
    fn consumers(&self, fills: bool) -> Result<Vec<(usize, Consumer)>, Failure> {
        let mut consumers = Vec::new();
        if fills {
            return Ok(consumers);
        }
        for (number, queues) in self.queues_of_consumers().enumerate() {
            for _ in 0..self.plan.consumers_per_queue {
                let queues = &self.queues[queues.clone()];
                consumers.push((number, Consumer::open(self.target, self.plan, queues)?));
            }
        }
        Ok(consumers)
    }

    /// By producer, what it has published to a queue.
    fn published_to(&self, queue: usize, produced: &[Produced]) -> BTreeMap<u32, u64> {
        let counted_as = if self.plan.routing == Routing::Default { queue } else { 0 };
        let count = |produced: &Produced| produced.counts.get(counted_as).copied().unwrap_or(0);
        (0..).zip(produced).map(|(number, produced)| (number, count(produced))).collect()
    }

    fn expect(&self, counts: &[QueueCount], produced: &[Produced]) {
        for (queues, count) in self.queues_of_consumers().zip(counts) {
            let of_queue = |queue| self.published_to(queue, produced).values().sum::<u64>();
            count.expected.store(queues.map(of_queue).sum(), Ordering::Release);
        }
    }

    fn result(
        &self,
        name: &str,
        used: Used,
        produced: Vec<Produced>,
        consumed: Vec<(usize, Consumed)>,
        counts: Vec<BTreeMap<u32, u64>>,
        fills: bool,
    ) -> Phase {
        let (mut latency, mut confirm_latency) = (histogram(), histogram());
        let mut tallies: Vec<Vec<Tally>> = counts.iter().map(|_| Vec::new()).collect();
        let mut received = 0;
        for (queues, consumed) in consumed {
            // All have the same limits.
            let _ = latency.add(&consumed.latency);
            let first = queues * self.plan.queues_per_consumer;
            for (tallies, tally) in tallies[first..].iter_mut().zip(consumed.tallies) {
                received += tally.count();
                tallies.push(tally);
            }
        }
        for produced in &produced {
            let _ = confirm_latency.add(&produced.confirm_latency);
        }
        let mut wrong = Wrong::default();
        if !fills && self.plan.consumers_per_queue > 0 {
            for (tallies, published) in tallies.iter().zip(&counts) {
                wrong.add(&Wrong::of(tallies, published));
            }
        }
        let published = produced.iter().flat_map(|produced| &produced.counts).sum();
        let name = name.to_owned();
        Phase { name, used, published, consumed: received, latency, confirm_latency, wrong, counts }
    }

    /// What the broker's process has used so far.
    fn used_before(&self) -> Result<Used, Failure> {
        Ok(Used {
            cpu_seconds: self.pid.map(process::cpu_seconds).transpose()?,
            resident_mib_before: self.pid.map(process::resident_mib).transpose()?,
            ..Used::default()
        })
    }

    fn used_since(&self, before: Used, elapsed: Duration) -> Result<Used, Failure> {
        let now = self.pid.map(process::cpu_seconds).transpose()?;
        Ok(Used {
            seconds: elapsed.as_secs_f64(),
            cpu_seconds: now.zip(before.cpu_seconds).map(|(now, before)| now - before),
            resident_mib: self.pid.map(process::resident_mib).transpose()?,
            disk_mib: self.data_dir.map(process::disk_mib),
            ..before
        })
    }

    /// Takes away what was made.
    pub(super) fn end(mut self) -> Result<(), Failure> {
        let queues = std::mem::take(&mut self.queues).into_iter().chain(self.idle_queues);
        let delete = |queue| QueueDelete { queue, ..QueueDelete::default() };
        self.link.call_all(1, queues.map(delete))?;
        if !self.exchange.is_empty() {
            let exchange = self.exchange.clone();
            self.link.call(1, ExchangeDelete { exchange, ..ExchangeDelete::default() })?;
        }
        Ok(())
    }
}

/// Declares so many queues, with numbers behind a common name.
fn declare(
    link: &mut Link,
    plan: &Plan,
    name: &str,
    count: usize,
    durable: bool,
) -> Result<Vec<ShortStr>, Failure> {
    let named = |number| ShortStr::try_from(format!("{name}.{number}").as_str());
    let queues = (0..count).map(named).collect::<Result<Vec<_>, _>>()?;
    let declare = |queue: &ShortStr| {
        let (queue, arguments) = (queue.clone(), plan.arguments.clone());
        QueueDeclare { queue, durable, arguments, ..QueueDeclare::default() }
    };
    link.call_all(1, queues.iter().map(declare))?;
    Ok(queues)
}

fn open_idle(target: &Target, plan: &Plan) -> Result<Vec<Link>, Failure> {
    (0..plan.idle_connections).map(|_| Link::open(target)).collect()
}

fn joined<T>(threads: Vec<ScopedJoinHandle<'_, Result<T, Failure>>>) -> Result<Vec<T>, Failure> {
    let join = |thread: ScopedJoinHandle<'_, Result<T, Failure>>| match thread.join() {
        Ok(result) => result,
        Err(_) => Err("a thread of the load panicked".into()),
    };
    // All are waited for before the first failure is told.
    threads.into_iter().map(join).collect::<Vec<_>>().into_iter().collect()
}

fn key(number: usize, last: &str) -> ShortStr {
    ShortStr::try_from(format!("perf.{number}.{last}").as_str()).expect("it is short")
}

fn header(number: usize) -> FieldTable {
    let number = FieldValue::I64(i64::try_from(number).unwrap_or(i64::MAX));
    FieldTable::from_iter([(ShortStr::from_static("number"), number)])
}

fn matching(number: usize) -> FieldTable {
    let mut table = header(number);
    let all = FieldValue::LongStr(bytes::Bytes::from_static(b"all"));
    table.insert(ShortStr::from_static("x-match"), all);
    table
}
