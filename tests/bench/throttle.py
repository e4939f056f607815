"""A drive of a chosen speed: a file system on a loop device whose writes the kernel's block throttle meters. Needs root and
the blkio controller of cgroup version 1; only its root group meters what the kernel writes back by itself, as it does for cp."""

import os
import shutil
import subprocess
import sys
import tempfile

RATE = "/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device"


class Drive:
    def __init__(self, limit_mb, size_bytes, folder):
        self.limit_bytes, self.size_bytes = limit_mb * 1_000_000, size_bytes
        self.folder = tempfile.mkdtemp(prefix="drive-", dir=folder)
        self.mount = f"{self.folder}/mount"
        self.image = f"{self.folder}/image"
        self.device = None

    def __enter__(self):
        if not os.access(RATE, os.W_OK):
            shutil.rmtree(self.folder)
            sys.exit(f"SKIPPED: no drive can be held to a rate here: {RATE} cannot be written")
        os.makedirs(self.mount)
        subprocess.run(["truncate", "-s", str(self.size_bytes), self.image], check=True)
        # Direct, or the loop device's own page cache would swallow the writes at memory speed.
        found = subprocess.run(["losetup", "--find", "--show", "--direct-io=on", self.image], check=True, capture_output=True, text=True)
        self.device = found.stdout.strip()
        try:
            subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.device], check=True)
            subprocess.run(["mount", self.device, self.mount], check=True)
            self.meter(self.limit_bytes)
        except BaseException:
            self.__exit__()
            raise
        return self

    def meter(self, bytes_per_second):
        number = os.stat(self.device).st_rdev
        with open(RATE, "w") as rate:
            rate.write(f"{os.major(number)}:{os.minor(number)} {bytes_per_second}\n")

    def __exit__(self, *_):
        if self.device:
            self.meter(0)
            subprocess.run(["umount", self.mount], check=False)
            subprocess.run(["losetup", "--detach", self.device], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
