//! A small set of two sealed volumes in memory, made by hand, for tests of `verify`: small files, a file over two packs
//! and two volumes, a hole, links, hostile names, an empty file, a problem record.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use packmule::crypto::Identities;
use packmule::digest::{CHAIN_START, Sha256Stream, crc64, zeros};
use packmule::format::record::{
    Begin, Content, Entry, EntryType, Extent, Piece, Problem, ProblemCode, Record, ShaStates,
};
use packmule::format::{FRAME_HEADER_BYTES, FrameKind, Inner};
use packmule::monitor::Silent;
use packmule::sys::mem::MemFs;
use packmule::sys::{Access, Fs, World};
use packmule::verify::{Options, Report, verify};
use packmule::volume::{PackState, PackWriter, SealedFrame, Volume};

use crate::volume_kit::{Kit, commit, entry};

pub const ONE: &str = "/one";
pub const TWO: &str = "/two";

/// Files of a scene below a directory, by path; what a test damages and puts back.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Two sealed volumes and what opens them.
pub struct Scene {
    pub files: Files,
    pub secret: String,
    /// Contents of the files staged, by path.
    pub contents: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Data frames put in line; gives the pieces of `content`, cut into frames of `frame_bytes`.
pub fn put_frames(writer: &mut PackWriter, content: &[u8], frame_bytes: usize) -> Vec<Piece> {
    let key = Arc::clone(writer.sealing());
    let mut pieces = Vec::new();
    for part in content.chunks(frame_bytes) {
        let mut bytes = vec![0; FRAME_HEADER_BYTES];
        let plain_bytes = u32::try_from(part.len()).unwrap();
        let packed = zstd::bulk::compress(part, 3).unwrap();
        let zstd = packed.len() < part.len();
        bytes.extend_from_slice(&Inner { zstd, plain_bytes }.encode());
        bytes.extend_from_slice(if zstd { &packed } else { part });
        let header = key.seal(key.ticket().unwrap(), FrameKind::Data, &mut bytes).unwrap();
        let frame = SealedFrame { header, bytes: bytes.into(), data_plain_bytes: plain_bytes, record_count: 0 };
        assert!(writer.push(frame).unwrap().is_none());
        pieces.push(Piece { frame: header.index, at: 0, bytes: plain_bytes });
    }
    pieces
}

/// An extent of `whole` with the SHA-256 states around it.
pub fn extent(id: u64, whole: &[u8], offset: usize, length: usize, content: Content) -> Extent {
    let bytes = &whole[offset..offset + length];
    let mut stream = Sha256Stream::new();
    stream.update(&whole[..offset]);
    let start = if offset == 0 { CHAIN_START } else { stream.chaining_value().unwrap() };
    stream.update(bytes);
    let end = if offset + length == whole.len() { stream.finish() } else { stream.chaining_value().unwrap() };
    Extent {
        id,
        generation: 1,
        offset: offset as u64,
        length: length as u64,
        crc64: crc64(bytes),
        pack: 0,
        states: Some(ShaStates { start, end }),
        content,
    }
}

pub fn other(id: u64, path: &[u8], entry_type: EntryType, target: &[u8], link_id: u64) -> Record {
    let mut made = entry(id, path, b"");
    (made.entry_type, made.target, made.link_id) = (entry_type, target.to_vec(), link_id);
    (made.sha256, made.size, made.extent_count) = ([0; 32], 0, 0);
    Record::Entry(made)
}

pub fn begin(id: u64, path: &[u8], size: usize) -> Record {
    let (path, size) = (path.to_vec(), size as u64);
    Record::Begin(Begin { id, generation: 1, mtime_s: 1, mtime_ns: 2, size, path })
}

/// Bytes that do not repeat much.
pub fn noise(seed: u64, count: usize) -> Vec<u8> {
    use packmule::sys::RandomSource;
    let mut bytes = vec![0; count];
    packmule::sys::random::SeededRandom::new(seed).fill(&mut bytes);
    bytes
}

/// Small files of one group in one frame, back to back, the last one running over into a second frame.
fn small_files(writer: &mut PackWriter, contents: &mut BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<Record> {
    let names: [&[u8]; 3] = [b"dir/plain.txt", b"dir/new\nline \xff", b"dir/-rf \xf0\x9f\x90\x8e "];
    let bodies = [b"plain ".repeat(60), noise(1, 150), noise(2, 130)];
    let all = bodies.concat();
    let cut = all.len() - 60;
    let pieces = put_frames(writer, &all[..cut], cut);
    let rest = put_frames(writer, &all[cut..], 60);
    let mut records = vec![other(9, b"dir", EntryType::Directory, b"", 0)];
    let mut at = 0;
    for (n, (name, body)) in names.iter().zip(&bodies).enumerate() {
        let id = n as u64 + 1;
        let bytes = u32::try_from(body.len()).unwrap();
        let mut content = vec![Piece { frame: pieces[0].frame, at, bytes }];
        if n == 2 {
            content[0].bytes -= 60;
            content.push(Piece { frame: rest[0].frame, at: 0, bytes: 60 });
        }
        at += bytes;
        let extent = Extent { states: None, ..extent(id, body, 0, body.len(), Content::Stored(content)) };
        records.push(Record::Extent(extent));
        records.push(Record::Entry(entry(id, name, body)));
        contents.insert(name.to_vec(), body.clone());
    }
    records.push(other(10, b"dir/link", EntryType::Symlink, b"plain.txt", 0));
    records.push(other(11, b"dir/again", EntryType::HardLink, b"dir/plain.txt", 1));
    records.push(Record::Entry(entry(12, b"empty", b"")));
    contents.insert(b"empty".to_vec(), Vec::new());
    records
}

fn as_in_manifest(records: &[Record], pack: u32) -> Vec<Record> {
    let number = |extent: &Extent| if extent.content == Content::Hole { 0 } else { pack };
    let records = records.iter().cloned();
    records
        .map(|record| match record {
            Record::Extent(extent) => Record::Extent(Extent { pack: number(&extent), ..extent }),
            other => other,
        })
        .collect()
}

/// Writes the frames of one group and gives its records.
type GroupOf<'a> = Box<dyn FnOnce(&mut PackWriter) -> Vec<Record> + 'a>;

struct Volumes<'a> {
    kit: &'a Kit,
    volume: Volume,
    states: Vec<PackState>,
    manifest: Vec<Record>,
}

impl<'a> Volumes<'a> {
    fn new(kit: &'a Kit, dir: &str, number: u32) -> Self {
        let volume = kit.volume(Path::new(dir), number).unwrap();
        Self { kit, volume, states: Vec::new(), manifest: Vec::new() }
    }

    fn pack(&mut self, groups: Vec<GroupOf<'_>>) {
        let number = u32::try_from(self.states.len()).unwrap() + 1;
        let mut writer = self.kit.pack(&self.volume, number, Access::Direct).unwrap();
        for group in groups {
            let records = group(&mut writer);
            self.manifest.extend(as_in_manifest(&records, number));
            drop(commit(&mut writer, records).unwrap());
        }
        self.states.push(self.kit.finish(writer).unwrap());
    }

    fn seal(self) {
        self.kit.seal(&self.volume, &self.states, self.manifest).unwrap();
    }
}

/// Two sealed volumes.
pub fn scene() -> Scene {
    let fs = MemFs::new();
    let (kit, contents) =
        write_scene(Arc::new(fs.clone()), Path::new(ONE), Path::new(TWO), |dir| fs.make_dirs(dir).unwrap());
    Scene { files: collect(&fs, &[ONE, TWO]), secret: kit.secret, contents }
}

/// Writes the scene's two volumes; `make_dir` makes each directory.
pub fn write_scene(
    fs: Arc<dyn Fs>,
    one: &Path,
    two: &Path,
    make_dir: impl Fn(&Path),
) -> (Kit, BTreeMap<Vec<u8>, Vec<u8>>) {
    make_dir(one);
    make_dir(two);
    let kit = Kit::new(fs, 42);
    let mut contents = BTreeMap::new();
    let big = noise(3, 640);
    let big_name: &[u8] = b"dir/big.bin";
    let mut sparse = noise(4, 128);
    sparse.resize(128 + 4096, 0);
    let sparse_name: &[u8] = b"sparse";
    let (mut v1, mut v2) =
        (Volumes::new(&kit, &one.to_string_lossy(), 1), Volumes::new(&kit, &two.to_string_lossy(), 2));
    let (big_ref, sparse_ref, names) = (&big, &sparse, &mut contents);
    v1.pack(vec![
        Box::new(|writer| small_files(writer, names)),
        Box::new(|writer| {
            let pieces = put_frames(writer, &big_ref[..256], 100);
            let stored = Content::Stored(pieces);
            vec![begin(20, big_name, big_ref.len()), Record::Extent(extent(20, big_ref, 0, 256, stored))]
        }),
    ]);
    v1.pack(vec![Box::new(|writer| {
        let pieces = put_frames(writer, &big_ref[256..512], 256);
        let mut records = vec![Record::Extent(extent(20, big_ref, 256, 256, Content::Stored(pieces)))];
        let pieces = put_frames(writer, &sparse_ref[..128], 128);
        records.push(begin(21, sparse_name, sparse_ref.len()));
        records.push(Record::Extent(extent(21, sparse_ref, 0, 128, Content::Stored(pieces))));
        let hole = extent(21, sparse_ref, 128, 4096, Content::Hole);
        assert_eq!(hole.crc64, zeros(4096));
        records.push(Record::Extent(hole));
        records.push(Record::Entry(Entry { extent_count: 2, ..entry(21, sparse_name, sparse_ref) }));
        records
    })]);
    v2.pack(vec![Box::new(|writer| {
        let pieces = put_frames(writer, &big_ref[512..], 128);
        let problem = Problem {
            id: 30,
            code: ProblemCode::Unreadable,
            errno: 13,
            path: b"secret".to_vec(),
            text: "permission denied".to_owned(),
        };
        vec![
            begin(20, big_name, big_ref.len()),
            Record::Extent(extent(20, big_ref, 512, 128, Content::Stored(pieces))),
            Record::Entry(Entry { extent_count: 3, ..entry(20, big_name, big_ref) }),
            Record::Problem(problem),
        ]
    })]);
    v1.seal();
    v2.seal();
    contents.insert(big_name.to_vec(), big);
    contents.insert(sparse_name.to_vec(), sparse);
    (kit, contents)
}

/// All files below those directories.
pub fn collect(fs: &MemFs, dirs: &[&str]) -> Files {
    let mut files = Files::new();
    let mut todo: Vec<PathBuf> = dirs.iter().map(PathBuf::from).collect();
    while let Some(dir) = todo.pop() {
        for item in fs.list(&dir).unwrap() {
            let path = dir.join(&item.name);
            if item.is_dir {
                todo.push(path);
            } else {
                files.insert(path.clone(), fs.contents(&path).unwrap());
            }
        }
    }
    files
}

/// A file system that holds exactly those files.
pub fn filled(files: &Files) -> MemFs {
    let fs = MemFs::new();
    for dir in [ONE, TWO] {
        for below in ["packmule/slots", "packmule/packs"] {
            fs.make_dirs(&Path::new(dir).join(below)).unwrap();
        }
    }
    for (path, bytes) in files {
        fs.make_dirs(path.parent().unwrap()).unwrap();
        fs.put_file(path, bytes).unwrap();
    }
    fs
}

pub fn identities(secret: &str) -> Identities {
    let mut identities = Identities::none();
    identities.add_text(secret).unwrap();
    identities
}

/// Checks volumes on that file system, with a key or without.
pub fn check(fs: &MemFs, dirs: &[&str], secret: Option<&str>) -> Result<Report, packmule::verify::Error> {
    let world = World { fs: Arc::new(fs.clone()), ..World::real() };
    let options =
        Options { identities: secret.map(identities), all_sums: false, memory_bytes: 64 << 20, signed_by: None };
    let dirs: Vec<PathBuf> = dirs.iter().map(PathBuf::from).collect();
    verify(&world, &dirs, &options, &Silent)
}

/// One sealed volume of one pack, as small as a volume can be that has everything: for flipping every bit.
pub fn tiny_scene() -> Scene {
    let fs = MemFs::new();
    fs.make_dirs(Path::new(ONE)).unwrap();
    let kit = Kit::new(Arc::new(fs.clone()), 43);
    let (first, second) = (b"thirty bytes of a small file..".repeat(3), noise(9, 128));
    let mut volume = Volumes::new(&kit, ONE, 1);
    volume.pack(vec![
        Box::new(|writer| {
            let pieces = put_frames(writer, &first, 1000);
            let made = extent(1, &first, 0, first.len(), Content::Stored(pieces));
            vec![Record::Extent(Extent { states: None, ..made }), Record::Entry(entry(1, b"a", &first))]
        }),
        Box::new(|writer| {
            let pieces = put_frames(writer, &second, 64);
            let made = extent(2, &second, 0, second.len(), Content::Stored(pieces));
            vec![Record::Extent(Extent { states: None, ..made }), Record::Entry(entry(2, b"b\xff", &second))]
        }),
    ]);
    volume.seal();
    let contents = BTreeMap::from([(b"a".to_vec(), first), (b"b\xff".to_vec(), second)]);
    Scene { files: collect(&fs, &[ONE]), secret: kit.secret, contents }
}
