#!/usr/bin/env python3
"""Bad block devices under real file systems, made by nbdkit, nbdfuse and a loop device. Needs root; loudly skips what is missing.

    devices.py [--rounds N] [--only ext4,xfs,...] [--program PATH]

errors  At a random moment of `packmule stage` every access to the device fails, or every read, or every write. The run has
        to fail and say so. Then the device works again, and the same command goes on to the same end.
lies    A drive of false capacity: it drops what lies beyond its true size, or writes it over what came first. It stands
        first of two drives. However that ends, exit code 0 means that the drives, mounted anew, give back the source;
        a drive that was read back from the cache only has to have been called so. Then the drive is given up (`--lost`),
        and the good one alone has to give back the source.
"""
import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

from disks import HERE, IMAGE_BYTES, MAKE, Bench, run, same

# How a drive of false capacity ends up in practice: with a file system whose own blocks lie in front.
LIE_MAKES = {"ext4": ["mkfs.ext4", "-q", "-F", "-O", "^has_journal"]}
TRUE_BYTES = 24 << 20


class Device:
    """A file system on a loop device over what nbdkit serves."""

    def __init__(self, kind, scratch, plugin, make=None):
        self.kind, self.loop, self.is_mounted = kind, None, False
        self.nbd, self.mount = (tempfile.mkdtemp(prefix=f"{kind}-", dir=scratch) for _ in range(2))
        words = ["nbdfuse", self.nbd, "--command", "nbdkit", "-s", "-f", *plugin]
        self.server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        image = os.path.join(self.nbd, "nbd")
        for _ in range(100):
            if os.path.exists(image) and os.path.getsize(image) == IMAGE_BYTES:
                break
            time.sleep(0.05)
        try:
            self.loop = subprocess.check_output(["losetup", "-f", "--direct-io=on", "--show", image], text=True).strip()
            subprocess.run([*(make or MAKE[kind][0]), self.loop], check=True, capture_output=True)
            self.attach()
        except BaseException:
            self.close()
            raise

    def attach(self):
        subprocess.run([*MAKE[self.kind][1], self.loop, self.mount], check=True, capture_output=True)
        self.is_mounted = True

    def detach(self):
        for _ in range(100):
            if subprocess.run(["umount", self.mount], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        self.is_mounted = False
        time.sleep(0.2)  # a FUSE program lets go of its device a moment after umount returned
        subprocess.run(["blockdev", "--flushbufs", self.loop], capture_output=True)

    def close(self):
        if self.is_mounted:
            self.detach()
        if self.loop:
            subprocess.run(["losetup", "-d", self.loop], capture_output=True)
        time.sleep(0.2)
        subprocess.run(["fusermount3", "-u", self.nbd], capture_output=True)
        try:
            self.server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.server.kill()


class Devices(Bench):
    def words(self, drives, *more):
        for drive in drives:
            try:
                os.makedirs(drive, exist_ok=True)
            except OSError:
                pass  # the program has to cope
        volumes = [word for drive in drives for word in ("--volume", drive)]
        return [self.program, "stage", self.source, *volumes, "--job", os.path.join(self.scratch, "job"),
                "--unlock-code-file", self.code, "--threads", "2", "--quiet", *more]

    def clear(self):
        for name in ("job", "good", "back"):
            shutil.rmtree(os.path.join(self.scratch, name), ignore_errors=True)

    def comes_back(self, drives, expect=0):
        back = os.path.join(self.scratch, "back")
        shutil.rmtree(back, ignore_errors=True)
        done = run([self.program, "extract", *drives, "--unlock-code-file", self.code, "--to", back], expect)
        if not same(self.source, back):
            raise SystemExit(f"VIOLATION: the extracted tree is another\n{done.stdout}\n{done.stderr}")

    def errors(self, kind, what, rounds, took):
        """The device fails at a random moment and works again later."""
        trigger = os.path.join(self.scratch, "trigger")
        struck = done = 0
        for _ in range(rounds):
            self.clear()
            plugin = ["--filter=error", "memory", str(IMAGE_BYTES), f"{what}=100%", f"error-file={trigger}"]
            device = Device(kind, self.scratch, plugin)
            try:
                drive = os.path.join(device.mount, "drive")
                words = self.words([drive])
                child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                time.sleep(random.random() * took)
                open(trigger, "w").close()
                said = child.communicate(timeout=240)[0]
                os.unlink(trigger)
                if child.returncode != 0:
                    struck += 1
                    told = ("Input/output error", "Read-only file system", "does not hold", "read-back gives")
                    if child.returncode < 0 or "panicked" in said or not any(text in said for text in told):
                        raise SystemExit(f"VIOLATION: it ended with {child.returncode} and said: {said}")
                device.detach()
                if kind == "ext4":
                    subprocess.run(["e2fsck", "-p", device.loop], capture_output=True)
                if kind == "xfs":
                    # A log with holes is not replayed; what a user would do then.
                    if subprocess.run([*MAKE[kind][1], device.loop, device.mount], capture_output=True).returncode != 0:
                        subprocess.run(["xfs_repair", "-L", device.loop], capture_output=True)
                    else:
                        device.is_mounted = True
                        device.detach()
                device.attach()
                again = subprocess.run(self.words([drive]), capture_output=True, text=True, timeout=300)
                if again.returncode == 0:
                    run([self.program, "verify", drive, "--unlock-code-file", self.code])
                    self.comes_back([drive])
                else:
                    # The file system lost what it had confirmed, or the drive was found wanting: it is given up.
                    if again.returncode not in (1, 4, 6):
                        raise SystemExit(f"VIOLATION: it ended with {again.returncode}: {again.stdout}{again.stderr}")
                    self.given_up(again)
                done += 1
            finally:
                if os.path.exists(trigger):
                    os.unlink(trigger)
                device.close()
        return struck, done

    def given_up(self, before):
        good = os.path.join(self.scratch, "good")
        after = run(self.words([good], "--lost", "1"), (0, 2))
        if after.returncode == 2:  # the drive had never become a volume of the job
            if "has no volume 1" not in after.stderr:
                raise SystemExit(f"VIOLATION: {before.stdout}{before.stderr}\n{after.stdout}{after.stderr}")
            run(self.words([good]))
        run([self.program, "verify", good, "--unlock-code-file", self.code])
        self.comes_back([good])

    def both(self, drives):
        """Whether the drive that lied and the other give back everything; if not, it has to be said."""
        back = os.path.join(self.scratch, "back")
        shutil.rmtree(back, ignore_errors=True)
        words = [self.program, "extract", *drives, "--unlock-code-file", self.code, "--to", back]
        done = subprocess.run(words, capture_output=True, text=True, timeout=300)
        if done.returncode not in (0, 1, 3, 4, 6) or "panicked" in done.stderr:
            raise SystemExit(f"VIOLATION: extract ended with {done.returncode}: {done.stderr}")
        if os.path.isdir(back) and same(self.source, back):
            return ", both drives give back everything"
        if done.returncode == 0:
            raise SystemExit(f"VIOLATION: extract says done, and the tree is another: {done.stdout}")
        return f", extract from both says {done.returncode}: more is lost than the read-back could see"

    def lies(self, kind, wraps):
        """A drive of false capacity is filled first, a good one second."""
        self.clear()
        lying = os.path.join(HERE, "lying_device.py")
        plugin = ["python", lying, f"size={IMAGE_BYTES}", f"true={TRUE_BYTES}", f"wraps={wraps}"]
        try:
            device = Device(kind, self.scratch, plugin, LIE_MAKES.get(kind))
        except subprocess.CalledProcessError:
            return "it does not even take this file system"
        try:
            drives = [os.path.join(device.mount, "drive"), os.path.join(self.scratch, "good")]
            first = subprocess.run(self.words(drives, "--one-by-one"), capture_output=True, text=True, timeout=600)
            said = first.stdout + first.stderr
            if first.returncode not in (0, 1, 4, 6) or "panicked" in said:
                raise SystemExit(f"VIOLATION: it ended with {first.returncode}: {said}")
            device.detach()
            try:
                device.attach()
                checked = subprocess.run([self.program, "verify", drives[0], "--unlock-code-file", self.code],
                                         capture_output=True, text=True, timeout=300)
                word = f"stage {first.returncode}, verify after mounting again {checked.returncode}"
                if first.returncode == 0 and checked.returncode != 0 and "FROM THE CACHE ONLY" not in said:
                    raise SystemExit(f"VIOLATION: done was said of a drive that lost data: {said}{checked.stderr}")
                if first.returncode == 4 and "everything is staged" in said:
                    word += self.both(drives)
            except subprocess.CalledProcessError:
                word = f"stage {first.returncode}, and it does not mount again"
                if first.returncode == 0 and "FROM THE CACHE ONLY" not in said:
                    raise SystemExit(f"VIOLATION: done was said of a drive that does not mount: {said}") from None
            self.given_up(first)
            return word + ", given up: the good one gives back everything"
        finally:
            device.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default=",".join(MAKE))
    parser.add_argument("--program", default=os.path.join(HERE, "../../target/debug/packmule"))
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("SKIPPED: bad block devices need root, to mount what is on them")
    missing = [tool for tool in ("nbdkit", "nbdfuse", "losetup") if shutil.which(tool) is None]
    if missing:
        sys.exit(f"SKIPPED: bad block devices need {', '.join(missing)} (Debian: nbdkit nbdkit-plugin-python libnbd-bin)")
    with tempfile.TemporaryDirectory() as scratch:
        bench = Devices(os.path.abspath(options.program), scratch)
        begin = time.monotonic()
        run(bench.words([os.path.join(scratch, "good")]))
        took = time.monotonic() - begin
        for kind in options.only.split(","):
            random.seed(13)
            try:
                Device(kind, scratch, ["memory", str(IMAGE_BYTES)]).close()
            except (OSError, subprocess.CalledProcessError) as error:
                print(f"SKIPPED {kind}: it does not mount here ({error})", flush=True)
                continue
            for what in ("error-rate", "error-pread-rate", "error-pwrite-rate"):
                struck, done = bench.errors(kind, what, options.rounds, took)
                print(f"{kind}: {what}: {done} devices failed, {struck} under the run, each to the end, 0 violations", flush=True)
            for wraps in (0, 1):
                word = bench.lies(kind, wraps)
                print(f"{kind}: false capacity, {'writing over' if wraps else 'dropping'}: {word}, 0 violations", flush=True)


if __name__ == "__main__":
    main()
