"""Short-lived queues, exchanges and bindings, and what has to be true of them after a crash."""

import pika

from .load import GONE, connect

NAMES = [f"churn.{number}" for number in range(8)]
EXCHANGE = "churn.exchange"
PERSISTENT = pika.BasicProperties(delivery_mode=2)


class Topology:
    """By name of a queue: its generation, or None; several when the outcome is open."""

    def __init__(self):
        self.generations = {name: {None} for name in NAMES}
        # By name: whether it is bound; both when that is open.
        self.bound = {name: {False} for name in NAMES}
        self.confirmed = {}
        self.next = 0

    def run(self, broker, history, chance):
        try:
            channel = connect(broker).channel()
            channel.confirm_delivery()
            channel.exchange_declare(EXCHANGE, "direct", durable=True)
            while True:
                self.step(channel, history, chance, chance.choice(NAMES))
        except GONE:
            return

    def step(self, channel, history, chance, name):
        (generation,) = self.generations[name]
        what = chance.random()
        if generation is None:
            self.next += 1
            self.generations[name] = {None, self.next}
            channel.queue_declare(name, durable=True)
            history.require_alive()
            self.generations[name] = {self.next}
        elif what < 0.4:
            body = f"{name}:{generation}".encode()
            channel.basic_publish("", name, body, PERSISTENT)
            history.require_alive()
            self.confirmed[generation] = self.confirmed.get(generation, 0) + 1
        elif what < 0.55:
            bound = not next(iter(self.bound[name]))
            self.bound[name] = {True, False}
            change = channel.queue_bind if bound else channel.queue_unbind
            change(name, EXCHANGE, name)
            history.require_alive()
            self.bound[name] = {bound}
        elif what < 0.65:
            # What was purged may be back only until purge-ok.
            self.confirmed[generation] = 0
            channel.queue_purge(name)
        else:
            self.confirmed.pop(generation, None)
            self.generations[name], self.bound[name] = {None, generation}, {False, *self.bound[name]}
            channel.queue_delete(name)
            history.require_alive()
            self.generations[name], self.bound[name] = {None}, {False}

    def check(self, broker, errors):
        with connect(broker) as connection:
            for name in NAMES:
                self.check_queue(connection, name, errors)

    def check_queue(self, connection, name, errors):
        possible = self.generations[name]
        channel = connection.channel()
        try:
            count = channel.queue_declare(name, passive=True).method.message_count
        except pika.exceptions.ChannelClosedByBroker:
            if None not in possible:
                errors.append(f"I6: queue {name}, declared, is not there")
            self.generations[name], self.bound[name] = {None}, {False}
            return
        alive = possible - {None}
        if not alive:
            errors.append(f"I6: queue {name}, deleted, is there")
            return
        (generation,) = alive
        self.check_messages(connection, channel, name, generation, count, errors)
        self.check_binding(connection, name, errors)
        self.generations[name] = {generation}

    def check_messages(self, connection, channel, name, generation, count, errors):
        bodies = []
        while (got := channel.basic_get(name))[0] is not None:
            bodies.append(got[2].decode())
        if any(body not in (f"{name}:{generation}", "probe") for body in bodies):
            errors.append(f"I6: queue {name} of generation {generation} has {set(bodies)}")
        if len(bodies) != count:
            errors.append(f"I7: queue {name} says {count} messages and has {len(bodies)}")
        if len(bodies) < self.confirmed.get(generation, 0):
            missing = self.confirmed[generation] - len(bodies)
            errors.append(f"I1: {missing} confirmed messages of {name} are missing")
        # What was got goes back when its channel closes, and is purged then.
        channel.close()
        with connection.channel() as other:
            other.queue_purge(name)
        self.confirmed[generation] = 0

    def check_binding(self, connection, name, errors):
        channel = connection.channel()
        channel.confirm_delivery()
        try:
            channel.basic_publish(EXCHANGE, name, b"probe", pika.BasicProperties(), mandatory=True)
            bound = True
        except pika.exceptions.UnroutableError:
            bound = False
        except pika.exceptions.ChannelClosedByBroker:
            # The exchange was on its way to be declared.
            bound = False
            channel = connection.channel()
        if bound not in self.bound[name]:
            errors.append(f"I6: {name} is {'' if bound else 'not '}bound")
        self.bound[name] = {bound}
        if channel.is_open:
            channel.close()
