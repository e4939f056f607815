"""Data sets for the benchmark, the same on every run for one scale (B and what is cut from it depend on this machine's /usr).

A  four large files that nothing can compress
B  sixteen files of real text and binaries, strung together from /usr
C  many small files (1 to 16 KiB) in folders of a hundred, cut from B
D  mixed sizes, log-normal with a long tail, in a tree of three levels; half of the files cut from A, half from B
M  very many tiny files, for the cost of an inventory: 64 bytes each, a thousand to a folder

At scale 1: A and B 4 GiB, C 200,000 files, D 20,000 files of 4 GiB together, M 1,000,000 files.
"""

import math
import os
import random

GIB = 1 << 30
MIB = 1 << 20
TREES = ["/usr/share/doc", "/usr/share/perl", "/usr/lib/python3", "/usr/include", "/usr/lib/gcc", "/usr/bin",
         "/usr/lib", "/usr/share", "/usr/local", "/usr/src"]


class Slices:
    """Random slices of the files of another set."""

    def __init__(self, folder):
        self.files = []
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            self.files.append((os.open(path, os.O_RDONLY), os.path.getsize(path)))

    def take(self, chance, length):
        handle, size = chance.choice(self.files)
        start = chance.randrange(max(1, size - length))
        return os.pread(handle, length, start)


def write(path, chunks):
    with open(path, "wb", buffering=0) as out:
        for chunk in chunks:
            out.write(chunk)


def make_a(folder, scale):
    for number in range(4):
        chance = random.Random(1000 + number)
        left = int(GIB * scale)
        blocks = []
        while left > 0:
            blocks.append(min(left, 16 * MIB))
            left -= blocks[-1]
        write(f"{folder}/a{number}.bin", (chance.randbytes(size) for size in blocks))


def usr_stream():
    """Contents of regular files below /usr, each once, in a fixed order."""
    seen = set()
    for tree in TREES:
        for place, folders, names in os.walk(tree):
            folders.sort()
            for name in sorted(names):
                path = os.path.join(place, name)
                try:
                    facts = os.lstat(path)
                    if not os.path.isfile(path) or os.path.islink(path) or (facts.st_dev, facts.st_ino) in seen:
                        continue
                    seen.add((facts.st_dev, facts.st_ino))
                    with open(path, "rb") as file:
                        while chunk := file.read(4 * MIB):
                            yield chunk
                except OSError:
                    continue


def make_b(folder, scale):
    size = int(GIB * scale) // 4
    number, room = 0, size
    out = open(f"{folder}/b{number:02d}.dat", "wb")
    for chunk in usr_stream():
        while chunk:
            if room == 0:
                number, room = number + 1, size
                out.close()
                if number == 16:
                    return
                out = open(f"{folder}/b{number:02d}.dat", "wb")
            out.write(chunk[:room])
            taken = min(room, len(chunk))
            room -= taken
            chunk = chunk[taken:]
    out.close()


def make_c(folder, scale):
    chance, slices = random.Random(31), Slices(f"{folder}/../B")
    for number in range(int(2000 * scale)):
        place = f"{folder}/{number // 50:03d}/{number:04d}"
        os.makedirs(place)
        for name in range(100):
            write(f"{place}/item{name:02d}.dat", [slices.take(chance, chance.randint(1024, 16384))])


def make_d(folder, scale):
    chance = random.Random(77)
    text, noise = Slices(f"{folder}/../B"), Slices(f"{folder}/../A")
    count = int(20000 * scale)
    weights = [chance.lognormvariate(0, 2.0) for _ in range(count)]
    unit = 4 * GIB * scale / math.fsum(weights)
    for number, weight in enumerate(weights):
        place = f"{folder}/{number % 20:02d}/{number // 20 % 10}/{number // 200 % 10}"
        os.makedirs(place, exist_ok=True)
        size = max(1, min(int(weight * unit), 512 * MIB))
        source, ending = (text, "txt") if chance.random() < 0.5 else (noise, "bin")
        parts = [min(16 * MIB, size - at) for at in range(0, size, 16 * MIB)]
        write(f"{place}/f{number:05d}.{ending}", (source.take(chance, part) for part in parts))


def make_m(folder, scale):
    for number in range(int(1000 * scale)):
        place = f"{folder}/{number // 100:02d}/{number:04d}"
        os.makedirs(place)
        for name in range(1000):
            write(f"{place}/{name:03d}", [f"{number:08d}{name:08d}".encode() * 4])


NEEDS = {"A": "A", "B": "B", "C": "BC", "D": "ABD", "M": "M"}


def make(data, wanted, scale):
    """Makes the sets that are not there yet; a set is finished when its mark is."""
    for name in sorted({needed for set_name in wanted for needed in NEEDS[set_name]}):
        mark = f"{data}/{name}.done"
        if os.path.exists(mark):
            continue
        os.makedirs(f"{data}/{name}", exist_ok=True)
        globals()[f"make_{name.lower()}"](f"{data}/{name}", scale)
        open(mark, "w").close()
