"""Writes the comparison into docs/performance.md, between two comments; the prose around it is left alone."""

from math import floor

from comparing.rows import BARS_MACHINE, ROWS, measured

BEGIN = "<!-- begin: written by scripts/compare -->"
END = "<!-- end: written by scripts/compare -->"

SKELETON = f"""# Performance

## What is measured

`scripts/compare` runs the scenarios of `ferrymq-perf` against FerryMQ and its peers, on one machine and in
turn: in each round every scenario, in each scenario every broker, with a fresh process and an empty data
directory. The load generator runs on the same machine, and checks that each message comes once and in order; a
run in which one doesn't is a failure. A rate depends on the machine and on who else uses it: compare the
columns of a row, and less so figures of two runs. CPU time per message moves less.

## Result

{BEGIN}
{END}
"""


class Document:
    """The file as it is, or as it shall begin; its place for the table is looked for before anything is run."""

    def __init__(self, path):
        self.path = path
        text = path.read_text() if path.exists() else SKELETON
        self.before, begin, rest = text.partition(BEGIN)
        _, end, self.after = rest.partition(END)
        if not begin or not end:
            raise SystemExit(f"{path} has no place for the table: put the lines {BEGIN} and {END} into it")

    def write(self, brokers, runs, header):
        """`brokers` begins with ours; `header` are lines about the machine and the settings."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        table_part = f"{BEGIN}\n{body(brokers, runs, header)}\n{END}"
        self.path.write_text(self.before + table_part + self.after)


def body(brokers, runs, header):
    rows = [(row, [measured(row, runs, broker) for broker in brokers]) for row in ROWS]
    rows = [(row, cells) for row, cells in rows if any(cells)]
    names = [broker.name for broker in brokers]
    parts = [
        "\n".join(f"* {line}" for line in header),
        "Each cell: the median of the rounds / CPU seconds of the broker per million messages. To the best peer of "
        "this run, which may be another for either: times better / times less CPU. A bar that isn't met says which "
        "share of it is reached.",
        table(["", "what", *names, "to the best peer", "bar", "met"], [result_line(*row) for row in rows]),
    ]
    if any(len(cell.values) > 1 for _, cells in rows for cell in cells if cell):
        spread = [[row.letter, row.label, *map(spread_cell, cells)] for row, cells in rows]
        parts += ["Lowest and highest of the rounds:", table(["", "what", *names], spread)]
    return "\n\n".join(parts)


def table(titles, lines):
    ruled = [titles, ["---"] * len(titles), *lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in ruled)


def result_line(row, cells):
    ours, *peers = cells
    peers = [peer for peer in peers if peer]
    bar = pair(row.bar, row.cpu_bar)
    compared = to_best_peer(row, ours, peers) if ours and peers else "–"
    return [row.letter, row.label, *map(result_cell, cells), compared, bar, met(row, ours) if ours else "–"]


def result_cell(cell):
    return pair(cell.value, cell.cpu) if cell else "–"


def spread_cell(cell):
    return f"{number(min(cell.values))} to {number(max(cell.values))}" if cell else "–"


def to_best_peer(row, ours, peers):
    better = min(row.times_better(ours.value, peer.value) for peer in peers)
    cpus = [peer.cpu for peer in peers if peer.cpu is not None]
    return f"{number(better)} ×" + (f" / {number(min(cpus) / ours.cpu)} ×" if cpus and ours.cpu else "")


def met(row, ours):
    reached = yes_or_share(row.times_better(ours.value, row.bar))
    if row.cpu_bar is None:
        return reached
    reached_cpu = yes_or_share(row.cpu_bar / ours.cpu if ours.cpu else 1)
    return "yes" if reached == reached_cpu == "yes" else f"rate {reached}, CPU {reached_cpu}"


def yes_or_share(share):
    return "yes" if share >= 1 else f"no ({floor(share * 100)} %)"


def pair(value, cpu):
    return number(value) if cpu is None else f"{number(value)} / {number(cpu)}"


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def describe(brokers, machine, arguments):
    """The lines above the table."""
    return [
        *machine,
        f"rounds: {arguments.rounds}, of {arguments.seconds:g} s where a scenario has no other end; "
        "every broker with its default settings",
        *(f"{broker.name}: version {broker.version}; confirms {broker.confirm}" for broker in brokers),
        f"the bars were measured on {BARS_MACHINE}",
    ]
