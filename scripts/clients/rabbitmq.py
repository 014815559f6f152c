"""A RabbitMQ of Debian's package with its management plugin, on free ports and in a directory of its own."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from broker import free_port  # noqa: E402
from comparing.brokers import LOCALHOST, RABBITMQ_SERVER, RabbitMQ, wait_for_port  # noqa: E402
from management import Management  # noqa: E402

START_SECONDS_MAX = 90


@contextlib.contextmanager
def rabbitmq():
    """Its management API, once it answers."""
    with tempfile.TemporaryDirectory(prefix="rabbitmq-") as name:
        directory, port, http_port, epmd_port = Path(name), free_port(), free_port(), free_port()
        (directory / "plugins").write_text("[rabbitmq_management].")
        (directory / "settings.conf").write_text(
            f"management.tcp.port = {http_port}\nmanagement.tcp.ip = {LOCALHOST}\n"
        )
        environment = os.environ | RabbitMQ.environment(directory, port)
        environment["RABBITMQ_CONFIG_FILE"] = str(directory / "settings")
        environment["ERL_EPMD_PORT"] = str(epmd_port)
        epmd = subprocess.Popen(["epmd", "-port", str(epmd_port), "-address", LOCALHOST], stderr=subprocess.DEVNULL)
        node = None
        try:
            wait_for_port(epmd_port)
            with open(directory / "output", "wb") as output:
                node = subprocess.Popen([RABBITMQ_SERVER], env=environment, stdout=output, stderr=output)
            management = Management(http_port)
            # Its own programs need it to find the node.
            management.environment = environment
            deadline = time.monotonic() + START_SECONDS_MAX
            while not management.answers():
                assert node.poll() is None and time.monotonic() < deadline, (directory / "output").read_text()
                time.sleep(0.2)
            yield management
        finally:
            for process in filter(None, (node, epmd)):
                process.kill()
                process.wait()
