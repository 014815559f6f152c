"""A broker whose disk loses what was not synced when it is killed, as it does without power."""

import fcntl
import os
import struct
import subprocess

from broker import Broker

DISK_BYTES = 4 * 1024**3
EXT4_SHUTDOWN = 0x8004587D  # as the kernel's ext4.h has it: _IOR('X', 125, u32)
WITHOUT_JOURNAL_FLUSH = 2


class PoweredBroker(Broker):
    """Its data is on an ext4 file system of its own, which is cut off at each kill."""

    def __init__(self, disk_bytes=DISK_BYTES, **arguments):
        super().__init__(**arguments)
        self.disk, self.mounted = self.directory / "disk", self.directory / "data"
        self.mounted.mkdir()
        subprocess.run(["truncate", "-s", str(disk_bytes), self.disk], check=True)
        subprocess.run(["mkfs.ext4", "-q", self.disk], check=True)
        self.mount()

    @staticmethod
    def is_possible():
        """Whether this user of this machine may mount a file."""
        if os.geteuid() != 0:
            return False
        probe = subprocess.run(["losetup", "--find"], capture_output=True, check=False)
        return probe.returncode == 0

    def mount(self):
        subprocess.run(["mount", "-o", "loop", self.disk, self.mounted], check=True)

    def kill(self):
        disk = os.open(self.mounted, os.O_RDONLY)
        try:
            fcntl.ioctl(disk, EXT4_SHUTDOWN, struct.pack("I", WITHOUT_JOURNAL_FLUSH))
        finally:
            os.close(disk)
        super().kill()
        subprocess.run(["umount", self.mounted], check=True)
        self.mount()

    def __exit__(self, *error):
        if self.process.poll() is None:
            super().kill()
        subprocess.run(["umount", self.mounted], check=True)
        super().__exit__(*error)
