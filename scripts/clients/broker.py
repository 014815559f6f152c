"""A broker of this checkout for a test: started on free ports, killed, started again, cleaned up."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("FERRYMQ_BINARY", ROOT / "target/release/ferrymq"))
READY_SECONDS_MAX = 20


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Broker:
    """`with Broker() as broker:` leaves nothing behind, but for the log when something failed."""

    def __init__(self, port=None, http_port=None, hosts=("127.0.0.1",), options=()):
        self.options = options
        self.directory = Path(tempfile.mkdtemp(prefix="ferrymq-test-"))
        self.port = port or free_port()
        self.hosts = hosts
        self.http_port = http_port or free_port()
        self.process = None
        self.log = self.directory / "broker.log"

    @property
    def url(self):
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2f"

    def start(self):
        self.spawn()
        self._wait_until_ready()

    def spawn(self):
        """Starts it and doesn't wait."""
        command = [BINARY, "--data-dir", self.directory / "data"]
        for host in self.hosts:
            command += ["--amqp-listen", f"{host}:{self.port}"]
        command += ["--http-listen", f"127.0.0.1:{self.http_port}", "--metrics-listen", "none", *self.options]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stderr=log)

    def _wait_until_ready(self):
        url = f"http://127.0.0.1:{self.http_port}/api/health/checks/ready-to-serve-clients"
        deadline = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the broker ended at its start:\n{self.log.read_text()}")
            try:
                with urllib.request.urlopen(url, timeout=1) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.01)
        raise RuntimeError(f"the broker was not ready in time:\n{self.log.read_text()}")

    def kill(self):
        """kill -9, as a crash does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """SIGTERM; the exit code has to be 0."""
        self.process.terminate()
        code = self.process.wait(timeout=20)
        assert code == 0, f"the broker ended with {code}:\n{self.log.read_text()}"

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, *_):
        if self.process.poll() is None:
            self.kill()
        if kind is None:
            shutil.rmtree(self.directory)
        else:
            print(f"the broker's log and data are in {self.directory}")
