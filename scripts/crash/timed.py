"""Messages that die, come back later or were published for later, and what has to be true of them after
a crash:

  T1  a confirmed message that nobody acked is in exactly one queue of its chain: a move is not split
  T2  nothing comes before its time, neither a retry nor what was published for later
  T3  x-delivery-count never goes down, and never above the limit; what was told just before the kill may be
      forgotten
and I3 and I5 as in history.py.

The chain: every message dies of age twice, then of a queue that holds only a few, and ends in the last.
The retries: rejected again and again, each time later, until the delivery limit. The exchange: delays of
up to a second and a half.
"""

import itertools
import time

import pika

from .history import ACK_WRITTEN_SECONDS, body_of, name_in
from .load import GONE, Confirms, connect

CHAIN = ("chain.1", "chain.2", "chain.3", "chain.end")
CHAIN_TTL_MS, CHAIN_LENGTH_MAX = (300, 150), 10
RETRY, RETRY_DEAD = "retry", "retry.dead"
RETRY_MIN_MS, RETRY_MAX_MS, RETRY_LIMIT = 60, 400, 5
LATER, LATER_EXCHANGE, LATER_MAX_MS = "later", "crash.later", 1500

# What is due comes within this time, on a machine under load, too.
SECONDS_LATE_MAX = 15

# The broker's clock is read in whole milliseconds.
CLOCK_SECONDS = 0.001


class Tracked:
    """A message on its way; times are of the wall clock, but for those that end in `_at`."""

    def __init__(self, queues, not_before):
        self.queues = queues
        self.not_before = not_before
        self.confirmed = False
        self.acked_at = None
        self.delivered_at = None
        self.count = 0


class Timed:
    """All of it; shared by the clients of a run, under the history's lock."""

    def __init__(self, history):
        self.history = history
        self.messages = {}
        self.numbers = itertools.count()
        self.killed_at = 0

    def declare(self, broker):
        with connect(broker) as connection:
            channel = connection.channel()

            def declare(queue, dead_letter_to=None, **arguments):
                arguments = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
                if dead_letter_to is not None:
                    arguments |= {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead_letter_to}
                channel.queue_declare(queue, durable=True, arguments=arguments)

            declare(CHAIN[0], CHAIN[1], message_ttl=CHAIN_TTL_MS[0])
            declare(CHAIN[1], CHAIN[2], message_ttl=CHAIN_TTL_MS[1])
            declare(CHAIN[2], CHAIN[3], max_length=CHAIN_LENGTH_MAX)
            declare(CHAIN[3])
            waits = {"delayed_retry_min": RETRY_MIN_MS, "delayed_retry_max": RETRY_MAX_MS}
            declare(RETRY, RETRY_DEAD, delayed_retry_type="all", delivery_limit=RETRY_LIMIT, **waits)
            declare(RETRY_DEAD)
            declare(LATER)
            arguments = {"x-delayed-type": "direct"}
            channel.exchange_declare(LATER_EXCHANGE, "x-delayed-message", durable=True, arguments=arguments)
            channel.queue_bind(LATER, LATER_EXCHANGE, LATER)

    def confirm(self, names):
        with self.history.lock:
            self.history.require_alive()
            for name in names:
                self.messages[name].confirmed = True
                self.history.confirmed_count += 1

    def publish(self, broker, history, chance):
        try:
            connection = connect(broker)
            channel = connection.channel()
            confirms = Confirms(channel, self)
            while True:
                self.publish_one(channel, confirms, chance)
                while len(confirms.waiting) >= 20:
                    connection.process_data_events(0.05)
        except GONE:
            return

    def publish_one(self, channel, confirms, chance):
        name = f"timed:{next(self.numbers)}"
        exchange, queues, delay_ms, headers = "", CHAIN, sum(CHAIN_TTL_MS), None
        kind = chance.randrange(3)
        if kind == 1:
            queues, delay_ms = (RETRY, RETRY_DEAD), 0
        elif kind == 2:
            exchange, queues, delay_ms = LATER_EXCHANGE, (LATER,), chance.randrange(1, LATER_MAX_MS)
            headers = {"x-delay": delay_ms}
        with self.history.lock:
            self.messages[name] = Tracked(queues, time.time() + delay_ms / 1000)
        confirms.add(name)
        properties = pika.BasicProperties(delivery_mode=2, headers=headers)
        body = body_of(name, chance.choice([0, 100, 2000]))
        channel.basic_publish(exchange, queues[0], body, properties)

    def delivered(self, queue, method, properties, body):
        """Checks a delivery; answers the message, if it is one."""
        now, name = time.time(), name_in(body)
        with self.history.lock:
            message, error = self.messages.get(name), self.history.error
            if message is None or queue not in message.queues:
                return error(f"I2: {queue} has {body[:60]!r}, which is not for it")
            if message.acked_at is not None and message.acked_at < self.killed_at - ACK_WRITTEN_SECONDS:
                error(f"I3: {name} is in {queue} again")
            message.acked_at = None
            if queue in (RETRY, LATER):
                if message.delivered_at is not None and not method.redelivered:
                    error(f"I5: {name} came again from {queue} without the redelivered flag")
                message.delivered_at = time.monotonic()
            if queue == RETRY:
                self.check_count(name, message, (properties.headers or {}).get("x-delivery-count", 0))
            if queue != RETRY_DEAD and now < message.not_before - CLOCK_SECONDS:
                error(f"T2: {name} came from {queue} {message.not_before - now:.4f} s too early")
        return message

    def check_count(self, name, message, count):
        if count > RETRY_LIMIT or count < message.count:
            self.history.error(f"T3: {name} counts {count} after {message.count}")
        if count <= message.count:
            # The kill came before its last return was written: then it need not wait.
            message.not_before = 0
        message.count = count

    def ack(self, channel, method, message):
        with self.history.lock:
            message.acked_at = time.monotonic()
        channel.basic_ack(method.delivery_tag)

    def fail(self, message):
        """From now on the message waits, longer each time."""
        wait_ms = min(RETRY_MAX_MS, RETRY_MIN_MS * (message.count + 1))
        message.not_before = time.time() + wait_ms / 1000

    def consume_retries(self, broker, history, chance):
        """Rejects most of what comes, and keeps some to be out when the broker is killed."""
        try:
            channel = connect(broker).channel()
            channel.basic_qos(prefetch_count=100)
            for method, properties, body in channel.consume(RETRY):
                message = self.delivered(RETRY, method, properties, body)
                how = chance.random()
                if message is None or how < 0.1:
                    continue
                if how < 0.25:
                    self.ack(channel, method, message)
                    continue
                self.fail(message)
                channel.basic_reject(method.delivery_tag, requeue=True)
        except GONE:
            return

    def consume_later(self, broker, history, chance):
        try:
            channel = connect(broker).channel()
            for method, properties, body in channel.consume(LATER):
                message = self.delivered(LATER, method, properties, body)
                if message is not None and chance.random() < 0.8:
                    self.ack(channel, method, message)
        except GONE:
            return

    def runs(self):
        return [self.publish, self.consume_retries, self.consume_later]

    def check(self, broker, killed_at):
        """Waits for everything that is on its way, and takes it. Answers how many there were."""
        found, self.killed_at = {}, killed_at
        with connect(broker) as connection:
            self.wait_for_chain(connection)
            for queue in (*CHAIN, RETRY_DEAD, RETRY, LATER):
                self.take_all(connection, queue, found)
        for name, message in list(self.messages.items()):
            queues = found.get(name, [])
            if len(queues) > 1:
                self.history.error(f"T1: {name} is in {queues}")
            if not queues and message.confirmed and message.acked_at is None:
                self.history.error(f"T1: {name}, confirmed, is in none of {message.queues}")
            if not queues:
                del self.messages[name]
        return len(found)

    def wait_for_chain(self, connection):
        channel = connection.channel()
        deadline = time.monotonic() + SECONDS_LATE_MAX
        while any(channel.queue_declare(queue, passive=True).method.message_count for queue in CHAIN[:2]):
            if time.monotonic() > deadline:
                return self.history.error(f"messages in {CHAIN[:2]} don't die")
            connection.process_data_events(0.05)
        channel.close()

    def take_all(self, connection, queue, found):
        """Takes what is there and what must still come. Every other retry goes on in the next round: it comes
        back with the channel, as failed."""
        kept = []
        channel, deadline = connection.channel(), time.monotonic() + SECONDS_LATE_MAX
        for method, properties, body in channel.consume(queue, inactivity_timeout=0.3):
            if method is not None:
                message = self.delivered(queue, method, properties, body)
                if message is not None:
                    found.setdefault(name_in(body), []).append(queue)
                    kept.append(message) if queue == RETRY and len(found) % 2 else self.ack(channel, method, message)
                continue
            missing = queue in (RETRY, LATER) and any(
                message.queues[0] == queue and message.confirmed and message.acked_at is None
                for name, message in self.messages.items()
                if name not in found
            )
            if not missing or time.monotonic() > deadline:
                break
        for message in kept:
            self.fail(message)
        channel.close()
