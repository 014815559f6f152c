//! An open connection's inside: its channels, and where each frame goes.
//!
//! Owned by the connection's reader. After an error on a channel its frames are dropped until the
//! client has answered the close.

use std::collections::BTreeMap;

use super::blocking::BASIC_PUBLISH;
use super::channel::Channel;
use super::close::{Failure, MethodId};
use super::peer::Peer;
use crate::broker::limit::{Admission, Place};
use crate::protocol::frame::{Frame, FrameKind};
use crate::protocol::generated::{BasicPublish, ChannelCloseOk, ConnectionUpdateSecretOk, Method};
use crate::protocol::reply::ReplyCode;

/// How the connection goes on after a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Continue,
    /// The client closed the connection.
    Closed,
}

enum Slot {
    Open {
        channel: Box<Channel>,
        /// Among the user's channels.
        _place: Place,
    },
    /// The broker has closed it and waits for the answer.
    Closing,
}

pub(super) struct Session {
    pub(super) peer: Peer,
    channels: BTreeMap<u16, Slot>,
    channel_max: u16,
    /// Until it is closed.
    admission: Option<Admission>,
}

impl Session {
    pub(super) fn new(peer: Peer, channel_max: u16, admission: Admission) -> Self {
        Self { peer, channels: BTreeMap::new(), channel_max, admission: Some(admission) }
    }

    /// Handles a frame that is not a part of a publish. An error is one that ends the connection.
    pub(super) async fn frame(&mut self, frame: Frame<'_>) -> Result<Step, Failure> {
        match (frame.kind, frame.channel) {
            (FrameKind::Heartbeat, _) => Ok(Step::Continue),
            (FrameKind::Method, 0) => {
                self.connection_method(&Method::decode(&frame.shared_payload())?)
            }
            (_, 0) => Err(Failure::new(
                ReplyCode::UnexpectedFrame,
                "expected method frame on channel 0, got content frame instead",
            )),
            _ => self.channel_frame(frame).await.map(|()| Step::Continue),
        }
    }

    fn connection_method(&mut self, method: &Method) -> Result<Step, Failure> {
        match method {
            Method::ConnectionClose(_) => Ok(Step::Closed),
            // The answer to a close of ours that a client's own close has crossed.
            Method::ConnectionCloseOk(_) => Ok(Step::Continue),
            Method::ConnectionUpdateSecret(_) => self.connection_update_secret(),
            other => Err(Failure::new(
                ReplyCode::ChannelError,
                format!("unexpected method '{}' in connection state running", other.name()),
            )
            .by(other.into())),
        }
    }

    /// Rule: a new secret is checked against what the user may do now. Passwords don't expire here,
    /// so that the user and its vhost are what there is to check.
    fn connection_update_secret(&self) -> Result<Step, Failure> {
        let Peer { broker, vhost, actor, outbox, .. } = &self.peer;
        broker.open_vhost(&vhost.name, &actor.user)?;
        outbox.put_method(0, ConnectionUpdateSecretOk);
        Ok(Step::Continue)
    }

    /// Handles a part of a publish on an open channel, which never waits; answers nothing to
    /// others.
    #[inline]
    pub(super) fn message_frame(&mut self, frame: &Frame<'_>) -> Option<Result<(), Failure>> {
        let Slot::Open { channel, .. } = self.channels.get_mut(&frame.channel)? else {
            return None;
        };
        let done = match frame.kind {
            FrameKind::Body => channel.body(frame, &mut self.peer),
            FrameKind::Header => channel.header(frame, &mut self.peer),
            FrameKind::Method if frame.payload.starts_with(&BASIC_PUBLISH) => {
                let by =
                    MethodId { class: BasicPublish::CLASS_ID, method: BasicPublish::METHOD_ID };
                channel.publish(frame).map_err(|failure| failure.by(by))
            }
            FrameKind::Method | FrameKind::Heartbeat => return None,
        };
        Some(done.or_else(|failure| self.fail_channel(frame.channel, failure)))
    }

    async fn channel_frame(&mut self, frame: Frame<'_>) -> Result<(), Failure> {
        let number = frame.channel;
        match self.channels.get_mut(&number) {
            None => self.frame_on_unopened(&frame),
            Some(Slot::Closing) => {
                self.frame_on_closing(&frame);
                Ok(())
            }
            Some(Slot::Open { channel, .. }) => {
                let method = Method::decode(&frame.shared_payload())?;
                let by = MethodId::from(&method);
                if let Method::ChannelClose(_) = method {
                    self.close_channel(number);
                    self.peer.outbox.put_method(number, ChannelCloseOk);
                    return Ok(());
                }
                match channel.method(method, &mut self.peer).await {
                    Err(failure) => self.fail_channel(number, failure.by(by)),
                    Ok(()) => Ok(()),
                }
            }
        }
    }

    /// A soft failure closes the channel; a hard one is passed on.
    fn fail_channel(&mut self, number: u16, failure: Failure) -> Result<(), Failure> {
        if failure.code.is_hard() {
            return Err(failure);
        }
        tracing::info!(channel = number, "channel closed: {}", failure.text);
        self.close_channel(number);
        self.peer.outbox.put_method(number, failure.channel_close());
        self.channels.insert(number, Slot::Closing);
        Ok(())
    }

    fn frame_on_unopened(&mut self, frame: &Frame<'_>) -> Result<(), Failure> {
        let expected_open = || Failure::new(ReplyCode::ChannelError, "expected 'channel.open'");
        if frame.kind != FrameKind::Method {
            return Err(expected_open());
        }
        match Method::decode(&frame.shared_payload())? {
            Method::ChannelOpen(_) => self.open_channel(frame.channel),
            // The answer to a close that the client's own close has crossed.
            Method::ChannelCloseOk(_) => Ok(()),
            other => Err(expected_open().by((&other).into())),
        }
    }

    fn open_channel(&mut self, number: u16) -> Result<(), Failure> {
        let open = self.channels.len();
        if open >= usize::from(self.channel_max) || number > self.channel_max {
            let text = format!(
                "number of channels opened ({open}) has reached the negotiated channel_max ({})",
                self.channel_max
            );
            return Err(Failure::new(ReplyCode::NotAllowed, text));
        }
        let place = self.peer.actor.user.open_channel()?;
        let channel = Box::new(Channel::open(number, &self.peer));
        self.channels.insert(number, Slot::Open { channel, _place: place });
        Ok(())
    }

    /// Rule: between the broker's close and the client's close-ok nothing else is looked at.
    fn frame_on_closing(&mut self, frame: &Frame<'_>) {
        if frame.kind != FrameKind::Method {
            return;
        }
        match Method::decode(&frame.shared_payload()) {
            Ok(Method::ChannelCloseOk(_)) => drop(self.channels.remove(&frame.channel)),
            Ok(Method::ChannelClose(_)) => {
                self.peer.outbox.put_method(frame.channel, ChannelCloseOk);
            }
            _ => {}
        }
    }

    /// Ends consumers that have had something for too long.
    pub(super) fn end_overdue(&mut self) -> Result<(), Failure> {
        let now = self.peer.timeouts.now();
        let (mut shortest, mut failed) = (None, Vec::new());
        for (number, slot) in &mut self.channels {
            let Slot::Open { channel, .. } = slot else { continue };
            match channel.end_overdue(now, &self.peer) {
                Ok(timeout) => shortest = shortest.into_iter().chain(timeout).min(),
                Err(failure) => failed.push((*number, failure)),
            }
        }
        self.peer.timeouts.look_again(shortest);
        failed.into_iter().try_for_each(|(number, failure)| self.fail_channel(number, failure))
    }

    fn close_channel(&mut self, number: u16) {
        self.peer.flush();
        if let Some(Slot::Open { mut channel, .. }) = self.channels.remove(&number) {
            channel.close(&mut self.peer);
        }
    }

    /// Ends all channels, deletes the connection's exclusive queues, and makes room for another
    /// connection.
    pub(super) fn close(&mut self) {
        self.peer.flush();
        for slot in std::mem::take(&mut self.channels).into_values() {
            if let Slot::Open { mut channel, .. } = slot {
                channel.close(&mut self.peer);
            }
        }
        self.peer.vhost.delete_exclusive_queues(self.peer.actor.connection);
        self.admission = None;
    }
}
