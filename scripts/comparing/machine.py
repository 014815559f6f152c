"""The machine, in lines for a reader who wants to know how far to trust the figures; no names, no paths."""

import datetime
import os
import re
import subprocess
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

# What the machine itself does is measured for so long, each.
SECONDS = 2

# A program that is stopped for so long was stopped by somebody: no process of one's own takes it off both
# processors for that.
STOP_MIN = 0.005

MIB = 1024 * 1024


def describe_machine(directory):
    """`directory` is where the data is; asked before the first run, for the load that others make."""
    load, linux = os.getloadavg()[0], os.uname().release
    small, stopped = small_appends_and_stops(directory)
    p50, p99 = (small[len(small) * percent // 100] * 1e6 for percent in (50, 99))
    large = [synced_writes(directory, MIB, old) for old in (0, 64 * MIB)]
    appended, over = (len(durations) * MIB / sum(durations) / 1e6 for durations in large)
    longest, often = max(stopped, default=0) * 1e3, len(stopped) / SECONDS
    return [
        f"{datetime.date.today()}",
        f"{os.cpu_count()} cores of {cpu_model()}, {memory_gib():.0f} GiB, {file_system(directory)}, Linux {linux}",
        f"load of the minute before it began: {load:.1f} (0 is a quiet machine)",
        f"its disk: 1 KiB appended and fdatasync p50 {p50:.0f}, p99 {p99:.0f} µs; "
        f"1 MiB and fdatasync {appended:.0f} MB/s appended, {over:.0f} over 64 MiB that were written before",
        f"beside these small appends a program that only reads the clock was stopped by the host {often:.0f} times a "
        f"second for more than {STOP_MIN * 1e3:.0f} ms, at most {longest:.0f} ms",
    ]


def small_appends_and_stops(directory):
    with ProcessPoolExecutor(1) as other:
        stopped = other.submit(stops)
        return synced_writes(directory, 1024, 0), stopped.result()


def synced_writes(directory, size, old):
    """How long writes of so many bytes took with their fdatasync, shortest first: appended, or over so many that
    are there already."""
    durations, piece = [], os.urandom(size)
    with tempfile.NamedTemporaryFile(dir=directory, buffering=0) as file:
        # In such pieces as well: what the page cache holds in larger ones it writes again in larger ones.
        for _ in range(0, old, size):
            file.write(piece)
        file.seek(0)
        os.fsync(file.fileno())
        end = time.perf_counter() + SECONDS
        while (begin := time.perf_counter()) < end:
            if file.tell() >= old > 0:
                file.seek(0)
            file.write(piece)
            os.fdatasync(file.fileno())
            durations.append(time.perf_counter() - begin)
    return sorted(durations)


def stops():
    """For how long a program was stopped that never waits."""
    found, last = [], time.perf_counter()
    end = last + SECONDS
    while last < end:
        now = time.perf_counter()
        if now - last > STOP_MIN:
            found.append(now - last)
        last = now
    return found


def cpu_model():
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else os.uname().machine


def memory_gib():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3


def file_system(directory):
    command = ["df", "--output=fstype", directory]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]
