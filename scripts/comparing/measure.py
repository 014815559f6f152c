"""Runs one scenario against one broker, by ferrymq-perf, in a process group that never outlives it."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from broker import BINARY

PERF = BINARY.with_name("ferrymq-perf")
# Of a million messages through the slowest queue, with a start and two stops.
RUN_SECONDS_MAX = 1200
GONE_SECONDS_MAX = 20


class WrongRun(Exception):
    """A scenario that failed, or whose messages weren't each there once, in order and whole."""


def measure(broker, letter, seconds, beside):
    """What ferrymq-perf says of it, as a list of objects. `beside` is where data directories are made."""
    directory = Path(tempfile.mkdtemp(prefix="ferrymq-compare-", dir=beside))
    try:
        with broker.flags(directory) as (flags, environment):
            command = [PERF, "run", letter, "--json", "--seconds", str(seconds), *flags]
            return [json.loads(line) for line in run(command, environment).splitlines()]
    except WrongRun as error:
        raise WrongRun(f"scenario {letter} with {broker.name}: {error}") from None
    finally:
        shutil.rmtree(directory)


def run(command, environment):
    # A session of its own: an interrupt is for us, and we take everybody down.
    process = subprocess.Popen(
        command,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=RUN_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        raise WrongRun(f"not done after {RUN_SECONDS_MAX} s") from None
    finally:
        kill_group(process)
    if process.returncode != 0:
        raise WrongRun("\n".join(errors.splitlines()[-10:]))
    return output


def kill_group(leader):
    """ferrymq-perf stops its broker; this is for when it couldn't."""
    deadline = time.monotonic() + GONE_SECONDS_MAX
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(leader.pid, signal.SIGKILL)
            leader.poll()
            time.sleep(0.01)
