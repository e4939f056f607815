#!/usr/bin/env python3
"""A second reader of packmule volumes, written from manifests/formats/ alone.

It shares no code and no library with packmule: AES-256-GCM and HKDF come from `cryptography`, zstd from `zstandard`, and
key slots are opened by calling the `age` program. It reads one or more volumes of a job, checks every rule it meets, and
writes the files below a directory. It prints one line of JSON with what it found.

    read_volume.py KEY OUTPUT_DIR VOLUME...

KEY is an age identity file, or `code:FILE` with an unlock code, or `passphrase:FILE`.
"""

import calendar
import hashlib
import hmac
import json
import os
import stat
import struct
import subprocess
import sys
import time

try:
    import zstandard
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError as missing:
    print(f"MISSING: {missing}", file=sys.stderr)
    sys.exit(77)


class Reject(Exception):
    """The volume breaks a rule of the format."""


def need(condition, rule):
    if not condition:
        raise Reject(rule)


# -- volume.md section 1: CRC-64/NVME -------------------------------------------------------------------------------

def _crc_table():
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x9A6C9329AC4BC9B5 if value & 1 else 0)  # 0xAD93D23594C93659, reflected
        table.append(value)
    return table


TABLE = _crc_table()


def crc64(*parts):
    value = 0xFFFFFFFFFFFFFFFF
    for part in parts:
        for byte in part:
            value = TABLE[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFFFFFFFFFF


assert crc64(b"123456789") == 0xAE8B14860A799888


def hkdf(ikm, salt, info, length):
    key = hmac.new(salt, ikm, hashlib.sha256).digest()
    out, block = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.new(key, block + info + bytes([counter]), hashlib.sha256).digest()
        out += block
    return out[:length]


# -- volume.md ------------------------------------------------------------------------------------------------------

def read_header(root):
    data = open(os.path.join(root, "VOLUME"), "rb").read()
    need(len(data) == 512, "V4")
    magic, version, zero, size, must, _may = struct.unpack_from("<8sHHIQQ", data)
    need(magic == b"\x89PMV\r\n\x1a\n" and version == 1 and zero == 0 and size == 512, "V3")
    need(must == 0, f"V3: unknown must-understand bits {must:#x}")
    job, volume, number, zero, created = struct.unpack_from("<16s16sIIQ", data, 32)
    need(any(job) and any(volume) and number and not zero, "V3")
    need(not any(data[144:504]), "V1")
    need(struct.unpack_from("<Q", data, 504)[0] == crc64(data[:504]), "V3: crc64")
    return {"job": job, "volume": volume, "number": number, "salt": data[80:112], "key": data[112:144]}


def read_seal(root, header):
    path = os.path.join(root, "SEALED")
    if not os.path.exists(path):
        return False
    text = open(path, "rb").read()
    need(len(text) <= 65536, "V10")
    lines = [line.split(": ", 1) for line in text.decode("ascii").splitlines()]
    names = [name for name, _ in lines if not name.startswith("x-")]
    plain = ["packmule-sealed", "job", "volume", "number", "packs", "bytes", "sealed", "read-back", "sums-sha256"]
    signed = ["merkle-root", "custody", "job-key", "signature"]
    need(names in (plain + ["crc64"], plain + signed + ["crc64"]), "V7")
    said = dict(lines)
    body = text[: text.rindex(b"crc64: ")]
    need(said["crc64"] == f"{crc64(body):016x}", "V7: crc64")
    need(said["job"] == header["job"].hex() and said["volume"] == header["volume"].hex(), "V7: job, volume")
    need(int(said["number"]) == header["number"], "V7: number")
    sums = open(os.path.join(root, "SHA256SUMS"), "rb").read()
    need(said["sums-sha256"] == hashlib.sha256(sums).hexdigest(), "V7: sums-sha256")
    listed = []
    for line in sums.decode("ascii").splitlines():
        digest, name = line.split("  ", 1)
        listed.append(name)
        data = open(os.path.join(root, name), "rb").read()
        need(hashlib.sha256(data).hexdigest() == digest, f"V6: {name}")
    present = ["README.txt", "VOLUME"]
    for below in ("reader", "slots", "packs"):
        if below == "reader" and not os.path.isdir(os.path.join(root, below)):
            continue
        names = os.listdir(os.path.join(root, below))
        present += sorted((f"{below}/{name}" for name in names), key=lambda name: (name.endswith(".kms"), name))
    need(listed == present + ["MANIFEST"], "V6: files listed and present")
    log = read_custody(root, header)
    if "signature" in said:
        check_signature(said, sums, header, log)
    return True


# -- custody.md -----------------------------------------------------------------------------------------------------

def is_signed(key, domain, message, signature):
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, b"packmule/1 sign " + domain + b"\0" + message)
    except InvalidSignature:
        return False
    return True


def sized(text):
    return struct.pack("<Q", len(text)) + text


def merkle(leaves):
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + merkle(leaves[:half]) + merkle(leaves[half:])).digest()


def check_signature(said, sums, header, log):
    root = merkle([line for line in sums.splitlines() if b"  slots/" not in line])
    need(said["merkle-root"] == root.hex(), "C3: merkle-root")
    custody = bytes.fromhex(said["custody"])
    message = header["job"] + header["volume"] + struct.pack("<IQ", header["number"], int(said["packs"]))
    message += sized(said["sealed"].encode()) + sized(said["read-back"].encode()) + root + custody
    need(is_signed(bytes.fromhex(said["job-key"]), b"seal", message, bytes.fromhex(said["signature"])), "C3: signature")
    need(said["job-key"] == header["key"].hex(), "C3: another key than in VOLUME")
    heads, states = set(), {bytes(32)}
    for entry in log:
        heads = heads - set(entry["before"]) | {entry["hash"]}
        states.add(hashlib.sha256(b"".join(sorted(heads))).digest())
    need(custody in states, "C5")


def nanoseconds(text):
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))
    return seconds * 10**9 + int(fraction.ljust(9, "0") or "0")


def read_custody(root, header):
    path = os.path.join(root, "CUSTODY")
    if not os.path.exists(path):
        return []
    log, seen = [], set()
    for line in open(path, "rb").read().decode().splitlines():
        entry = json.loads(line)
        before = [bytes.fromhex(digest) for digest in entry["before"]]
        key = bytes.fromhex(entry["key"])
        message = b"packmule/1 custody" + header["job"] + struct.pack("<IqQ", header["number"], nanoseconds(entry["at"]), len(before))
        message += b"".join(before) + b"".join(sized(entry[name].encode()) for name in ("kind", "by", "detail")) + key
        digest = hashlib.sha256(message).digest()
        need(entry["hash"] == digest.hex() and is_signed(key, b"custody", digest, bytes.fromhex(entry["signature"])), "C4")
        need(all(one in seen for one in before) and bool(before) == bool(log) and before == sorted(before), "C4: before")
        seen.add(digest)
        log.append({"hash": digest, "before": before})
    return log


# -- key-slots.md ---------------------------------------------------------------------------------------------------

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def read_code(text):
    """The 25 characters of an unlock code, checked."""
    code = text.upper().replace("-", "").replace(" ", "").replace("O", "0").replace("I", "1").replace("L", "1")
    need(len(code) == 25 and all(c in ALPHABET for c in code), "K2: not 25 characters of the alphabet")

    def times(a, b):  # GF(32), x^5 + x^2 + 1
        product = 0
        for bit in range(5):
            if b >> bit & 1:
                product ^= a << bit
        for bit in range(9, 4, -1):
            if product >> bit & 1:
                product ^= 0b100101 << bit - 5
        return product

    powers = [1]
    for _ in range(30):
        powers.append(times(powers[-1], 2))
    for step in (1, 2):
        total = 0
        for place, char in enumerate(code):
            total ^= times(ALPHABET.index(char), powers[place * step % 31])
        need(total == 0, "K2: a character is wrong")
    return code


def bech32(prefix, data):
    """BIP 173, without its limit on length."""
    letters = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

    def polymod(values):
        check = 1
        for value in values:
            top = check >> 25
            check = (check & 0x1FFFFFF) << 5 ^ value
            for bit, term in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
                check ^= term if top >> bit & 1 else 0
        return check

    bits = int.from_bytes(data, "big") << -len(data) * 8 % 5
    count = -(-len(data) * 8 // 5)
    words = [bits >> 5 * (count - 1 - at) & 31 for at in range(count)]
    head = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    check = polymod(head + words + [0] * 6) ^ 1
    words += [check >> 5 * (5 - at) & 31 for at in range(6)]
    return prefix + "1" + "".join(letters[word] for word in words)


def identity(key, header):
    """Text of an age identity file for what the caller holds."""
    kind, _, path = key.partition(":")
    if kind == "code":
        code = read_code(open(path, encoding="ascii").read().strip())
        seed = hkdf(code.encode(), header["salt"], b"packmule/1 unlock-code", 32)
    elif kind == "passphrase":
        phrase = open(path, "rb").read()
        phrase = phrase.removesuffix(b"\n").removesuffix(b"\r")
        salt = b"packmule/1 passphrase" + header["salt"]
        seed = hashlib.scrypt(phrase, salt=salt, n=2**17, r=8, p=1, dklen=32, maxmem=2**28)
    else:
        return open(key, "rb").read()
    return (bech32("age-secret-key-", seed).upper() + "\n").encode()


def open_slots(root, header, key):
    secret = identity(key, header)
    keys = {}
    for name in os.listdir(os.path.join(root, "slots")):
        if name.endswith(".kms"):
            continue
        run = name.removesuffix(".age")
        slot = os.path.join(root, "slots", name)
        done = subprocess.run(["age", "-d", "-i", "-", slot], input=secret, capture_output=True, check=False)
        need(done.returncode == 0, f"age: {done.stderr.decode(errors='replace')}")
        lines = done.stdout.decode("ascii").split("\n")
        need(lines[:3] == ["packmule-run-key 1", f"job {header['job'].hex()}", f"run {run}"] and lines[-1] == "", "K1")
        need(all(line.startswith("for ") and line.count(" ") >= 2 for line in lines[4:-1]), "K1: for")
        keys[bytes.fromhex(run)] = bytes.fromhex(lines[3].removeprefix("key "))
    return keys


# -- pack.md --------------------------------------------------------------------------------------------------------

MARK = b"\xf5PMF\r\n\x1a\n"
DATA, ENTRIES, COMMIT, FOOTER = 1, 2, 3, 4


class Pack:
    """A pack or MANIFEST: its frames by index, its records, checked."""

    def __init__(self, path, number, header, keys):
        self.data = open(path, "rb").read()
        self.number = number
        self.keys = keys
        self.frames = {}
        self.records = []
        self.closed = False
        self.read_head(header)
        self.read_frames()

    def read_head(self, header):
        head = self.head = self.data[:4096]
        need(len(head) == 4096, "P1")
        magic, version, kind, size, must, _may = struct.unpack_from("<8sHHIQQ", head)
        need(magic == b"\x89PMP\r\n\x1a\n" and version == 1 and size == 4096 and must == 0, "P1")
        need(kind == (1 if self.number else 2), "P1: kind")
        job, volume, volume_number, number, self.run = struct.unpack_from("<16s16sII16s", head, 32)
        need((job, volume, volume_number) == (header["job"], header["volume"], header["number"]), "P1: belongs elsewhere")
        need(number == self.number and any(self.run), "P1: number, run")
        self.plain_max, zero = struct.unpack_from("<II", head, 88)
        need(4096 <= self.plain_max <= 16777216 and zero == 0, "P1")
        need(not any(head[168:4088]) and struct.unpack_from("<Q", head, 4088)[0] == crc64(head[:4088]), "P1: crc64")
        okm = hkdf(self.keys[self.run], head[104:136], b"packmule/1 pack" + head[:104], 64)
        need(okm[32:] == head[136:168], "P1: key_commitment")
        self.cipher = AESGCM(okm[:32])

    def open(self, cipher, frame, body):
        nonce = bytes(8) + frame[12:16]
        try:
            return cipher.decrypt(nonce, body, self.head[32:72] + frame[8:24])
        except Exception as error:
            raise Reject(f"P6: {error!r}") from error

    def read_frames(self):
        at, index, after_footer = 4096, 0, False
        group, first, commits = [], 0, 0
        chain = hashlib.sha256(self.head).digest()
        group_data = group_records = total_data = total_records = 0
        pending, pending_records = {}, []
        while at < len(self.data):
            if after_footer or not any(self.data[at : at + 8]):
                end = (at // 4096 + 1) * 4096
                need(not any(self.data[at:end]), "P3")
                at = end
                continue
            frame = self.data[at : at + 32]
            mark, kind, own, body_bytes, zero, crc = struct.unpack("<8sB3xIIIQ", frame)
            need(mark == MARK and not any(frame[9:12]) and zero == 0 and own == index, f"P2 at {at}")
            limit = {DATA: self.plain_max + 24, ENTRIES: 1048576 + 24, COMMIT: 80, FOOTER: 168}.get(kind)
            need(limit is not None and body_bytes <= limit and (kind < COMMIT or body_bytes == limit), "P4")
            body = self.data[at + 32 : at + 32 + body_bytes]
            need(len(body) == body_bytes and crc64(frame[:24], body) == crc, f"P2: crc64 at {at}")
            end = at + 32 + body_bytes
            place = -(-end // 64) * 64
            need(not any(self.data[end:place]), "P3")
            if kind in (DATA, ENTRIES):
                plain = self.plain(frame, body, self.plain_max if kind == DATA else 1048576)
                group.append(crc)
                if kind == DATA:
                    need(self.number, "MANIFEST holds no data")
                    pending[index] = plain
                    group_data += len(plain)
                else:
                    read = list(records(plain))
                    pending_records += read
                    group_records += len(read)
            elif kind == COMMIT:
                need(at % 4096 == 0, "commit at a multiple of 4096")
                chain = hashlib.sha256(chain + b"".join(struct.pack("<Q", value) for value in group)).digest()
                expected = struct.pack("<IIQQII", first, index - first, at, group_data, group_records, commits + 1) + chain
                need(self.open(self.cipher, frame, body) == expected, f"P8 at {at}")
                commits += 1
                total_data, total_records = total_data + group_data, total_records + group_records
                self.frames.update(pending)  # nothing of a group is shown before its commit (P12)
                self.records += pending_records
                group, first, group_data, group_records, pending, pending_records = [], index + 1, 0, 0, {}, []
                place = -(-place // 4096) * 4096
                need(not any(self.data[end:place]), "P3")
            else:
                run, salt, commitment = struct.unpack_from("<16s32s32s", body)
                okm = hkdf(self.keys[run], salt, b"packmule/1 footer" + self.head[:72] + run, 64)
                need(okm[32:] == commitment, "footer commitment")
                plain = self.open(AESGCM(okm[:32]), frame, body[80:])
                expected = struct.pack("<IIQQQ", index, commits, at, total_data, total_records) + chain
                need(plain[:64] == expected and plain[64] in (1, 2) and not any(plain[65:]) and not group, "P9")
                after_footer = self.closed = True
            index += 1
            at = place

    def plain(self, frame, body, limit):
        inner = self.open(self.cipher, frame, body)
        codec, plain_bytes = struct.unpack_from("<B3xI", inner)
        need(codec in (0, 1) and not any(inner[1:4]) and 1 <= plain_bytes <= limit, "P7")
        payload = inner[8:]
        if codec == 1:
            payload = zstandard.ZstdDecompressor().decompressobj().decompress(payload)
        need(len(payload) == plain_bytes, "P7: length")
        return payload


# -- manifest.md ----------------------------------------------------------------------------------------------------

def records(plain):
    at = 0
    while at < len(plain):
        size, kind, zero = struct.unpack_from("<IHH", plain, at)
        need(8 <= size <= len(plain) - at and zero == 0, "M1")
        body = plain[at + 8 : at + size]
        at += size
        if kind == 1:
            yield entry(body)
        elif kind == 2:
            yield "begin", {"id": struct.unpack_from("<Q", body)[0]}
        elif kind == 3:
            yield extent(body)
        elif kind == 4:
            path_bytes, _text_bytes = struct.unpack_from("<HH", body, 14)
            yield "problem", {"path": body[24 : 24 + path_bytes]}
        elif kind == 5:
            number, frames, file_bytes, crc, commits, reason, run = struct.unpack("<IIQQIB3x16s", body)
            yield "pack", {"number": number, "bytes": file_bytes, "crc64": crc, "frames": frames, "run": run}
        elif kind == 6:
            yield "summary", dict(zip(("entries", "extents", "problems", "content_bytes", "packs", "pack_bytes"), struct.unpack("<6Q", body), strict=True))
        elif kind == 7:
            identity, generation, path_bytes, zero = struct.unpack_from("<QIHH", body)
            need(zero == 0 and 16 + path_bytes == len(body), "M2: DELETED")
            yield "deleted", {"id": identity, "generation": generation}
        else:
            need(kind >= 0x8000, f"M1: unknown kind {kind}")


def entry(body):
    (identity, generation, kind, state, zero, mode, uid, gid, mtime_ns, mtime_s, size, extents, major, minor, zero2, crc, sha, link) = (
        struct.unpack_from("<QIBBHIIIIqQIIIIQ32sQ", body)
    )
    need(identity and generation and 1 <= kind <= 8 and state <= 1 and not zero and not zero2 and mode <= 0o7777, "M3")
    lengths = struct.unpack_from("<HHHHI", body, 112)
    parts, at = [], 124
    for length in lengths:
        parts.append(body[at : at + length])
        at += length
    need(at == len(body), "M2")
    path = parts[0]
    names = path.split(b"/")
    need(b"\0" not in path and len(path) <= 32767, "M8")
    need((path == b"" and kind == 2) or not ({b"", b".", b".."} & set(names)), "M8")
    return "entry", {
        "id": identity, "generation": generation, "type": kind, "mode": mode, "mtime": mtime_s * 10**9 + mtime_ns,
        "size": size, "extents": extents, "crc64": crc, "sha256": sha, "link": link, "path": path, "target": parts[1],
        "device": os.makedev(major, minor), "xattrs": attributes(parts[4]),
    }  # fmt: skip


def attributes(data):
    """Extended attributes; a birth time cannot be set."""
    found, at = [], 0
    while at < len(data):
        tag, zero, count = struct.unpack_from("<HHI", data, at)
        value = data[at + 8 : at + 8 + count]
        need(zero == 0 and len(value) == count, "M4")
        need(tag in (1, 2) or tag >= 0x8000, f"M4: unknown tag {tag}")
        if tag == 1:
            name, _, content = value.partition(b"\0")
            need(name, "M4: an attribute without a name")
            found.append((name, content))
        at += 8 + count
    return found


def extent(body):
    identity, generation, flags, offset, length, crc, pack, pieces = struct.unpack_from("<QIB3xQQQII", body)
    need(identity and generation and flags <= 3 and length and offset + length < 2**63, "M5")
    at, states = 48, None
    if flags & 2:
        need(offset % 64 == 0, "M5")
        states = (body[48:80], body[80:112])
        at = 112
    found = [struct.unpack_from("<III", body, at + 12 * n) for n in range(pieces)]
    need(at + 12 * pieces == len(body) and (flags & 1) == (pieces == 0), "M5")
    need(flags & 1 or sum(piece[2] for piece in found) == length, "M5")
    return "extent", {
        "id": identity, "generation": generation, "offset": offset, "length": length, "crc64": crc, "pack": pack,
        "states": states, "pieces": found,
    }  # fmt: skip


def content(pack, record):
    if not record["pieces"]:
        return bytes(record["length"])
    out = b""
    for frame, at, count in record["pieces"]:
        plain = pack.frames.get(frame)
        need(plain is not None and at + count <= len(plain), "M5: a piece lies outside its frame")
        out += plain[at : at + count]
    return out


# -- the whole ------------------------------------------------------------------------------------------------------

def read_volume(root, key, state):
    header = read_header(root)
    sealed = read_seal(root, header)
    keys = open_slots(root, header, key)
    packs = {}
    for name in sorted(os.listdir(os.path.join(root, "packs"))):
        number = int(name.removesuffix(".pack"))
        pack = packs[number] = Pack(os.path.join(root, "packs", name), number, header, keys)
        need(pack.closed or not sealed, "P10")
        for kind, record in pack.records:
            if kind == "extent":
                data = content(pack, record)
                need(crc64(data) == record["crc64"], "M5: crc64")
                state["extents"].setdefault((record["id"], record["generation"]), {})[record["offset"]] = data
            elif kind == "entry":
                old = state["entries"].get(record["id"])
                if old is None or old["generation"] < record["generation"]:
                    state["entries"][record["id"]] = record
                elif old["generation"] == record["generation"]:
                    need(old == record, "M10: two entries of one generation")
            elif kind == "deleted":
                state["deleted"][record["id"]] = max(record["generation"], state["deleted"].get(record["id"], 0))
            elif kind == "problem":
                state["problems"].add(record["path"])
    if sealed:
        check_manifest(root, header, keys, packs)
    state["packs"] += len(packs)


def check_manifest(root, header, keys, packs):
    manifest = Pack(os.path.join(root, "MANIFEST"), 0, header, keys)
    listed = {}
    counts = dict.fromkeys(("entries", "extents", "problems", "content_bytes", "packs", "pack_bytes"), 0)
    for kind, record in manifest.records:
        if kind == "pack":
            listed[record["number"]] = record
            counts["packs"] += 1
            counts["pack_bytes"] += record["bytes"]
        elif kind == "extent":
            counts["extents"] += 1
            counts["content_bytes"] += record["length"]
        elif kind in ("entry", "problem"):
            counts["entries" if kind == "entry" else "problems"] += 1
    need(manifest.records and manifest.records[-1] == ("summary", counts), "M7: SUMMARY")
    need(set(listed) == set(packs), "M7: packs")
    for number, record in listed.items():
        data = packs[number].data
        need(record["bytes"] == len(data) and record["crc64"] == crc64(data) and record["run"] == packs[number].run, "M7: PACK")


def write_out(state, output):
    files = 0
    out = os.fsencode(output)
    for gone, generation in state["deleted"].items():
        if gone in state["entries"] and state["entries"][gone]["generation"] <= generation:
            del state["entries"][gone]
    ordered = sorted(state["entries"].values(), key=lambda record: (record["type"] == 4, record["path"]))
    for record in ordered:
        target = os.path.join(out, record["path"]) if record["path"] else out
        if record["type"] == 2:
            os.makedirs(target, exist_ok=True)
            continue
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if record["type"] == 3:
            os.symlink(record["target"], target)
        elif record["type"] == 4:
            os.link(os.path.join(out, record["target"]), target)
        elif record["type"] == 1:
            parts = state["extents"].get((record["id"], record["generation"]), {})
            data = b""
            for offset in sorted(parts):
                need(offset == len(data), f"M6: {record['path']!r} at {offset}")
                data += parts[offset]
            need(len(data) == record["size"] and len(parts) == record["extents"], f"M6: {record['path']!r}")
            need(hashlib.sha256(data).digest() == record["sha256"] and crc64(data) == record["crc64"], f"digest of {record['path']!r}")
            with open(target, "xb") as file:
                file.write(data)
            for name, value in record["xattrs"]:
                try:
                    os.setxattr(target, name, value)
                except OSError as error:
                    print(f"xattr {name!r} of {record['path']!r}: {error}", file=sys.stderr)
            os.chmod(target, record["mode"])
            os.utime(target, ns=(record["mtime"], record["mtime"]))
            files += 1
        elif record["type"] == 5:
            os.mkfifo(target, record["mode"])
        elif record["type"] in (7, 8) and os.geteuid() == 0:
            os.mknod(target, record["mode"] | (stat.S_IFCHR if record["type"] == 7 else stat.S_IFBLK), record["device"])
    # Last, because what is made inside a directory changes its time, and its mode may forbid making anything.
    for record in sorted((r for r in ordered if r["type"] == 2), key=lambda r: r["path"], reverse=True):
        target = os.path.join(out, record["path"]) if record["path"] else out
        os.chmod(target, record["mode"])
        os.utime(target, ns=(record["mtime"], record["mtime"]))
    return files


def main():
    key, output, *volumes = sys.argv[1:]
    state = {"entries": {}, "deleted": {}, "extents": {}, "problems": set(), "packs": 0}
    try:
        for volume in volumes:
            below = os.path.join(volume, "packmule")
            read_volume(below if os.path.isdir(below) else volume, key, state)
        files = write_out(state, output)
    except Reject as rule:
        print(f"REJECTED: {rule}", file=sys.stderr)
        sys.exit(4)
    print(json.dumps({"files": files, "entries": len(state["entries"]), "problems": len(state["problems"]), "packs": state["packs"]}))


main()
