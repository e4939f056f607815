-- Schema 1 of job.db. Codes of `state` and `type` columns are those of job/entry.rs, format/record and job/objects.rs.
-- A small file costs one row in `entries`, one in `entries_name` and one in `staged`; `extents` holds only what is more
-- than one piece of one frame.

CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

CREATE TABLE sources (
    number INTEGER PRIMARY KEY,
    path   BLOB NOT NULL,              -- where on this machine
    prefix BLOB NOT NULL UNIQUE,       -- stored path of its top, may be empty
    entry  INTEGER NOT NULL
);

CREATE TABLE recipients (number INTEGER PRIMARY KEY, recipient TEXT NOT NULL UNIQUE, kind TEXT NOT NULL);

CREATE TABLE runs (
    run_id     BLOB PRIMARY KEY,
    command    TEXT NOT NULL,
    started_ns INTEGER NOT NULL,
    ended_ns   INTEGER,
    outcome    TEXT,
    host       TEXT NOT NULL,
    version    TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE owners (
    number INTEGER PRIMARY KEY,
    uid    INTEGER NOT NULL,
    gid    INTEGER NOT NULL,
    user   BLOB NOT NULL,
    grp    BLOB NOT NULL,
    UNIQUE (uid, gid, user, grp)
);

-- What the source says about each path. Rows are never removed: an id names one path for ever.
CREATE TABLE entries (
    id         INTEGER PRIMARY KEY,
    parent     INTEGER NOT NULL,       -- 0 for the dataset's top directory, whose name is empty
    name       BLOB NOT NULL,
    state      INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    type       INTEGER NOT NULL,
    size       INTEGER NOT NULL,
    mtime_s    INTEGER NOT NULL,
    mtime_ns   INTEGER NOT NULL,
    ctime_ns   INTEGER,                -- with dev and ino: NULL when the entry came from a volume
    dev        INTEGER,
    ino        INTEGER,
    nlink      INTEGER NOT NULL,
    mode       INTEGER NOT NULL,
    owner      INTEGER NOT NULL,
    link_id    INTEGER,
    rdev       INTEGER,
    target     BLOB,
    attributes BLOB
);
CREATE UNIQUE INDEX entries_name ON entries (parent, name);
-- What is left to do, in time proportional to what is left.
CREATE INDEX entries_open ON entries (state) WHERE state < 10;
CREATE INDEX entries_links ON entries (dev, ino) WHERE nlink > 1;

-- The ENTRY record of the current generation: where it is committed, and what was read.
CREATE TABLE staged (
    id         INTEGER PRIMARY KEY,
    generation INTEGER NOT NULL,
    volume     INTEGER NOT NULL,
    pack       INTEGER NOT NULL,
    changed    INTEGER NOT NULL,       -- 1: changed while it was read
    extents    INTEGER NOT NULL,       -- extent_count of the record
    crc64      INTEGER,                -- files only
    sha256     BLOB,                   -- files only
    frame      INTEGER,                -- with at: the only extent is this one piece, in the same pack, and has no row of its own
    at         INTEGER
);

CREATE TABLE extents (
    entry      INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    offset     INTEGER NOT NULL,
    length     INTEGER NOT NULL,
    volume     INTEGER NOT NULL,
    pack       INTEGER NOT NULL,
    crc64      INTEGER NOT NULL,
    pieces     BLOB NOT NULL,          -- 12 bytes each as in the EXTENT record; none: a hole
    sha_start  BLOB,
    sha_end    BLOB,
    PRIMARY KEY (entry, generation, offset)
) WITHOUT ROWID;

-- Records that most entries do not have, as they are: BEGIN, PROBLEM, DELETED, and those of superseded generations.
CREATE TABLE rare (
    number     INTEGER PRIMARY KEY,
    entry      INTEGER NOT NULL,       -- 0: none
    kind       INTEGER NOT NULL,
    generation INTEGER NOT NULL,       -- without an entry: number of the last walk that met it
    volume     INTEGER,                -- NULL: not yet on any volume
    pack       INTEGER,
    record     BLOB NOT NULL
);
CREATE INDEX rare_entry ON rare (entry, kind);
CREATE INDEX rare_loose ON rare (record) WHERE entry = 0;
CREATE INDEX rare_unrecorded ON rare (number) WHERE volume IS NULL;

CREATE TABLE excluded (rule TEXT PRIMARY KEY, entries INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID;

-- The ledger, kept up to date by every transaction that changes a state.
CREATE TABLE tally (
    state   INTEGER NOT NULL,
    type    INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    bytes   INTEGER NOT NULL,
    PRIMARY KEY (state, type)
) WITHOUT ROWID;

CREATE TABLE volumes (
    number         INTEGER PRIMARY KEY,
    volume_id      BLOB NOT NULL UNIQUE,
    path           BLOB NOT NULL,      -- where it was last seen
    state          INTEGER NOT NULL,
    capacity_bytes INTEGER NOT NULL,
    file_bytes     INTEGER NOT NULL,   -- of all its files, once sealed
    created_ns     INTEGER NOT NULL,
    sealed_ns      INTEGER,
    read_back      TEXT,               -- how, as in SEALED
    sums_sha256    BLOB,               -- as in SEALED
    erased_ns      INTEGER,
    model          TEXT,
    serial         TEXT
);

CREATE TABLE packs (
    volume           INTEGER NOT NULL,
    number           INTEGER NOT NULL,
    run_id           BLOB NOT NULL,
    committed_bytes  INTEGER NOT NULL,
    frames_next      INTEGER NOT NULL,
    commits          INTEGER NOT NULL,
    chain            BLOB NOT NULL,
    crc64            INTEGER NOT NULL, -- of the committed bytes; once closed, of the whole file
    data_plain_bytes INTEGER NOT NULL,
    records          INTEGER NOT NULL,
    reason           INTEGER,          -- of its footer; NULL: open
    frame_count      INTEGER,          -- once closed, footer included
    file_bytes       INTEGER,
    PRIMARY KEY (volume, number)
) WITHOUT ROWID;

CREATE TABLE objects (
    entry      INTEGER PRIMARY KEY,
    generation INTEGER NOT NULL,
    state      INTEGER NOT NULL,
    bytes      INTEGER,                -- as counted in object_tally; NULL: of an earlier generation, and not counted
    key        BLOB,                   -- NULL: the entry's path under the prefix of the ingest
    upload_id  TEXT,
    part_bytes INTEGER,
    etag       TEXT,
    version_id TEXT,
    crc64      INTEGER,                -- as the server gave it
    attempts   INTEGER NOT NULL,
    error      TEXT,
    changed_ns INTEGER NOT NULL
);
CREATE INDEX objects_open ON objects (state) WHERE state < 10;

CREATE TABLE parts (
    entry  INTEGER NOT NULL,
    number INTEGER NOT NULL,
    bytes  INTEGER NOT NULL,
    crc64  INTEGER NOT NULL,
    etag   TEXT NOT NULL,
    PRIMARY KEY (entry, number)
) WITHOUT ROWID;

CREATE TABLE object_tally (state INTEGER PRIMARY KEY, entries INTEGER NOT NULL, bytes INTEGER NOT NULL);

CREATE TABLE endpoints (
    url       TEXT NOT NULL,
    bucket    TEXT NOT NULL,
    probed_ns INTEGER NOT NULL,
    facts     TEXT NOT NULL,
    PRIMARY KEY (url, bucket)
) WITHOUT ROWID;

-- Custody log: only ever appended to. `hash` chains it.
CREATE TABLE events (
    number INTEGER PRIMARY KEY,
    at_ns  INTEGER NOT NULL,
    kind   TEXT NOT NULL,
    volume INTEGER,
    by     TEXT NOT NULL,
    detail TEXT NOT NULL,
    before BLOB NOT NULL,              -- hashes of the events of the same volume that it follows, 32 bytes each
    key    BLOB NOT NULL,              -- whose signature it is
    hash   BLOB NOT NULL UNIQUE,
    signature BLOB NOT NULL
);
CREATE TRIGGER events_stay BEFORE UPDATE ON events BEGIN SELECT raise(ABORT, 'the custody log is append-only'); END;
CREATE TRIGGER events_remain BEFORE DELETE ON events BEGIN SELECT raise(ABORT, 'the custody log is append-only'); END;
