//! One consumer: reads deliveries with as little parsing as will do, tallies them, acks many at a
//! time.

use std::io;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use crc32fast::Hasher;
use hdrhistogram::Histogram;

use super::Failure;
use super::link::{Link, Target};
use super::load::{Progress, QueueCount, histogram};
use super::plan::Plan;
use super::tally::{CHECKED_LEN, Stamp, TIMED_LEN, Tally, checksum};
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
    checksum: bool,
}

/// The message that is coming in.
#[derive(Default)]
struct Coming {
    tag: u64,
    left: u64,
    head: [u8; CHECKED_LEN],
    head_len: usize,
    /// Of what is behind the head, when there are checksums.
    behind: Option<Hasher>,
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
        let Plan { ack_every, size, checksum, .. } = *plan;
        Ok(Self { link, ack_every, size, checksum })
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
                    let (tag, behind) =
                        (delivery_tag(frame.payload)?, self.checksum.then(Hasher::new));
                    *coming = Coming { tag, behind, ..Coming::default() };
                    continue;
                }
                FRAME_HEADER => coming.left = body_size(frame.payload)?,
                FRAME_BODY => coming.take(frame.payload),
                _ => continue,
            }
            if coming.left > 0 {
                continue;
            }
            let stamp = Stamp::read(&coming.head[..coming.head_len.min(TIMED_LEN)]);
            let stamp = stamp.ok_or("a message came that this load did not send")?;
            consumed.tally.add(stamp.producer, stamp.number);
            consumed.tally.corrupt += u64::from(!coming.is_as_sent());
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
        let (head, rest) = body.split_at(body.len().min(CHECKED_LEN - self.head_len));
        self.head[self.head_len..self.head_len + head.len()].copy_from_slice(head);
        self.head_len += head.len();
        if let Some(behind) = &mut self.behind {
            behind.update(rest);
        }
        self.left = self.left.saturating_sub(body.len() as u64);
    }

    /// Whether the checksum is right, if there is one.
    fn is_as_sent(&self) -> bool {
        let (stamp, kept) = self.head.split_at(TIMED_LEN);
        self.behind.as_ref().is_none_or(|behind| checksum(stamp, behind) == kept)
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
