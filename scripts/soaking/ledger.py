"""What was published and is still to be settled, by queue: what comes has to be in here, and nothing may be
left at the end.

Found by it: a message that was lost, one that came again after its end or without the redelivered flag, one
that was never published or came to the wrong queue, one behind a later one of its publisher.
"""

import threading
import time

from crash.history import body_of, name_in

# The rest has to come within this time when nobody publishes any more.
DRAIN_SECONDS_MAX = 60


class Ledger:
    """Shared by the publishers and consumers of a process, under one lock. A queue has one consumer at a
    time."""

    def __init__(self):
        self.lock = threading.Lock()
        self.errors = []
        self.settled_count = 0
        # By queue and name: whether it was delivered.
        self.left = {}
        # By queue and publisher: the last number that came for the first time.
        self.newest = {}

    def publish(self, queues, name, size):
        """To be called before it is sent. Answers the body."""
        with self.lock:
            for queue in queues:
                self.left.setdefault(queue, {})[name] = False
        return body_of(name, size)

    def deliver(self, queue, body, redelivered, ordered=True):
        """Notes a delivery; answers the name of the message, or None when it may not be there."""
        name = name_in(body)
        with self.lock:
            left = self.left.get(queue, {})
            if name not in left:
                self.errors.append(f"{queue} has {body[:60]!r}, which was never published to it or was settled")
                return None
            if left[name] and not redelivered:
                self.errors.append(f"{name} came again from {queue} without the redelivered flag")
            left[name] = True
            if ordered and not redelivered:
                self.check_order(queue, name)
        return name

    def check_order(self, queue, name):
        publisher, number = name.split(":")
        if int(number) <= self.newest.get((queue, publisher), -1):
            self.errors.append(f"{name} came from {queue} behind {self.newest[queue, publisher]}")
        self.newest[queue, publisher] = int(number)

    def settle(self, queue, names):
        """To be called before it is sent."""
        with self.lock:
            for name in names:
                del self.left[queue][name]
            self.settled_count += len(names)

    def reject(self, queue, dead_letters, name):
        """To be called before it is sent: from there on it may come from the other queue."""
        with self.lock:
            del self.left[queue][name]
            self.left.setdefault(dead_letters, {})[name] = False

    def waiting_count(self):
        with self.lock:
            return sum(map(len, self.left.values()))

    def is_done(self):
        return bool(self.errors) or self.waiting_count() == 0

    def wait_until_done(self):
        """When nobody publishes any more and all is confirmed: everything has to come."""
        deadline = time.monotonic() + DRAIN_SECONDS_MAX
        while not self.is_done() and time.monotonic() < deadline:
            time.sleep(0.05)
        with self.lock:
            lost = {queue: left for queue, left in self.left.items() if left}
        # After an error nobody consumes any more.
        if not self.errors:
            for queue, left in lost.items():
                self.errors.append(f"{len(left)} confirmed messages of {queue} never came, as {next(iter(left))}")
