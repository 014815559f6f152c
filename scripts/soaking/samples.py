"""What the broker uses, sampled; a line for each period, and what has grown from the first steady one to the
last."""

import os
import statistics
import time
from pathlib import Path

MIB = 2**20

# What the last period may have more than the first steady one: that much is noise on a shared machine. The
# latency may have more by as much as the disk itself has become slower for a file of the probe's.
RESIDENT_FACTOR, RESIDENT_MORE = 1.15, 8
DISK_MORE = 8
THREADS_MORE = 2
LATENCY_FACTOR, LATENCY_MORE_MS = 2, 2

# Messages that are not settled yet: when they pile up, it is the clients that are too slow.
WAITING_MORE = 1000

# Connections that are opening or closing while it is looked.
SOCKETS_MORE = 10

HEAD = "period  resident MiB  sockets  files  threads  disk MiB  confirm p50 ms  p99 ms  fsync p50  p99  settled  waiting  connections"
LINE = "{0:>6}  {1:12.1f}  {2:7}  {3:5}  {4:7}  {5:8.1f}  {6:14.2f}  {7:6.2f}  {8:9.2f}  {9:3.0f}  {10:7}  {11:7}  {12:11}"


def size_of(directory):
    """Bytes of a directory's files; one may go while it is looked at."""
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            pass
    return total


def descriptors_of(broker):
    """How many descriptors are files of the data directory, which come and go with segments, and how many
    are others."""
    files = others = 0
    for descriptor in Path(f"/proc/{broker.process.pid}/fd").iterdir():
        try:
            is_data = os.readlink(descriptor).startswith(str(broker.directory / "data"))
        except FileNotFoundError:
            continue
        files, others = files + is_data, others + (not is_data)
    return files, others


class Sample:
    def __init__(self, broker):
        status = Path(f"/proc/{broker.process.pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        self.resident = int(fields["VmRSS"].split()[0]) / 1024
        self.threads = int(fields["Threads"])
        self.files, self.others = descriptors_of(broker)
        self.disk = size_of(broker.directory / "data") / MIB


class Period:
    """The samples of some time, and what clients counted in it."""

    def __init__(self, name):
        self.name, self.samples = name, []
        self.seconds = {"confirm": [], "sync": []}
        self.settled = self.waiting = self.connections = 0

    def of(self, field, choose=max):
        return choose(getattr(sample, field) for sample in self.samples)

    @property
    def resident(self):
        return self.of("resident", statistics.median)

    def ms(self, what, quantile):
        ranked = sorted(self.seconds[what])
        return ranked[int(quantile * (len(ranked) - 1))] * 1000 if ranked else float("nan")

    def line(self):
        times = [self.ms(what, quantile) for what in ("confirm", "sync") for quantile in (0.5, 0.99)]
        counts = [self.of(field) for field in ("others", "files", "threads", "disk")]
        return LINE.format(self.name, self.resident, *counts, *times, self.settled, self.waiting, self.connections)


class Clients:
    """What the processes of the load report, in a queue."""

    def __init__(self, reports):
        self.reports, self.errors = reports, []
        self.totals = {"settled": 0, "connections": 0}

    def tell(self, period):
        """Adds to the period what was reported since the last time."""
        while not self.reports.empty():
            what, value = self.reports.get()
            if what == "error":
                self.errors.append(value)
            elif what in period.seconds:
                period.seconds[what].append(value)
            elif what == "waiting":
                period.waiting = max(period.waiting, value)
            else:
                more, self.totals[what] = value - self.totals[what], value
                setattr(period, what, getattr(period, what) + more)


def grown(first, last):
    """In words, what the last period has more of than it may."""
    limits = [
        ("MiB resident", first.resident, last.resident, first.resident * RESIDENT_FACTOR + RESIDENT_MORE),
        ("MiB on disk", first.of("disk"), last.of("disk"), first.of("disk") + DISK_MORE),
        ("messages that wait", first.waiting, last.waiting, first.waiting + WAITING_MORE),
        ("threads", first.of("threads"), last.of("threads"), first.of("threads") + THREADS_MORE),
        ("descriptors", first.of("others"), last.of("others"), first.of("others") + SOCKETS_MORE),
    ]
    for quantile in (0.5, 0.99):
        before, after = first.ms("confirm", quantile), last.ms("confirm", quantile)
        slower = max(1, last.ms("sync", quantile) / first.ms("sync", quantile))
        limit = before * LATENCY_FACTOR * slower + LATENCY_MORE_MS
        limits.append((f"ms until the {quantile:.0%} fastest of the confirms were there", before, after, limit))
    return [
        f"{after:.2f} {what} in the last period, {before:.2f} in the first steady one, {limit:.2f} may be"
        for what, before, after, limit in limits
        # Also when nothing was measured.
        if not after <= limit
    ]


def wait_for_descriptors(broker, idle, seconds):
    """When all clients are gone: the descriptors have to be those from before them. Answers a sample."""
    deadline = time.monotonic() + seconds
    while (sample := Sample(broker)).others != idle.others and time.monotonic() < deadline:
        time.sleep(0.1)
    return sample
