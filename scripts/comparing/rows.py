"""What is read from the results, and the bar that FerryMQ has to reach for each.

The bars hold on the machine they were measured on; see BARS_MACHINE.
"""

from dataclasses import dataclass, field
from statistics import median

BARS_MACHINE = "2 virtual cores of an AMD EPYC, shared by broker and load generator, 24 GiB, ext4, otherwise quiet"


@dataclass(frozen=True)
class Row:
    """One measurement: where it is in the results, and its bars."""

    letter: str
    label: str
    path: str
    bar: float
    cpu_bar: float | None = None
    where: dict = field(default_factory=dict)
    less_is_better: bool = False
    divisor: float = 1

    def entry(self, results):
        return next(entry for entry in results if self.where.items() <= entry.items())

    def value(self, results):
        value = self.entry(results)
        for name in self.path.split("/"):
            value = value[name]
        return value / self.divisor

    def cpu(self, results):
        """CPU seconds of the broker per million messages, if they are counted in this row and known."""
        return self.entry(results).get("cpu_seconds_per_million") if self.cpu_bar else None

    def times_better(self, value, other):
        return other / value if self.less_is_better else value / other


def less(*arguments, **more):
    return Row(*arguments, less_is_better=True, **more)


CONSUMED, PUBLISHED = "consumed_per_second", "published_per_second"
CONFIRM, DELIVERY = "confirm_latency_us", "delivery_latency_us"
CONNECTED = "connections_per_second"
FILL, DRAIN = {"phase": "fill"}, {"phase": "drain"}

ROWS = [
    Row("a", "16 B transient, no confirms, automatic acks; messages/s", CONSUMED, 2_000_000, 0.45),
    Row("b", "1 KiB persistent, confirm window 1000, acks for 100; messages/s", CONSUMED, 150_000, 4),
    Row("c", "as b, each publish waits for its confirm; messages/s", CONSUMED, 4_500, 100),
    less("c", "confirm after, p50, µs", f"{CONFIRM}/p50", 200),
    less("c", "confirm after, p99, µs", f"{CONFIRM}/p99", 385),
    Row("d", "64 KiB persistent, confirm window 100, acks for 10; messages/s", CONSUMED, 9_000, 100),
    Row("e", "128 B, fanout to 10 queues; deliveries/s", CONSUMED, 1_000_000, 5),
    Row("f", "64 B, topic exchange with 10,000 bindings; messages/s", CONSUMED, 300_000, 2),
    Row("g", "64 B, headers exchange with 1,000 bindings; messages/s", CONSUMED, 100_000, 6),
    less("l", "5,000/s of b, publish to delivery, p50, ms", f"{DELIVERY}/p50", 0.3, divisor=1000),
    less("l", "the same, p99, ms", f"{DELIVERY}/p99", 1.2, divisor=1000),
    less("l", "the same, p99.9, ms", f"{DELIVERY}/p99.9", 3.8, divisor=1000),
    Row("h", "fill 1,000,000 × 100 B persistent, confirmed; messages/s", PUBLISHED, 1_000_000, 0.8, FILL),
    Row("h", "drain them with acks; messages/s", CONSUMED, 2_500_000, 0.4, DRAIN),
    less("h", "memory before, MiB", "resident_mib_before", 10, where=FILL),
    less("h", "memory with the backlog, MiB", "resident_mib", 25, where=FILL),
    less("h", "disk with the backlog, MiB", "disk_mib", 125, where=FILL),
    less("k", "restart with the backlog of h until a client is served, ms", "start_ms", 30, where={"phase": "restart"}),
    Row("i", "connect, open a channel, close; connections/s", CONNECTED, 5_000, where={"threads": 1}),
    Row("i", "the same from 8 threads; connections/s", CONNECTED, 12_500, where={"threads": 8}),
    less("j", "memory of an idle connection with a channel, of 5,000; KiB", "kib_per_connection", 16),
    less("m", "idle memory, MiB", "idle_mib", 10),
    less("m", "start until a client is served, ms", "start_ms", 20),
]


@dataclass(frozen=True)
class Measured:
    """A row for one broker, over the rounds."""

    values: list
    cpus: list

    @property
    def value(self):
        return median(self.values)

    @property
    def cpu(self):
        return median(self.cpus) if self.cpus else None


def measured(row, runs, broker):
    """`runs` is what scripts/compare collects; none where the broker has no part in the scenario."""
    of_this = [run["results"] for run in runs if (run["scenario"], run["broker"]) == (row.letter, broker.name)]
    cpus = [row.cpu(results) for results in of_this]
    values = [row.value(results) for results in of_this]
    return Measured(values, [cpu for cpu in cpus if cpu is not None]) if values else None
