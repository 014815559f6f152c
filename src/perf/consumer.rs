//! One consumer: reads deliveries with as little parsing as will do, tallies them, acks many at a
//! time.

use std::io;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use hdrhistogram::Histogram;

use super::Failure;
use super::link::{Link, Target};
use super::load::{Progress, QueueCount, histogram};
use super::plan::Plan;
use super::tally::{Stamp, TIMED_LEN, Tally};
use crate::protocol::frame::encode_method;
use crate::protocol::generated::{
    BasicAck, BasicConsume, BasicDeliver, BasicQos, FRAME_BODY, FRAME_HEADER, FRAME_METHOD,
};
use crate::protocol::wire::ShortStr;

/// Between two looks at whether all has come.
const LOOK: Duration = Duration::from_millis(50);

/// Nothing came for so long although something should: it is lost.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// What a consumer got.
pub(super) struct Consumed {
    pub(super) tally: Tally,
    pub(super) latency: Histogram<u64>,
}

pub(super) struct Consumer {
    link: Link,
    ack_every: u64,
    size: usize,
}

/// The message that is coming in.
#[derive(Default)]
struct Coming {
    tag: u64,
    left: u64,
    stamp: [u8; TIMED_LEN],
    stamp_len: usize,
}

impl Consumer {
    pub(super) fn open(target: &Target, plan: &Plan, queue: &ShortStr) -> Result<Self, Failure> {
        let mut link = Link::open(target)?;
        if plan.prefetch > 0 {
            link.call(1, BasicQos { prefetch_count: plan.prefetch, ..BasicQos::default() })?;
        }
        let no_ack = plan.ack_every == 0;
        let consume = BasicConsume { queue: queue.clone(), no_ack, ..BasicConsume::default() };
        link.call(1, consume)?;
        link.set_read_timeout(LOOK)?;
        Ok(Self { link, ack_every: plan.ack_every, size: plan.size })
    }

    /// Consumes until all of the queue's messages have come.
    pub(super) fn run(
        mut self,
        queue: &QueueCount,
        progress: &Progress,
    ) -> Result<Consumed, Failure> {
        let mut consumed = Consumed { tally: Tally::default(), latency: histogram() };
        let (mut coming, mut unacked, mut last_tag) = (Coming::default(), 0, 0);
        let mut heard = Instant::now();
        loop {
            let mut count = 0;
            while let Some(tag) = self.next_message(&mut coming, &mut consumed, progress)? {
                (count, last_tag) = (count + 1, tag);
                unacked += 1;
                if self.ack_every > 0 && unacked >= self.ack_every {
                    self.ack(tag)?;
                    unacked = 0;
                }
            }
            progress.consumed(count);
            queue.came(count);
            if queue.is_complete() {
                break;
            }
            match self.link.fill() {
                Ok(()) => heard = Instant::now(),
                Err(error) if is_timeout(&error) => {
                    // What is left of a batch would hold up a broker that waits for it.
                    if self.ack_every > 0 && unacked > 0 {
                        self.ack(last_tag)?;
                        unacked = 0;
                    }
                    if queue.is_waited_for() && heard.elapsed() > SILENCE_MAX {
                        break;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        if self.ack_every > 0 && unacked > 0 {
            self.ack(last_tag)?;
        }
        Ok(consumed)
    }

    fn ack(&mut self, delivery_tag: u64) -> io::Result<()> {
        let mut out = BytesMut::new();
        encode_method(1, &BasicAck { delivery_tag, multiple: true }.into(), &mut out);
        self.link.send_raw(&out)
    }

    /// The tag of the next whole message, which is tallied.
    fn next_message(
        &mut self,
        coming: &mut Coming,
        consumed: &mut Consumed,
        progress: &Progress,
    ) -> Result<Option<u64>, Failure> {
        let size = self.size as u64;
        while let Some(frame) = self.link.next_frame() {
            match frame.kind {
                FRAME_METHOD => {
                    *coming = Coming { tag: delivery_tag(frame.payload)?, ..Coming::default() };
                    continue;
                }
                FRAME_HEADER => coming.left = body_size(frame.payload)?,
                FRAME_BODY => coming.take(frame.payload),
                _ => continue,
            }
            if coming.left > 0 {
                continue;
            }
            let stamp = Stamp::read(&coming.stamp[..coming.stamp_len]);
            let stamp = stamp.ok_or("a message came that this load did not send")?;
            consumed.tally.add(stamp.producer, stamp.number);
            if let Some(nanos) = stamp.nanos.filter(|_| size >= TIMED_LEN as u64) {
                consumed.latency.saturating_record(progress.micros_since(nanos));
            }
            return Ok(Some(coming.tag));
        }
        Ok(None)
    }
}

impl Coming {
    fn take(&mut self, body: &[u8]) {
        let count = body.len().min(TIMED_LEN - self.stamp_len);
        self.stamp[self.stamp_len..self.stamp_len + count].copy_from_slice(&body[..count]);
        self.stamp_len += count;
        self.left = self.left.saturating_sub(body.len() as u64);
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Of basic.deliver: class, method, the consumer's tag, then the number.
fn delivery_tag(payload: &[u8]) -> Result<u64, Failure> {
    let id = [BasicDeliver::CLASS_ID.to_be_bytes(), BasicDeliver::METHOD_ID.to_be_bytes()].concat();
    let rest = payload.strip_prefix(id.as_slice());
    let tag = rest.and_then(|rest| {
        let (len, rest) = rest.split_first()?;
        rest.get(usize::from(*len)..)?.first_chunk()
    });
    match tag {
        Some(tag) => Ok(u64::from_be_bytes(*tag)),
        None => {
            let method =
                crate::protocol::generated::Method::decode(&bytes::Bytes::copy_from_slice(payload));
            let what = method.map_or_else(|error| error.text, |method| format!("{method:?}"));
            Err(format!("instead of a delivery the broker sent {what}").into())
        }
    }
}

fn body_size(payload: &[u8]) -> Result<u64, Failure> {
    let size = payload.get(4..).and_then(|rest| rest.first_chunk());
    size.map(|size| u64::from_be_bytes(*size)).ok_or_else(|| "a broken content header".into())
}
