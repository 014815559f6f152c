"""Who is compared: FerryMQ, Debian's RabbitMQ with its two kinds of queues, and brokers that run already.

Each has a name, the scenarios it takes part in, what its confirm means, and `flags(directory)`: a context in
which ferrymq-perf can use it, and the command line by which it does. Brokers of ours are started and stopped by
ferrymq-perf itself, which needs that for start-up times and restarts; nothing of them is outside of the directory.
"""

import argparse
import contextlib
import os
import shlex
import socket
import subprocess
import time
from pathlib import Path

from broker import BINARY, ROOT, free_port

ALL = "abcdefghijklm"
# Confirmed persistent messages in durable queues: what quorum queues are for.
PERSISTENT = "bcdhl"
# These need the broker's process, or start it.
WITHOUT_PROCESS = "abcdefghil"

LOCALHOST = "127.0.0.1"
RABBITMQ_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
EPMD_SECONDS_MAX = 20


class FerryMQ:
    """The one of this checkout."""

    name, scenarios = "FerryMQ", ALL
    confirm = "after fdatasync of every persistent message in a durable queue"

    def __init__(self):
        commit = ""
        if "FERRYMQ_BINARY" not in os.environ:
            # Also when there is one: the figures are those of this commit.
            subprocess.run(["nice", "cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
            commit = f", commit {output_of('git', '-C', ROOT, 'rev-parse', '--short', 'HEAD')}"
            if output_of("git", "-C", ROOT, "status", "--porcelain", "src", "Cargo.toml", "Cargo.lock"):
                commit += " with changes"
        self.version = output_of(BINARY, "--version").split()[-1] + commit

    @contextlib.contextmanager
    def flags(self, directory):
        port, data = free_port(), directory / "data"
        listen = ["--amqp-listen", f"{LOCALHOST}:{port}", "--http-listen", f"{LOCALHOST}:{free_port()}", "--metrics-listen", "none"]
        start = shlex.join(map(str, [BINARY, "--data-dir", data, *listen]))
        yield ["--uri", uri(port), "--start", start, "--data-dir", data], {}


class RabbitMQ:
    """A node of its own beside one that the system may have: other ports, other files, no configuration."""

    def __init__(self, kind, confirm, scenarios=ALL, arguments=()):
        self.name, self.scenarios, self.confirm = f"RabbitMQ {kind}", scenarios, confirm
        self.arguments = arguments
        erlang = package_version("erlang-base")
        self.version = f"{package_version('rabbitmq-server')}, Erlang {erlang}"

    @staticmethod
    def both():
        """One for each kind of queue; none, and how to get it, where it isn't installed."""
        if not RABBITMQ_SERVER.exists():
            print("WITHOUT RabbitMQ: it is not here; `apt-get install rabbitmq-server` brings it")
            return []
        # Seen with strace: at window 1, 3.10.8 makes one or two fsync, or one fdatasync, for each confirm.
        in_classic = "after fsync, for many messages at once, in 3.10 (4.3.6 waits for none)"
        in_quorum = "after fdatasync of the queues' common log, for many messages at once"
        classic = RabbitMQ("classic", in_classic)
        quorum = RabbitMQ("quorum", in_quorum, PERSISTENT, ["--argument", "x-queue-type=quorum"])
        return [classic, quorum]

    @contextlib.contextmanager
    def flags(self, directory):
        port, epmd_port = free_port(), free_port()
        data = directory / "data"
        # Erlang's register of names. Left to itself, a node starts one that outlives it.
        epmd = subprocess.Popen(["epmd", "-port", str(epmd_port), "-address", LOCALHOST], stderr=subprocess.DEVNULL)
        try:
            wait_for_port(epmd_port)
            environment = self.environment(directory, port) | {"ERL_EPMD_PORT": str(epmd_port)}
            own = ["--uri", uri(port), "--start", str(RABBITMQ_SERVER), "--data-dir", data]
            yield [*own, *self.arguments], environment
        finally:
            epmd.kill()
            epmd.wait()

    @staticmethod
    def environment(directory, port):
        return {
            # The script becomes the node instead of waiting for it, so that signals reach it.
            "RUNNING_UNDER_SYSTEMD": "true",
            "HOME": str(directory),  # of the Erlang cookie
            "RABBITMQ_NODENAME": "compare@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": LOCALHOST,
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_PID_FILE": str(directory / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": str(directory / "none"),
            "RABBITMQ_CONFIG_FILE": str(directory / "none"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(directory / "none"),
            "ERL_CRASH_DUMP": str(directory / "dump"),
        }


class Running:
    """One that somebody else has started: its process isn't known, so there is no CPU time of it."""

    scenarios, version, confirm = WITHOUT_PROCESS, "as it ran", "not known here"

    def __init__(self, text):
        self.name, separator, self.uri = text.partition("=")
        if not separator or not self.uri.startswith("amqp://"):
            raise argparse.ArgumentTypeError(f"{text!r}: write it as NAME=amqp://guest:guest@127.0.0.1:5672/%2f")

    @contextlib.contextmanager
    def flags(self, _directory):
        yield ["--uri", self.uri], {}


def uri(port):
    return f"amqp://guest:guest@{LOCALHOST}:{port}/%2f"


def package_version(package):
    return output_of("dpkg-query", "--show", "--showformat=${source:Upstream-Version}", package)


def output_of(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def wait_for_port(port):
    deadline = time.monotonic() + EPMD_SECONDS_MAX
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((LOCALHOST, port), timeout=1):
            return
        time.sleep(0.01)
    raise RuntimeError(f"epmd does not listen on port {port} after {EPMD_SECONDS_MAX} s")
