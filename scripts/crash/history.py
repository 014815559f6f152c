"""What clients did and saw before a crash, and what has to be true after it.

The invariants, by the numbers that the scripts print:
  I1  a confirmed persistent message is in its queue, or a client settled it there
  I2  nothing is there that was never published, and bodies are whole
  I3  a message whose ack was written does not come back
  I4  the messages of one publisher are in order
  I5  what was delivered before comes with the redelivered flag
  I6  what was declared is there, what was deleted isn't, a new queue has no old messages
  I7  the counts are those of the messages
  I8  a second restart changes nothing
  I9  no start complains of damage: what a crash tears was never confirmed
and "all or nothing": a message for several queues, a transaction, a dead-letter move.
"""

import threading
import time

FANOUT = ("fan.a", "fan.b")
TRANSACTION = ("tx.a", "tx.b")
WORK, DEAD, LONG = "work", "dead", "long"
QUEUES = (*FANOUT, *TRANSACTION, WORK, DEAD, LONG)

# An ack is written with the next batch or within 20 ms; a machine under load gets some more.
ACK_WRITTEN_SECONDS = 1.5


def body_of(name, size):
    """A body that says what it has to be."""
    head = f"{name}:{size}|".encode()
    return head + (head * (size // len(head) + 1))[:size]


def name_in(body):
    """The name in a body, or None when it isn't one that was made by `body_of`."""
    head = body.split(b"|", 1)[0].decode(errors="replace")
    name, _, size = head.rpartition(":")
    return name if size.isdigit() and body == body_of(name, int(size)) else None


class Message:
    def __init__(self, queues, persistent):
        self.queues = queues
        self.persistent = persistent
        self.confirmed = False
        # By queue: when a client sent its end.
        self.acked = {}
        self.rejected = False
        self.delivered = set()

    def must_survive(self):
        return self.persistent and self.confirmed


class TooLate(OSError):
    """An answer that came after the kill began."""


class History:
    """Shared by all clients of a run, under one lock."""

    def __init__(self):
        self.lock = threading.Lock()
        self.killing = False
        self.messages = {}
        self.transactions = {}
        self.errors = []
        self.confirmed_count = 0

    def error(self, text):
        self.errors.append(text)

    def require_alive(self):
        """An answer counts only if it was there before the kill began. Between the end of the disk and
        that of the broker a kernel may say of a file that it is synced when it can't be any more; a
        machine without power says nothing at all."""
        if self.killing:
            raise TooLate

    def publish(self, name, queues, persistent):
        with self.lock:
            self.messages[name] = Message(queues, persistent)

    def confirm(self, names):
        with self.lock:
            self.require_alive()
            for name in names:
                self.messages[name].confirmed = True
                self.confirmed_count += 1

    def deliver(self, queue, body, redelivered):
        """Notes a delivery; answers the name of the message."""
        name = name_in(body)
        with self.lock:
            message = self.messages.get(name)
            if message is None:
                self.error(f"I2: {queue} has {body[:60]!r}, which was never published")
                return None
            if queue not in message.queues and not (queue == DEAD and message.rejected):
                self.error(f"I2: {name} is in {queue}, it was for {message.queues}")
            if queue in message.delivered and not redelivered:
                self.error(f"I5: {name} came again from {queue} without the redelivered flag")
            message.delivered.add(queue)
        return name

    def ack(self, queue, name):
        with self.lock:
            self.messages[name].acked[queue] = time.monotonic()

    def reject(self, name):
        with self.lock:
            self.messages[name].rejected = True

    def check(self, found, killed_at):
        """Compares with what the queues hold: lists of names, by queue. What is true after a crash is
        then what is there."""
        there = {queue: set(names) for queue, names in found.items()}
        for queue, names in found.items():
            if len(names) != len(there[queue]):
                self.error(f"I2: a message is in {queue} twice")
            if queue != DEAD:
                self.check_order(queue, names)
        for name, message in list(self.messages.items()):
            self.check_message(name, message, there, killed_at)
        self.check_transactions(there)

    def check_order(self, queue, names):
        last = {}
        for name in names:
            publisher, number = name.split(":")[:2]
            if int(number) < last.get(publisher, -1):
                self.error(f"I4: {name} is behind {last[publisher]} in {queue}")
            last[publisher] = int(number)

    def check_message(self, name, message, there, killed_at):
        is_in = [queue for queue in QUEUES if name in there[queue]]
        for queue in is_in:
            sent = message.acked.get(queue)
            if sent is not None and sent < killed_at - ACK_WRITTEN_SECONDS:
                self.error(f"I3: {name} is in {queue} again, {killed_at - sent:.2f} s after its ack")
        if message.rejected and WORK in is_in and DEAD in is_in:
            self.error(f"a move is not whole: {name} is in {WORK} and in {DEAD}")
        if message.must_survive():
            for queue in message.queues:
                at = (WORK, DEAD) if queue == WORK and message.rejected else (queue,)
                if not any(place in is_in or place in message.acked for place in at):
                    self.error(f"I1: {name}, confirmed, is not in {' or '.join(at)}")
        elif message.queues == FANOUT and not message.acked and message.persistent and len(is_in) == 1:
            self.error(f"{name} is in {is_in[0]} only, it was for {FANOUT}")
        self.go_on_from(name, message, is_in)

    def go_on_from(self, name, message, is_in):
        """From here on this is how it is."""
        if not is_in:
            del self.messages[name]
            return
        message.queues = tuple(is_in)
        # Where it was delivered from before its move was on disk it has never been.
        message.delivered &= set(is_in)
        message.rejected = DEAD in is_in
        message.acked = {}
        message.confirmed = message.persistent = True

    def check_transactions(self, there):
        for number, (names, committed) in self.transactions.items():
            count = sum(name in there[queue] for name in names for queue in TRANSACTION)
            expected = (len(names) * len(TRANSACTION),) if committed else (0, len(names) * len(TRANSACTION))
            if count not in expected:
                self.error(f"transaction {number}: {count} of {expected[-1]} messages are there")
        self.transactions.clear()
