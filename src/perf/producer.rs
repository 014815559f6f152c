//! One producer: prepared frames, a stamp in each body, a window of publishes that wait for their
//! confirm.
//!
//! Two threads: one publishes, one reads confirms. Between them, under a lock that is taken once a
//! write and once a read, is what has been confirmed.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use crc32fast::Hasher;
use hdrhistogram::Histogram;
use parking_lot::{Condvar, Mutex};

use super::Failure;
use super::link::{Link, Target};
use super::load::{Progress, histogram};
use super::plan::Plan;
use super::tally::{CHECKED_LEN, Stamp, TIMED_LEN, checksum};
use crate::protocol::frame::{encode_body_frame, encode_content_header, encode_method};
use crate::protocol::generated::{
    BasicAck, BasicNack, BasicPublish, ChannelClose, ConfirmSelect, Method,
};
use crate::protocol::properties::Properties;

/// Bytes of frames that are written at a time, as long as the window takes them.
const WRITE_LEN: usize = 64 * 1024;

/// Where a message goes, in frames.
#[derive(Debug, Clone)]
pub(super) struct Route {
    pub(super) publish: BasicPublish,
    pub(super) properties: Properties,
    /// The queue by whose number of messages its own is counted.
    pub(super) counted_as: usize,
}

/// What a producer has done.
pub(super) struct Produced {
    /// By the number of a queue.
    pub(super) counts: Vec<u64>,
    pub(super) confirm_latency: Histogram<u64>,
}

/// When a producer is done.
#[derive(Debug, Clone, Copy)]
pub(super) enum Until {
    Time(Duration),
    Count(u64),
}

pub(super) struct Producer {
    number: u32,
    link: Link,
    messages: Vec<Prepared>,
    next: usize,
    counts: Vec<u64>,
    confirms: Option<Arc<Confirms>>,
    window: u64,
    published: u64,
}

/// A message's frames, and where its stamp is.
struct Prepared {
    frames: Vec<u8>,
    stamp_at: usize,
    stamp_len: usize,
    /// Of what is behind the checksum, if there is to be one.
    behind: Option<Hasher>,
    counted_as: usize,
}

/// What the thread that reads confirms tells the other.
#[derive(Default)]
struct Confirms {
    state: Mutex<Confirmed>,
    changed: Condvar,
}

#[derive(Default)]
struct Confirmed {
    /// All up to here.
    through: u64,
    alone: BTreeSet<u64>,
    /// Writes that are not confirmed: the last tag in each, and when it was begun.
    writes: VecDeque<(u64, Instant)>,
    latency: Option<Histogram<u64>>,
    /// Nothing more comes, for this reason.
    failed: Option<String>,
}

impl Confirmed {
    fn count(&self) -> u64 {
        self.through + self.alone.len() as u64
    }

    fn ack(&mut self, ack: &BasicAck) {
        if ack.multiple {
            self.through = self.through.max(ack.delivery_tag);
            self.alone = self.alone.split_off(&(self.through + 1));
        } else {
            self.alone.insert(ack.delivery_tag);
        }
        while self.alone.remove(&(self.through + 1)) {
            self.through += 1;
        }
        let now = Instant::now();
        while let Some((_, begun)) = self.writes.pop_front_if(|(tag, _)| *tag <= self.through) {
            let micros = now.duration_since(begun).as_micros();
            if let Some(latency) = &mut self.latency {
                latency.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX));
            }
        }
    }
}

impl Producer {
    pub(super) fn open(
        target: &Target,
        number: u32,
        plan: &Plan,
        routes: &[Route],
    ) -> Result<Self, Failure> {
        let mut link = Link::open(target)?;
        let frame_max = link.frame_max;
        let messages = routes.iter().map(|route| Prepared::new(route, plan, frame_max));
        let messages: Vec<Prepared> = messages.collect();
        let confirms = match plan.window {
            None => None,
            Some(_) => {
                link.call(1, ConfirmSelect::default())?;
                let confirms = Arc::new(Confirms::default());
                confirms.state.lock().latency = Some(histogram());
                Some(confirms)
            }
        };
        let counts = vec![0; routes.iter().map(|route| route.counted_as + 1).max().unwrap_or(1)];
        // Producers begin at different places, so that they don't follow one another.
        let next = number as usize % messages.len().max(1);
        let window = plan.window.unwrap_or(u64::MAX);
        Ok(Self { number, link, messages, next, counts, confirms, window, published: 0 })
    }

    /// Publishes until then and waits until the broker has taken everything.
    pub(super) fn run(
        mut self,
        until: Until,
        rate: Option<f64>,
        progress: &Progress,
    ) -> Result<Produced, Failure> {
        let reader = self.confirms.clone().map(|confirms| {
            let link = self.link.reading_half();
            std::thread::spawn(move || read_confirms(link, &confirms))
        });
        let (begun, mut out) = (Instant::now(), Vec::with_capacity(2 * WRITE_LEN));
        while !is_over(until, begun, self.published) {
            let (room, due) = (self.wait_for_room()?, due(rate, begun, self.published));
            let left = match until {
                Until::Count(count) => count - self.published,
                Until::Time(_) => u64::MAX,
            };
            let count = room.min(left).min(due);
            if count == 0 {
                // The next one is not due yet.
                std::thread::sleep(Duration::from_micros(50));
                continue;
            }
            self.write(count, rate, begun, progress, &mut out)?;
        }
        match self.confirms {
            Some(_) => self.wait_for_confirms()?,
            // The broker takes this after all that was published; a connection that ends without
            // it may take with it what the broker has not handled.
            None => {
                self.link.call(1, ChannelClose { reply_code: 200, ..ChannelClose::default() })?;
            }
        }
        let confirm_latency = match &self.confirms {
            Some(confirms) => confirms.state.lock().latency.take().unwrap_or_else(histogram),
            None => histogram(),
        };
        // The confirms' reader ends with the connection.
        self.link.hang_up();
        if let Some(reader) = reader {
            let _ = reader.join();
        }
        Ok(Produced { counts: self.counts, confirm_latency })
    }

    /// Writes up to so many messages, as many as are written at a time.
    fn write(
        &mut self,
        count: u64,
        rate: Option<f64>,
        begun: Instant,
        progress: &Progress,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        out.clear();
        let now = Instant::now();
        let mut written = 0;
        while written < count && out.len() < WRITE_LEN {
            let message = &self.messages[self.next];
            self.next = (self.next + 1) % self.messages.len();
            self.counts[message.counted_as] += 1;
            // Rule of honest latency: the time it was meant to be sent at, not when it could be.
            let meant = match rate {
                Some(rate) => {
                    begun + Duration::from_secs_f64((self.published + written) as f64 / rate)
                }
                None => now,
            };
            let stamp = Stamp {
                producer: self.number,
                number: self.counts[message.counted_as],
                nanos: Some(progress.nanos_at(meant)),
            };
            message.put(&stamp, out);
            written += 1;
        }
        self.published += written;
        if let Some(confirms) = &self.confirms {
            confirms.state.lock().writes.push_back((self.published, now));
        }
        self.link.send_raw(out)?;
        progress.published(written);
        Ok(())
    }

    /// How many may be published now; at least one.
    fn wait_for_room(&self) -> Result<u64, Failure> {
        let Some(confirms) = &self.confirms else { return Ok(u64::MAX) };
        let mut state = confirms.state.lock();
        loop {
            if let Some(failed) = &state.failed {
                return Err(failed.clone().into());
            }
            let room = (self.window + state.count()).saturating_sub(self.published);
            if room > 0 {
                return Ok(room);
            }
            confirms.changed.wait(&mut state);
        }
    }

    fn wait_for_confirms(&self) -> Result<(), Failure> {
        let Some(confirms) = &self.confirms else { return Ok(()) };
        let mut state = confirms.state.lock();
        while state.count() < self.published {
            if let Some(failed) = &state.failed {
                return Err(failed.clone().into());
            }
            confirms.changed.wait(&mut state);
        }
        Ok(())
    }
}

fn is_over(until: Until, begun: Instant, published: u64) -> bool {
    match until {
        Until::Time(time) => begun.elapsed() >= time,
        Until::Count(count) => published >= count,
    }
}

/// How many are due by now beyond those that are published.
fn due(rate: Option<f64>, begun: Instant, published: u64) -> u64 {
    let Some(rate) = rate else { return u64::MAX };
    let due = (begun.elapsed().as_secs_f64() * rate) as u64 + 1;
    due.saturating_sub(published)
}

fn read_confirms(link: std::io::Result<Link>, confirms: &Confirms) {
    let read = || -> Result<(), Failure> {
        let mut link = link?;
        loop {
            let method = link.receive()?;
            let mut state = confirms.state.lock();
            match method {
                Method::BasicAck(ack) => state.ack(&ack),
                Method::BasicNack(BasicNack { delivery_tag, .. }) => {
                    return Err(format!("the broker refused message {delivery_tag}").into());
                }
                other => return Err(format!("{} instead of a confirm", other.name()).into()),
            }
            drop(state);
            confirms.changed.notify_one();
        }
    };
    if let Err(error) = read() {
        confirms.state.lock().failed = Some(error.to_string());
        confirms.changed.notify_one();
    }
}

impl Prepared {
    fn new(route: &Route, plan: &Plan, frame_max: usize) -> Self {
        let (mut frames, publish) = (BytesMut::new(), Method::from(route.publish.clone()));
        encode_method(1, &publish, &mut frames);
        encode_content_header(1, plan.size as u64, route.properties.as_bytes(), &mut frames);
        // No two places near one another alike: a piece that is missing or moved shows.
        let body: Bytes = (0..plan.size).map(|place| (place % 251) as u8).collect();
        // Behind the head of the first body frame.
        let stamp_at = frames.len() + 7;
        // Head and end of a frame count.
        for piece in body.chunks(frame_max.saturating_sub(8).max(1)) {
            encode_body_frame(1, piece, &mut frames);
        }
        let behind = plan.checksum.then(|| {
            let mut behind = Hasher::new();
            behind.update(body.get(CHECKED_LEN..).unwrap_or_default());
            behind
        });
        let (stamp_len, counted_as) = (plan.size.min(TIMED_LEN), route.counted_as);
        Self { frames: frames.to_vec(), stamp_at, stamp_len, behind, counted_as }
    }

    fn put(&self, stamp: &Stamp, out: &mut Vec<u8>) {
        let start = out.len() + self.stamp_at;
        out.extend_from_slice(&self.frames);
        let body = &mut out[start..];
        stamp.put(&mut body[..self.stamp_len]);
        if let Some(behind) = &self.behind {
            let checksum = checksum(&body[..TIMED_LEN], behind);
            body[TIMED_LEN..CHECKED_LEN].copy_from_slice(&checksum);
        }
    }
}
