//! One AMQP client: handshake, session, goodbye. The only place where frames meet the broker.
//!
//! Two tasks a connection: the reader, which owns the channels and calls the broker, and the
//! writer, which owns the socket's other half. Between them, and between queues and writer, is the
//! outbox.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod blocking;
mod channel;
mod close;
mod handshake;
mod orders;
mod outbox;
mod peer;
mod reader;
mod resting;
mod session;
mod timeouts;
mod view;
mod writer;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::watch;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::Instrument;

use self::blocking::{Blocking, brings_messages};
use self::close::Failure;
use self::handshake::{Agreed, Handshake, has_capability};
use self::orders::Orders;
use self::outbox::Outbox;
use self::peer::Peer;
use self::reader::Reader;
use self::session::{Session, Step};
use self::view::View;
use self::writer::Writer;
use crate::broker::auth::Actor;
use crate::broker::counters::one_more;
use crate::broker::event::Event;
use crate::broker::link::LinkState;
use crate::broker::registry::ConnectionInfo;
use crate::broker::timers::now_ms;
use crate::broker::{Broker, ConnectionId};
use crate::protocol::frame::FrameKind;
use crate::protocol::generated::{ConnectionCloseOk, Method};
use crate::store::StoreState;

/// How long the socket is left to a client that has closed its connection. Rule of courtesy:
/// whoever asked for the end closes first, so that no client takes the end of the stream for a
/// failure.
const HANG_UP_WAIT: Duration = Duration::from_secs(1);

/// How long a client may take to answer the broker's close, and to read what is still to be
/// written.
const GOODBYE_WAIT: Duration = Duration::from_secs(3);

/// After so long over what one read brought, others have their turn. The runtime would see to that
/// only after many reads; and the writer that was woken here last runs when this task pauses.
const TURN_MAX: Duration = Duration::from_millis(2);

/// Limits and offers of every connection.
#[derive(Debug, Clone)]
pub struct ConnectionSettings {
    /// Largest frame, in bytes with its head and end; offered to clients, which may lower it to
    /// 4096.
    pub frame_max_bytes: u32,
    /// Most channels of a connection.
    pub channel_max: u16,
    /// Interval of heartbeats that is proposed to clients; they decide. 0 is none.
    pub heartbeat_seconds: u16,
    pub handshake_timeout_seconds: u16,
    /// Largest body, in bytes.
    pub message_size_max_bytes: u64,
    pub consumers_per_channel_max: usize,
    /// How long a consumer may take to settle a delivery if neither it nor its queue says; 0 is no
    /// limit.
    pub consumer_timeout_ms: u64,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            frame_max_bytes: 131_072,
            channel_max: 2047,
            heartbeat_seconds: 60,
            handshake_timeout_seconds: 10,
            message_size_max_bytes: 128 * 1024 * 1024,
            consumers_per_channel_max: 65_535,
            consumer_timeout_ms: 0,
        }
    }
}

/// Serves one client until it is gone, or until `stop` becomes true: then it is told 320 and let
/// go.
pub async fn serve(
    socket: TcpStream,
    peer: SocketAddr,
    broker: Arc<Broker>,
    settings: Arc<ConnectionSettings>,
    stop: watch::Receiver<bool>,
) {
    let Ok(local) = socket.local_addr() else { return };
    let handshake = Handshake::new(socket, peer, &broker, &settings);
    let Some((agreed, reader)) = handshake.run().await else { return };
    let id = broker.next_connection_id();
    let span = tracing::info_span!("connection", %peer, user = agreed.user.name);
    let view = Arc::new(View::default());
    let info = info_of(id, (peer, local), &agreed, &view);
    one_more(&broker.churn().connections_created);
    broker.events.mention(None, || Event::connection("connection.created", &info));
    let orders = Orders::new(stop, broker.registry.add(info), &agreed.vhost);
    let actor = Actor { user: Arc::clone(&agreed.user), connection: id, peer };
    let mut served = Connection::begin(actor, agreed, reader, view, &broker, &settings, orders);
    // Lent, not given: a future that is given something keeps room for it twice.
    served.run().instrument(span).await;
}

fn info_of(
    id: ConnectionId,
    (peer, local): (SocketAddr, SocketAddr),
    agreed: &Agreed,
    view: &Arc<View>,
) -> ConnectionInfo {
    ConnectionInfo {
        id,
        peer,
        local,
        user: agreed.user.name.clone(),
        vhost: agreed.vhost.name.to_string(),
        client_properties: agreed.client_properties.clone(),
        channel_max: agreed.channel_max,
        frame_max: agreed.frame_max,
        heartbeat_seconds: agreed.heartbeat_seconds,
        mechanism: agreed.mechanism.to_string(),
        connected_at_ms: now_ms(),
        link: Arc::clone(view) as Arc<_>,
    }
}

/// Why a session ended.
enum Ended {
    /// The socket is gone.
    Gone,
    /// The client closed the connection.
    ByClient,
    /// The client has to be told. `lost` says that its bytes can't be read as frames any more.
    Failed { failure: Failure, lost: bool },
}

struct Connection {
    reader: Reader<OwnedReadHalf>,
    writer: JoinHandle<()>,
    session: Session,
    outbox: Arc<Outbox>,
    store_state: watch::Receiver<StoreState>,
    blocking: Blocking,
    orders: Orders,
    /// The client is taken for dead when it was silent for so long.
    silence_max: Option<Duration>,
    last_read: Instant,
}

impl Connection {
    fn begin(
        actor: Actor,
        agreed: Agreed,
        reader: Reader<TcpStream>,
        view: Arc<View>,
        broker: &Arc<Broker>,
        settings: &ConnectionSettings,
        orders: Orders,
    ) -> Self {
        let outbox = Arc::clone(&view.outbox);
        let tell_cancelled = has_capability(&agreed.client_properties, "consumer_cancel_notify");
        let can_be_told = has_capability(&agreed.client_properties, "connection.blocked");
        let blocking = Blocking::new(broker.alarms(), Arc::clone(&outbox), can_be_told);
        let heartbeat = match agreed.heartbeat_seconds {
            0 => None,
            seconds => Some(Duration::from_secs(u64::from(seconds))),
        };
        let (reader, write_half) = reader.into_split();
        // Rule: one is sent after half the interval of silence; two intervals of silence are the
        // end.
        let half = heartbeat.and_then(|interval| interval.checked_div(2));
        let writer = Writer::new(write_half, Arc::clone(&view), agreed.frame_max, half);
        let writer = Arc::new(writer);
        let peer = Peer::new(
            Arc::clone(broker),
            agreed.vhost,
            actor,
            view,
            Arc::clone(&writer),
            settings,
            tell_cancelled,
        );
        Self {
            reader,
            writer: tokio::spawn(writer.run()),
            session: Session::new(peer, agreed.channel_max, agreed.admission),
            outbox,
            store_state: broker.store_state(),
            blocking,
            orders,
            silence_max: heartbeat.map(|interval| interval.saturating_mul(2)),
            last_read: Instant::now(),
        }
    }
}

impl Connection {
    async fn run(&mut self) {
        tracing::info!("connection opened");
        let ended = self.read_until_end().await;
        self.view().set_state(LinkState::Closing);
        self.session.close();
        match ended {
            Ended::Gone => tracing::info!("connection lost"),
            Ended::ByClient => {
                tracing::info!("connection closed by the client");
                self.outbox.put_method(0, ConnectionCloseOk);
                let _ = timeout(HANG_UP_WAIT, self.wait_for_hang_up()).await;
            }
            Ended::Failed { failure, lost } => {
                tracing::warn!("connection closed: {}", failure.text);
                self.outbox.put_method(0, failure.connection_close());
                let _ = timeout(GOODBYE_WAIT, self.wait_for_close_ok(lost)).await;
            }
        }
        self.outbox.end();
        // It may have ended before, and been waited for: then there is nothing to wait for again.
        if !self.writer.is_finished() && timeout(GOODBYE_WAIT, &mut self.writer).await.is_err() {
            self.writer.abort();
        }
    }

    fn view(&self) -> &View {
        &self.session.peer.view
    }

    async fn read_until_end(&mut self) -> Ended {
        loop {
            let begin = Instant::now();
            self.session.peer.read_at = begin.into_std();
            if let Some(ended) = self.handle_frames().await {
                return ended;
            }
            self.session.peer.flush();
            if begin.elapsed() > TURN_MAX {
                yield_now().await;
            }
            // A client that never pauses is told, too.
            if let Some(failure) = self.orders.ended() {
                return Ended::Failed { failure, lost: false };
            }
            if let Some(ended) = self.wait_for_room().await {
                return ended;
            }
            if let Some(ended) = self.wait_for_bytes().await {
                return ended;
            }
        }
    }

    /// Handles what was read, as far as it is whole.
    async fn handle_frames(&mut self) -> Option<Ended> {
        // Once a read: the few messages that come after it are what the reserve is for.
        let is_alarm = self.blocking.is_on();
        self.session.peer.is_tracing = self.session.peer.tracer.is_on();
        loop {
            if is_alarm && let Some(ended) = self.hold_publishes().await {
                return Some(ended);
            }
            if let Err(ended) = self.handle_publishes() {
                return Some(ended);
            }
            let frame = match self.reader.frame() {
                Ok(None) => return None,
                Ok(Some(frame)) => frame,
                Err(error) => return Some(Ended::Failed { failure: error.into(), lost: true }),
            };
            match self.session.frame(frame).await {
                Ok(Step::Continue) => self.reader.advance(),
                Ok(Step::Closed) => return Some(Ended::ByClient),
                Err(failure) => return Some(Ended::Failed { failure, lost: false }),
            }
        }
    }

    /// Handles the parts of publishes that come next. Most frames are such and none of them waits:
    /// so they are spared what a step costs that may.
    fn handle_publishes(&mut self) -> Result<(), Ended> {
        loop {
            let frame = match self.reader.frame() {
                Ok(None) => return Ok(()),
                Ok(Some(frame)) => frame,
                Err(error) => return Err(Ended::Failed { failure: error.into(), lost: true }),
            };
            match self.session.message_frame(&frame) {
                None => return Ok(()),
                Some(Ok(())) => self.reader.advance(),
                Some(Err(failure)) => return Err(Ended::Failed { failure, lost: false }),
            }
        }
    }

    /// Rests if the next frame is a part of a publish.
    async fn hold_publishes(&mut self) -> Option<Ended> {
        let has_published = self.session.peer.has_published;
        match self.reader.frame() {
            Ok(Some(frame)) if brings_messages(&frame, has_published) => {
                self.wait_out_alarms().await
            }
            _ => None,
        }
    }

    /// Rests while there is an alarm: nothing is read, not even heartbeats, which therefore
    /// aren't missed. Deliveries and the broker's own heartbeats go on.
    async fn wait_out_alarms(&mut self) -> Option<Ended> {
        if !self.blocking.is_on() {
            return None;
        }
        tracing::info!("a publisher is held back until the alarms are over");
        // What came before it takes effect, and is confirmed.
        self.session.peer.flush();
        self.view().set_state(LinkState::Blocked);
        self.blocking.tell(true);
        let since = self.session.peer.timeouts.stand_still();
        let ended = tokio::select! {
            biased;
            failure = self.orders.end() => Some(Ended::Failed { failure, lost: false }),
            _ = &mut self.writer => Some(Ended::Gone),
            () = self.reader.hung_up() => Some(Ended::Gone),
            () = self.blocking.over() => None,
        };
        self.session.peer.timeouts.go_on(since);
        self.view().set_state(LinkState::Running);
        // What was held takes as long as it does from now on.
        self.session.peer.read_at = Instant::now().into_std();
        self.blocking.tell(true);
        ended
    }

    /// Rests while the client doesn't read its replies or the store has more than it can write:
    /// what isn't read here is held back by TCP at the client.
    async fn wait_for_room(&mut self) -> Option<Ended> {
        let is_congested = *self.store_state.borrow() == StoreState::Congested;
        if is_congested {
            self.view().set_state(LinkState::Flow);
        }
        let room = async {
            self.outbox.wait_for_room().await;
            let is_open = |state: &StoreState| *state != StoreState::Congested;
            // The store going away is told by its answers.
            let _ = self.store_state.wait_for(is_open).await;
        };
        let since = self.session.peer.timeouts.stand_still();
        let ended = tokio::select! {
            biased;
            () = room => None,
            _ = &mut self.writer => Some(Ended::Gone),
            failure = self.orders.end() => Some(Ended::Failed { failure, lost: false }),
        };
        self.session.peer.timeouts.go_on(since);
        if is_congested {
            self.view().set_state(LinkState::Running);
        }
        ended
    }

    async fn wait_for_bytes(&mut self) -> Option<Ended> {
        self.view().received.bytes.set(self.reader.received_bytes);
        self.view().received.count.set(self.reader.received_count);
        self.last_read = Instant::now();
        let deadline = self.silence_max.and_then(|silence| self.last_read.checked_add(silence));
        let mut silence = pin!(until(deadline));
        loop {
            let due = self.session.peer.timeouts.due();
            if due.is_some_and(|due| due <= Instant::now())
                && let Err(failure) = self.session.end_overdue()
            {
                return Some(Ended::Failed { failure, lost: false });
            }
            self.blocking.tell(self.session.peer.has_published);
            return tokio::select! {
                biased;
                read = self.reader.fill() => match read {
                    Ok(true) => None,
                    Ok(false) | Err(_) => Some(Ended::Gone),
                },
                failure = self.orders.end() => Some(Ended::Failed { failure, lost: false }),
                _ = &mut self.writer => Some(Ended::Gone),
                () = self.blocking.changed() => continue,
                () = until(self.session.peer.timeouts.due()) => continue,
                () = silence.as_mut() => {
                    tracing::warn!("missed heartbeats from the client");
                    Some(Ended::Gone)
                }
            };
        }
    }

    async fn wait_for_hang_up(&mut self) {
        while self.reader.fill().await.unwrap_or(false) {
            self.reader.discard();
        }
    }

    /// Reads on until the client has answered a close; everything else is dropped.
    async fn wait_for_close_ok(&mut self, lost: bool) {
        loop {
            if lost {
                self.reader.discard();
            }
            while let Ok(Some(frame)) = self.reader.frame() {
                if frame.kind == FrameKind::Method && frame.channel == 0 {
                    match Method::decode(&frame.shared_payload()) {
                        Ok(Method::ConnectionCloseOk(_)) => return,
                        Ok(Method::ConnectionClose(_)) => {
                            self.outbox.put_method(0, ConnectionCloseOk);
                        }
                        _ => {}
                    }
                }
                self.reader.advance();
            }
            if !self.reader.fill().await.unwrap_or(false) {
                return;
            }
        }
    }
}

/// However a connection ends, its queues get back what it held: also when its task is torn down.
impl Drop for Connection {
    fn drop(&mut self) {
        self.writer.abort();
        self.session.close();
        self.outbox.give_back();
        let Peer { broker, actor, .. } = &self.session.peer;
        if let Some(info) = broker.registry.remove(actor.connection) {
            one_more(&broker.churn().connections_closed);
            broker.events.mention(None, || Event::connection("connection.closed", &info));
        }
    }
}

/// Waits until then; for ever, if there is no such time.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
