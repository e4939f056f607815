"""A block device of false capacity, as a plugin of nbdkit: it says `size` and has `true`. Unit of both: bytes.

What lies beyond the true size is dropped (`wraps=0`), or written over what came first (`wraps=1`).
"""
API_VERSION = 2
SETTINGS = {"size": 0, "true": 0, "wraps": 0}
MEMORY = bytearray()


def config(key, value):
    SETTINGS[key] = int(value)


def get_ready():
    MEMORY.extend(bytes(SETTINGS["true"]))


def thread_model():
    import nbdkit

    return nbdkit.THREAD_MODEL_SERIALIZE_ALL_REQUESTS


def open(_readonly):
    return 1


def get_size(_handle):
    return SETTINGS["size"]


def pieces(offset, count):
    """Where bytes really go: a place in memory, or None, and how many."""
    true = SETTINGS["true"]
    while count:
        place = offset % true if SETTINGS["wraps"] else offset
        length = min(count, true - place) if place < true else count
        yield (place if place < true else None), length
        offset, count = offset + length, count - length


def pread(_handle, buffer, offset, _flags):
    done = 0
    for place, length in pieces(offset, len(buffer)):
        buffer[done:done + length] = bytes(length) if place is None else MEMORY[place:place + length]
        done += length


def pwrite(_handle, buffer, offset, _flags):
    done = 0
    for place, length in pieces(offset, len(buffer)):
        if place is not None:
            MEMORY[place:place + length] = buffer[done:done + length]
        done += length


def flush(_handle, _flags):
    pass


def can_flush(_handle):
    return True
