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
    /// By queue.
    pub(super) tallies: Vec<Tally>,
    pub(super) latency: Histogram<u64>,
}

pub(super) struct Consumer {
    link: Link,
    queues: usize,
    ack_every: u64,
    size: usize,
    checksum: bool,
}

/// The message that is coming in.
#[derive(Default)]
struct Coming {
    tag: u64,
    /// Which of the consumer's queues it is from.
    queue: usize,
    left: u64,
    head: [u8; CHECKED_LEN],
    head_len: usize,
    /// Of what is behind the head, when there are checksums.
    behind: Option<Hasher>,
}

impl Consumer {
    /// Consumes from all of these queues; the tag says which of them.
    pub(super) fn open(target: &Target, plan: &Plan, queues: &[ShortStr]) -> Result<Self, Failure> {
        let mut link = Link::open(target)?;
        if plan.prefetch > 0 {
            link.call(1, BasicQos { prefetch_count: plan.prefetch, ..BasicQos::default() })?;
        }
        let no_ack = plan.ack_every == 0;
        let consume = |(number, queue): (usize, &ShortStr)| {
            let consumer_tag = ShortStr::try_from(number.to_string().as_str());
            let (queue, consumer_tag) = (queue.clone(), consumer_tag.expect("it is short"));
            BasicConsume { queue, consumer_tag, no_ack, ..BasicConsume::default() }
        };
        link.call_all(1, queues.iter().enumerate().map(consume))?;
        link.set_read_timeout(LOOK)?;
        let Plan { ack_every, size, checksum, .. } = *plan;
        Ok(Self { link, queues: queues.len(), ack_every, size, checksum })
    }

    /// Consumes until all of the queues' messages have come.
    pub(super) fn run(
        mut self,
        queues: &QueueCount,
        progress: &Progress,
    ) -> Result<Consumed, Failure> {
        let tallies = (0..self.queues).map(|_| Tally::default()).collect();
        let mut consumed = Consumed { tallies, latency: histogram() };
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
            queues.came(count);
            if queues.is_complete() {
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
                    if queues.is_waited_for() && heard.elapsed() > SILENCE_MAX {
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
                    let (queue, tag) = delivery_tags(frame.payload)?;
                    let behind = self.checksum.then(Hasher::new);
                    *coming = Coming { tag, queue, behind, ..Coming::default() };
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
            let tally = consumed.tallies.get_mut(coming.queue).ok_or("a consumer tag not ours")?;
            tally.add(stamp.producer, stamp.number);
            tally.corrupt += u64::from(!coming.is_as_sent());
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

/// Of basic.deliver: class, method, the consumer's tag, which is its queue's number, then that of
/// the delivery.
fn delivery_tags(payload: &[u8]) -> Result<(usize, u64), Failure> {
    let id = [BasicDeliver::CLASS_ID.to_be_bytes(), BasicDeliver::METHOD_ID.to_be_bytes()].concat();
    let rest = payload.strip_prefix(id.as_slice());
    let tags = rest.and_then(|rest| {
        let (len, rest) = rest.split_first()?;
        let (consumer, rest) = rest.split_at_checked(usize::from(*len))?;
        let queue = std::str::from_utf8(consumer).ok()?.parse().ok()?;
        Some((queue, u64::from_be_bytes(*rest.first_chunk()?)))
    });
    match tags {
        Some(tags) => Ok(tags),
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
