"""The machine, in lines for a reader who wants to know how far to trust the figures; no names, no paths."""

import datetime
import os
import re
import subprocess
from pathlib import Path


def describe_machine(directory):
    """`directory` is where the data is; asked before the first run, for the load that others make."""
    load, linux = os.getloadavg()[0], os.uname().release
    return [
        f"{datetime.date.today()}",
        f"{os.cpu_count()} cores of {cpu_model()}, {memory_gib():.0f} GiB, {file_system(directory)}, Linux {linux}",
        f"load of the minute before it began: {load:.1f} (0 is a quiet machine)",
    ]


def cpu_model():
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else os.uname().machine


def memory_gib():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3


def file_system(directory):
    command = ["df", "--output=fstype", directory]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]
