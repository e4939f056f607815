#!/usr/bin/env python3
"""kill -9 and cuts of power on real file systems, made on loop devices. Needs root; what does not mount is skipped loudly.

    disks.py [--rounds N] [--cuts N] [--unplugs N] [--only ext4,xfs,...] [--program PATH]

A kill round starts `packmule stage`, kills it at a random moment, and checks without a key that nothing on the drive is
damaged. After every tenth kill the same command runs to its end; then the drive is verified with the key, extracted, and
the tree compared with the source byte for byte; and everything begins anew.
An unplugged drive is one whose file system is shut down under a running `packmule stage` (`xfs_io -x -c shutdown`; ext4 and
xfs have that): every access gives EIO from then on. The run has to fail in time and say so; mounted again, the same command
goes on to the same end.
A cut stops the process at a random moment, copies the image of the mounted file system (drive and job directory are on it)
as it lies on the device, mounts the copy as after a cut of power, and goes on there with the same command, to the same end.
"""
import argparse
import filecmp
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
MAKE = {
    "ext4": (["mkfs.ext4", "-q", "-F"], ["mount"]),
    "xfs": (["mkfs.xfs", "-q", "-f"], ["mount", "-o", "nouuid"]),
    "btrfs": (["mkfs.btrfs", "-q", "-f"], ["mount"]),
    "exfat": (["mkfs.exfat"], ["mount.exfat-fuse"]),
    "ntfs": (["mkfs.ntfs", "-q", "-Q", "-F"], ["ntfs-3g"]),
}
IMAGE_BYTES = 400 << 20


def run(words, expect=0):
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    allowed = expect if isinstance(expect, tuple) else (expect,)
    if done.returncode not in allowed:
        raise SystemExit(f"VIOLATION: {' '.join(words)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


class Disk:
    """A file system on a loop device over an image in memory or on disk."""

    def __init__(self, kind, scratch, image=None):
        self.kind = kind
        self.mount = tempfile.mkdtemp(prefix=f"{kind}-", dir=scratch)
        self.image = image or os.path.join(scratch, f"{kind}.img")
        make, mount = MAKE[kind]
        if image is None:
            with open(self.image, "wb") as file:
                file.truncate(IMAGE_BYTES)
        self.loop = subprocess.check_output(["losetup", "-f", "--show", self.image], text=True).strip()
        try:
            if image is None:
                subprocess.run([*make, self.loop], check=True, capture_output=True)
            subprocess.run([*mount, self.loop, self.mount], check=True, capture_output=True)
        except Exception:
            subprocess.run(["losetup", "-d", self.loop])
            raise

    def close(self):
        for _ in range(50):
            if subprocess.run(["umount", self.mount], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        subprocess.run(["losetup", "-d", self.loop], capture_output=True)
        for _ in range(50):  # a FUSE program lets go of its device a moment after umount returned
            used = subprocess.run(["losetup", "-j", self.image], capture_output=True, text=True).stdout
            if not used:
                break
            time.sleep(0.1)


def source(directory):
    """Small files, large ones, a sparse one, links: about 60 MiB, part of it compressible."""
    random.seed(5)
    os.makedirs(os.path.join(directory, "many"))
    for number in range(400):
        with open(os.path.join(directory, "many", f"{number:04}"), "wb") as file:
            file.write(random.randbytes(random.randrange(20000)))
    for number in range(4):
        with open(os.path.join(directory, f"large-{number}"), "wb") as file:
            file.write(random.randbytes(12 << 20) if number % 2 else b"line of text\n" * (1 << 20))
    with open(os.path.join(directory, "sparse"), "wb") as file:
        file.truncate(32 << 20)
        file.seek(9 << 20)
        file.write(b"island")
    os.symlink("large-1", os.path.join(directory, "link"))
    os.link(os.path.join(directory, "large-2"), os.path.join(directory, "second-name"))


def same(left, right):
    """Every name, kind, link target and byte."""
    names = lambda top: sorted(
        os.path.relpath(os.path.join(d, n), top) for d, dirs, files in os.walk(top) for n in dirs + files)
    if names(left) != names(right):
        return False
    for name in names(left):
        a, b = os.path.join(left, name), os.path.join(right, name)
        if os.path.islink(a) or os.path.islink(b):
            if not (os.path.islink(a) and os.path.islink(b)) or os.readlink(a) != os.readlink(b):
                return False
        elif os.path.isfile(a) and not filecmp.cmp(a, b, shallow=False):
            return False
        elif os.stat(a).st_mtime_ns != os.stat(b).st_mtime_ns:
            return False
    return True


class Bench:
    def __init__(self, program, scratch):
        self.program, self.scratch = program, scratch
        self.source = os.path.join(scratch, "source")
        self.code = os.path.join(scratch, "code")
        source(self.source)

    def command(self, disk):
        job = os.path.join(disk.mount, "job")
        drive = os.path.join(disk.mount, "drive")
        os.makedirs(drive, exist_ok=True)
        return [self.program, "stage", self.source, "--volume", drive, "--job", job,
                "--unlock-code-file", self.code, "--threads", "2", "--quiet"]

    def finish(self, disk, words=None):
        """The same command to its end, and everything that must hold then."""
        drive = os.path.join(disk.mount, "drive")
        run(words or self.command(disk))
        run([self.program, "verify", drive, "--unlock-code-file", self.code])
        back = os.path.join(self.scratch, "back")
        shutil.rmtree(back, ignore_errors=True)
        run([self.program, "extract", drive, "--unlock-code-file", self.code, "--to", back])
        if not same(self.source, back):
            raise SystemExit("VIOLATION: the extracted tree is another")

    def started(self, disk):
        return subprocess.Popen(self.command(disk), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def clear(self, disk):
        for name in ("job", "drive"):
            shutil.rmtree(os.path.join(disk.mount, name), ignore_errors=True)

    def typical(self, disk):
        begin = time.monotonic()
        run(self.command(disk))
        took = time.monotonic() - begin
        self.clear(disk)
        return took

    def kills(self, disk, rounds, took):
        killed = ends = 0
        for number in range(rounds):
            child = self.started(disk)
            time.sleep(random.random() * took)
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)
                killed += 1
            child.wait()
            drive = os.path.join(disk.mount, "drive")
            if os.path.exists(os.path.join(drive, "packmule", "VOLUME")):
                run([self.program, "verify", "--keyless", drive])
            if number % 10 == 9:
                self.finish(disk)
                ends += 1
                self.clear(disk)
        return killed, ends

    def unplugs(self, disk, rounds, took):
        """The drive goes while it is written to; the job directory stays, as it would on the machine's own disk."""
        done = struck = 0
        for _ in range(rounds):
            job = os.path.join(self.scratch, "job-of-unplugged")
            shutil.rmtree(job, ignore_errors=True)
            drive = os.path.join(disk.mount, "drive")
            shutil.rmtree(drive, ignore_errors=True)
            os.makedirs(drive)
            os.sync()  # else the drive of the round before comes back with the shutdown
            words = self.command(disk)
            words[words.index("--job") + 1] = job
            child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            time.sleep(random.random() * took)
            gone = child.poll() is None
            run(["xfs_io", "-x", "-c", "shutdown", disk.mount])
            said = child.communicate(timeout=120)[0]
            if gone and child.returncode == 0:
                # It may have ended between the question and the answer; then everything was on the drive already.
                gone = False
            if gone:
                struck += 1
                if child.returncode < 0 or "Input/output error" not in said:
                    raise SystemExit(f"VIOLATION: it ended with {child.returncode} and said: {said}")
            subprocess.run(["umount", disk.mount], check=True)
            subprocess.run([*MAKE[disk.kind][1], disk.loop, disk.mount], check=True, capture_output=True)
            if os.path.exists(os.path.join(drive, "packmule", "VOLUME")):
                run([self.program, "verify", "--keyless", drive])
            os.makedirs(drive, exist_ok=True)
            self.finish(disk, words)
            done += 1
        return struck, done

    def cuts(self, disk, rounds, took):
        done = 0
        for _ in range(rounds):
            child = self.started(disk)
            time.sleep(random.random() * took)
            child.send_signal(signal.SIGSTOP)
            copy = os.path.join(self.scratch, "cut.img")
            subprocess.run(["cp", "--sparse=always", disk.image, copy], check=True)
            child.send_signal(signal.SIGKILL)
            child.wait()
            after = Disk(disk.kind, self.scratch, image=copy)
            try:
                drive = os.path.join(after.mount, "drive")
                if os.path.exists(os.path.join(drive, "packmule", "VOLUME")):
                    run([self.program, "verify", "--keyless", drive])
                self.finish(after)
                done += 1
            finally:
                after.close()
                os.unlink(copy)
            self.clear(disk)
        return done


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--cuts", type=int, default=40)
    parser.add_argument("--unplugs", type=int, default=40)
    parser.add_argument("--only", default=",".join(MAKE))
    parser.add_argument("--program", default=os.path.join(HERE, "../../target/debug/packmule"))
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("SKIPPED: kill rounds on real file systems need root, to mount them")
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(os.path.abspath(options.program), scratch)
        for kind in options.only.split(","):
            random.seed(11)
            try:
                disk = Disk(kind, scratch)
            except (OSError, subprocess.CalledProcessError) as error:
                print(f"SKIPPED {kind}: it does not mount here ({error})", flush=True)
                continue
            try:
                took = bench.typical(disk)
                killed, ends = bench.kills(disk, options.rounds, took)
                print(f"{kind}: {options.rounds} rounds, {killed} killed, {ends} times to the end, 0 violations", flush=True)
                bench.clear(disk)
                if kind not in ("ext4", "xfs") or shutil.which("xfs_io") is None:
                    print(f"SKIPPED {kind}: a drive that is unplugged (its file system cannot be shut down here)", flush=True)
                else:
                    struck, done = bench.unplugs(disk, options.unplugs, took)
                    print(f"{kind}: {done} drives unplugged, {struck} of them at work, each to the end, 0 violations", flush=True)
                bench.clear(disk)
                cut = bench.cuts(disk, options.cuts, took)
                print(f"{kind}: {cut} cuts of power by image, each to the end, 0 violations", flush=True)
            finally:
                disk.close()
                os.unlink(disk.image)


if __name__ == "__main__":
    main()
