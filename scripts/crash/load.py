"""Clients that publish, consume, settle, declare and delete until the broker is gone."""

import itertools
import random

import pika

from .history import DEAD, FANOUT, LONG, TRANSACTION, WORK, body_of

GONE = (pika.exceptions.AMQPError, OSError)

# Most are small; one in many is larger than everything that is buffered together.
SIZES = [0, 10, 100, 100, 1000, 1000, 5000, 20_000, 100_000]
LARGE_SIZE, LARGE_ONE_IN = 1_000_000, 400

FAN_EXCHANGE = "crash.fan"


def connect(broker):
    return pika.BlockingConnection(pika.URLParameters(broker.url + "?heartbeat=0"))


def declare_all(broker):
    with connect(broker) as connection:
        channel = connection.channel()
        channel.exchange_declare(FAN_EXCHANGE, "fanout", durable=True)
        for queue in (*FANOUT, *TRANSACTION, DEAD, LONG):
            channel.queue_declare(queue, durable=True)
        dead_letter = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD}
        channel.queue_declare(WORK, durable=True, arguments=dead_letter)
        for queue in FANOUT:
            channel.queue_bind(queue, FAN_EXCHANGE)


class Confirms:
    """The names of publishes that wait for their confirm."""

    def __init__(self, channel, history):
        self.history, self.waiting, self.count = history, {}, 0
        # The callback interface confirms many at a time, as fast producers do.
        channel._impl.confirm_delivery(self.on_confirm)

    def add(self, name):
        self.count += 1
        self.waiting[self.count] = name

    def on_confirm(self, frame):
        method = frame.method
        tags = [method.delivery_tag]
        if method.multiple:
            tags = [tag for tag in self.waiting if tag <= method.delivery_tag]
        names = [self.waiting.pop(tag) for tag in tags]
        if isinstance(method, pika.spec.Basic.Ack):
            self.history.confirm(names)


class Publisher:
    """One of several; its numbers go on from round to round."""

    def __init__(self, name, sizes=None):
        self.name, self.numbers, self.sizes = name, itertools.count(), sizes

    def size(self, chance):
        if self.sizes:
            return chance.choice(self.sizes)
        return LARGE_SIZE if chance.randrange(LARGE_ONE_IN) == 0 else chance.choice(SIZES)

    def run(self, broker, history, chance):
        window = chance.choice([1, 20, 200])
        try:
            connection = connect(broker)
            channel = connection.channel()
            confirms = Confirms(channel, history)
            while True:
                self.publish(channel, history, confirms, chance)
                while len(confirms.waiting) >= window:
                    connection.process_data_events(0.05)
        except GONE:
            return

    def publish(self, channel, history, confirms, chance):
        name = f"{self.name}:{next(self.numbers)}"
        persistent = chance.random() < 0.8
        target = chance.choice([WORK, WORK, LONG, FANOUT])
        exchange, queues = (FAN_EXCHANGE, FANOUT) if target == FANOUT else ("", (target,))
        history.publish(name, queues, persistent)
        confirms.add(name)
        properties = pika.BasicProperties(delivery_mode=2 if persistent else 1)
        key = "" if target == FANOUT else target
        channel.basic_publish(exchange, key, body_of(name, self.size(chance)), properties)


class TransactionPublisher:
    """Commits a few messages to each of two queues at a time."""

    def __init__(self, name):
        self.name, self.numbers = name, itertools.count()

    def run(self, broker, history, chance):
        try:
            channel = connect(broker).channel()
            channel.tx_select()
            while True:
                names = [f"{self.name}:{next(self.numbers)}" for _ in range(chance.randrange(1, 6))]
                for name in names:
                    history.publish(name, TRANSACTION, True)
                with history.lock:
                    history.transactions[names[0]] = (names, False)
                for name in names:
                    for queue in TRANSACTION:
                        body = body_of(name, chance.choice([0, 50, 3000]))
                        channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2))
                channel.tx_commit()
                with history.lock:
                    history.require_alive()
                    history.transactions[names[0]] = (names, True)
                    for name in names:
                        history.messages[name].confirmed = True
        except GONE:
            return


def consume(broker, history, chance, queue):
    """Acks (single, several at once, out of order), requeues and rejects, and keeps some for itself."""
    try:
        channel = connect(broker).channel()
        channel.basic_qos(prefetch_count=chance.choice([1, 50, 300]))
        held, kept = [], []
        for method, _, body in channel.consume(queue, inactivity_timeout=0.1):
            if method is not None:
                name = history.deliver(queue, body, method.redelivered)
                if name is not None:
                    held.append((method.delivery_tag, name))
            if len(held) >= chance.choice([1, 5, 20]) or method is None:
                settle(channel, history, chance, queue, held, kept)
    except GONE:
        return


def settle(channel, history, chance, queue, held, kept):
    """Settles what is held, but for what is kept to be still out when the broker is killed."""
    while held:
        how = chance.random()
        if how < 0.2:
            # All at once, with what was kept. From here on they may be gone: the ack may or may not
            # arrive.
            last = max(tag for tag, _ in held)
            for tag, name in (*held, *kept):
                if tag <= last:
                    history.ack(queue, name)
            kept[:] = [(tag, name) for tag, name in kept if tag > last]
            channel.basic_ack(last, multiple=True)
            held.clear()
            return
        tag, name = held.pop(chance.randrange(len(held)))
        if how < 0.7:
            history.ack(queue, name)
            channel.basic_ack(tag)
        elif how < 0.8:
            channel.basic_nack(tag, requeue=True)
        elif how < 0.9 and queue == WORK:
            history.reject(name)
            channel.basic_reject(tag, requeue=False)
        else:
            kept.append((tag, name))


def started(seed, publishers, transactions, others, broker, history):
    """All clients of a round, each with a seed of its own, as things to run in threads."""
    seeds = random.Random(seed)

    def own():
        return random.Random(seeds.randrange(2**32))

    runs = [(publisher.run, (broker, history, own())) for publisher in (*publishers, *transactions)]
    runs += [(consume, (broker, history, own(), queue)) for queue in (WORK, FANOUT[0], DEAD)]
    runs += [(run, (broker, history, own())) for run in others]
    return runs
