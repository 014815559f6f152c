"""Messages through fanout, topic and headers exchanges, transactions and basic.get, all of them checked.

Each flow has queues of its own. Publishers keep a pace, so that it is the same load from the first minute to
the last.
"""

import itertools
import random
import threading
import time

import pika

from .ledger import Ledger

# Bursts a second of one publisher, and most messages of one.
BURSTS_PER_SECOND = 10
BURST_MAX = 20

# Publishes that wait for their confirm.
WINDOW = 200

SIZES = [0, 10, 100, 100, 1000, 1000, 1000, 5000, 20_000, 65_536]

# Longer than any soak: that nothing expires is part of what is checked.
TTL_MS = 24 * 3600 * 1000

# How long a consumer waits for a message before it looks whether it is time to go.
IDLE_SECONDS = 0.2

EXCHANGES = ("fanout", "topic", "headers")


def connect(url):
    return pika.BlockingConnection(pika.URLParameters(url + "?heartbeat=0"))


def properties_of(chance, headers=None):
    return pika.BasicProperties(
        delivery_mode=chance.choice([1, 2]),
        expiration=str(TTL_MS) if chance.random() < 0.2 else None,
        headers=headers,
    )


def dead_letters_of(queue):
    return f"{queue}.dead"


class Flow:
    """One exchange, two queues with all messages and with every other, each with one for its dead letters."""

    def __init__(self, url, kind, ledger):
        self.url, self.kind, self.ledger = url, kind, ledger
        self.exchange = f"soak.{kind}"
        self.queues = [f"soak.{kind}.all", f"soak.{kind}.even"]
        self.numbers = itertools.count()

    def declare(self):
        with connect(self.url) as connection:
            channel = connection.channel()
            channel.exchange_declare(self.exchange, self.kind, durable=True)
            for queue in self.queues:
                channel.queue_declare(dead_letters_of(queue), durable=True)
                arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead_letters_of(queue)}
                channel.queue_declare(queue, durable=True, arguments={**arguments, "x-message-ttl": TTL_MS})
            every, even = self.queues
            channel.queue_bind(every, self.exchange, "soak.*", {"x-match": "any", "soak": 1})
            channel.queue_bind(even, self.exchange, "#.even", {"x-match": "all", "soak": 1, "is": "even"})

    def publish(self, channel, chance):
        number = next(self.numbers)
        parity = ("even", "odd")[number % 2]
        is_for_all = self.kind == "fanout" or parity == "even"
        queues = self.queues if is_for_all else self.queues[:1]
        body = self.ledger.publish(queues, f"{self.kind}:{number}", chance.choice(SIZES))
        properties = properties_of(chance, {"soak": 1, "is": parity})
        channel.basic_publish(self.exchange, f"soak.{parity}", body, properties, mandatory=True)

    def run_publisher(self, until):
        """Publishes with confirms until then; a message that is returned or nacked is an error."""
        chance, confirms = random.Random(self.kind), Confirms()
        with connect(self.url) as connection:
            channel = connection.channel()
            # The callback interface confirms many at a time, as fast producers do.
            channel._impl.confirm_delivery(confirms.on_confirm)
            channel._impl.add_on_return_callback(confirms.on_return)
            while time.monotonic() < until or confirms.waiting:
                if time.monotonic() < until and len(confirms.waiting) < WINDOW:
                    for _ in range(chance.randint(1, BURST_MAX)):
                        confirms.add()
                        self.publish(channel, chance)
                connection.process_data_events(1 / BURSTS_PER_SECOND)
                self.ledger.errors += confirms.errors
                if self.ledger.errors:
                    return

    def run_consumer(self, queue, ended):
        """Consumes in sessions: one ends with its channel, and what it still had comes again."""
        chance = random.Random(queue)
        with connect(self.url) as connection:
            while not ended.is_set() and not self.ledger.errors:
                with connection.channel() as channel:
                    prefetch = chance.choice([1, 20, 100])
                    channel.basic_qos(prefetch_count=prefetch)
                    self.consume(channel, queue, prefetch, ended, chance)

    def consume(self, channel, queue, prefetch, ended, chance):
        held, session = [], chance.randrange(200, 3000)
        is_last = queue not in self.queues
        for method, _, body in channel.consume(queue, inactivity_timeout=IDLE_SECONDS):
            if method is not None:
                session -= 1
                name = self.ledger.deliver(queue, body, method.redelivered, ordered=not is_last)
                if name is None:
                    return
                held.append((method.delivery_tag, name))
            if ended.is_set() or session < 0:
                return
            if method is None or len(held) >= min(prefetch, chance.choice([1, 1, 10])):
                self.settle(channel, queue, held, chance, is_last)

    def settle(self, channel, queue, held, chance, is_last):
        """Acks all at once or settles each in its own way."""
        if is_last or chance.random() < 0.3:
            if held:
                self.ledger.settle(queue, [name for _, name in held])
                channel.basic_ack(held[-1][0], multiple=True)
            held.clear()
        while held:
            tag, name = held.pop(chance.randrange(len(held)))
            how = chance.random()
            if how < 0.8:
                self.ledger.settle(queue, [name])
                channel.basic_ack(tag)
            elif how < 0.9:
                chance.choice([channel.basic_nack, channel.basic_reject])(tag, requeue=True)
            else:
                self.ledger.reject(queue, dead_letters_of(queue), name)
                chance.choice([channel.basic_nack, channel.basic_reject])(tag, requeue=False)


class Confirms:
    """The numbers of publishes that wait for their confirm."""

    def __init__(self):
        self.count, self.waiting, self.errors = 0, set(), []

    def add(self):
        self.count += 1
        self.waiting.add(self.count)

    def on_confirm(self, frame):
        method = frame.method
        tags = {method.delivery_tag}
        if method.multiple:
            tags = {tag for tag in self.waiting if tag <= method.delivery_tag}
        if not tags <= self.waiting or isinstance(method, pika.spec.Basic.Nack):
            self.errors.append(f"{method} for publishes that wait for {sorted(self.waiting)[:5]}...")
        self.waiting -= tags

    def on_return(self, _channel, method, _properties, body):
        self.errors.append(f"{method} for {body[:60]!r}")


def run_transactions(url, ledger, until):
    """Commits and rolls back publishes; takes what was committed with basic.get and acks in a transaction."""
    chance, numbers, queue = random.Random("tx"), itertools.count(), "soak.tx"
    with connect(url) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True)
        channel.tx_select()
        while time.monotonic() < until and not ledger.errors:
            names = [f"tx:{next(numbers)}" for _ in range(chance.randint(1, 8))]
            is_kept = chance.random() < 0.8
            for name in names:
                # What is rolled back is for no queue.
                body = ledger.publish([queue] if is_kept else [], name, chance.choice(SIZES))
                channel.basic_publish("", queue, body, properties_of(chance))
            channel.tx_commit() if is_kept else channel.tx_rollback()
            take_all(channel, queue, ledger)
            channel.tx_commit()
            connection.sleep(1 / BURSTS_PER_SECOND)


def run_gets(url, ledger, until):
    """Publishes with a confirm for each and takes it with basic.get; some are requeued and taken again."""
    chance, numbers, queue = random.Random("get"), itertools.count(), "soak.get"
    with connect(url) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True)
        channel.confirm_delivery()
        while time.monotonic() < until and not ledger.errors:
            for _ in range(chance.randint(1, 8)):
                body = ledger.publish([queue], f"get:{next(numbers)}", chance.choice(SIZES))
                channel.basic_publish("", queue, body, properties_of(chance), mandatory=True)
            if chance.random() < 0.3:
                method, _, body = channel.basic_get(queue)
                ledger.deliver(queue, body, method.redelivered)
                channel.basic_reject(method.delivery_tag, requeue=True)
            take_all(channel, queue, ledger)
            connection.sleep(1 / BURSTS_PER_SECOND)


def take_all(channel, queue, ledger):
    while True:
        method, _, body = channel.basic_get(queue)
        if method is None:
            return
        name = ledger.deliver(queue, body, method.redelivered)
        if name is None:
            return
        ledger.settle(queue, [name])
        channel.basic_ack(method.delivery_tag)


def run_flows(url, until, report):
    """All of them, in threads of this process, until then and until all that was published has come."""
    ledger, ended = Ledger(), threading.Event()
    flows = [Flow(url, kind, ledger) for kind in EXCHANGES]
    for flow in flows:
        flow.declare()

    def started(run, *arguments):
        def guarded():
            try:
                run(*arguments)
            except Exception as error:  # whatever it is, it ends the run
                ledger.errors.append(f"{run.__name__}: {error!r}")

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        return thread

    publishers = [started(flow.run_publisher, until) for flow in flows]
    publishers += [started(run, url, ledger, until) for run in (run_transactions, run_gets)]
    queues = [(flow, queue) for flow in flows for queue in flow.queues]
    consumers = [started(flow.run_consumer, queue, ended) for flow, queue in queues]
    consumers += [started(flow.run_consumer, dead_letters_of(queue), ended) for flow, queue in queues]
    while any(thread.is_alive() for thread in publishers) and not ledger.errors:
        report.put(("settled", ledger.settled_count))
        report.put(("waiting", ledger.waiting_count()))
        time.sleep(1)
    ledger.wait_until_done()
    ended.set()
    for thread in consumers:
        thread.join(timeout=10)
    report.put(("settled", ledger.settled_count))
    for error in ledger.errors[:20]:
        report.put(("error", error))
