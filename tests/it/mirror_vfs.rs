//! SQLite on the file system in memory: everything SQLite does to a database below a chosen directory is done to a `MemFs`
//! too, first, in one order with everything else that happens there. So a cut of power at any operation hits the database
//! and the volumes alike, and what is left of both is one state.
//!
//! How: a layer over SQLite's own unix layer, which goes on doing the real files (locks, shared memory, reads). Databases
//! elsewhere pass through it untouched. Of the real layer's habits the ones that matter are kept: a new journal or log gets
//! its directory synced with its first sync, and nothing else does.
#![allow(unsafe_code, reason = "SQLite's door for file systems is a C interface")]

use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once};

use packmule::sys::{Access, Fs, FsFile};
use rusqlite::ffi;

type Mirrored = (PathBuf, Arc<dyn Fs>);

static MIRRORS: Mutex<Vec<Mirrored>> = Mutex::new(Vec::new());

/// Databases below `dir` are mirrored into `fs` from now on, at the same path; what fails there fails for SQLite too.
pub fn mirror(dir: &Path, fs: Arc<dyn Fs>) {
    install();
    let mut mirrors = MIRRORS.lock().unwrap();
    mirrors.retain(|(known, _)| known != dir);
    mirrors.push((dir.to_owned(), fs));
}

/// Databases below `dir` are ordinary again.
pub fn forget(dir: &Path) {
    MIRRORS.lock().unwrap().retain(|(known, _)| known != dir);
}

fn mirrored(path: &Path) -> Option<Arc<dyn Fs>> {
    let mirrors = MIRRORS.lock().unwrap();
    mirrors.iter().find(|(dir, _)| path.starts_with(dir)).map(|(_, fs)| Arc::clone(fs))
}

/// What is mirrored of one open file.
struct Mirror {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    file: Box<dyn FsFile>,
    /// A journal or log that this process made and has not synced yet.
    is_new_journal: bool,
}

/// A file as SQLite holds it: this, and behind it the real layer's file.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    real: *mut ffi::sqlite3_file,
    mirror: *mut Mirror,
}

fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the default layer lives as long as the process, and so does the leaked copy; SQLite copies nothing.
        unsafe {
            let real = ffi::sqlite3_vfs_find(std::ptr::null());
            assert!(!real.is_null());
            let mut layer = *real;
            layer.iVersion = 2;
            layer.szOsFile = c_int::try_from(size_of::<File>()).unwrap() + (*real).szOsFile;
            layer.pNext = std::ptr::null_mut();
            layer.zName = c"packmule-mirror".as_ptr();
            layer.pAppData = real.cast();
            layer.xOpen = Some(open);
            layer.xDelete = Some(delete);
            let layer = Box::leak(Box::new(layer));
            assert_eq!(ffi::sqlite3_vfs_register(layer, 1), ffi::SQLITE_OK);
        }
    });
}

/// The path in a name SQLite gives.
///
/// # Safety
/// `name` is null or a C string.
unsafe fn path_of(name: *const c_char) -> Option<PathBuf> {
    // SAFETY: by contract.
    (!name.is_null()).then(|| PathBuf::from(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes())))
}

unsafe extern "C" fn open(
    layer: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives `szOsFile` bytes at `file`, a C string or null as name, and the layer registered above.
    unsafe {
        let real_layer: *mut ffi::sqlite3_vfs = (*layer).pAppData.cast();
        let own = file.cast::<File>();
        let real: *mut ffi::sqlite3_file = own.add(1).cast();
        (*own).base.pMethods = std::ptr::null();
        (*own).real = real;
        (*own).mirror = std::ptr::null_mut();
        let path = path_of(name);
        let mirror = match path.as_deref().and_then(|path| mirrored(path).map(|fs| (fs, path))) {
            None => None,
            Some((fs, path)) => match open_mirror(fs, path, flags) {
                Ok(mirror) => Some(mirror),
                Err(code) => return code,
            },
        };
        let code = (*real_layer).xOpen.unwrap()(real_layer, name, real, flags, out);
        if code == ffi::SQLITE_OK {
            if let Some(mirror) = mirror {
                (*own).mirror = Box::into_raw(Box::new(mirror));
            }
            (*own).base.pMethods = &raw const METHODS;
        }
        code
    }
}

fn open_mirror(fs: Arc<dyn Fs>, path: &Path, flags: c_int) -> Result<Mirror, c_int> {
    let is_there = match fs.stat(path) {
        Ok(_) => true,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(_) => return Err(ffi::SQLITE_CANTOPEN),
    };
    let is_journal = flags & (ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_WAL) != 0;
    let (file, is_new) = if is_there {
        (fs.open_write(path, Access::Buffered), false)
    } else if flags & ffi::SQLITE_OPEN_CREATE != 0 {
        // The directory was made in memory by the program under test; the real one follows.
        let parent = path.parent().unwrap_or(path);
        if fs.stat(parent).is_err() || std::fs::create_dir_all(parent).is_err() {
            return Err(ffi::SQLITE_CANTOPEN);
        }
        (fs.create_new(path, Access::Buffered), true)
    } else {
        return Err(ffi::SQLITE_CANTOPEN);
    };
    let file = file.map_err(|_| ffi::SQLITE_CANTOPEN)?;
    Ok(Mirror { fs, path: path.to_owned(), file, is_new_journal: is_new && is_journal })
}

unsafe extern "C" fn delete(layer: *mut ffi::sqlite3_vfs, name: *const c_char, sync_dir: c_int) -> c_int {
    // SAFETY: as for `open`.
    unsafe {
        let real_layer: *mut ffi::sqlite3_vfs = (*layer).pAppData.cast();
        if let Some(path) = path_of(name)
            && let Some(fs) = mirrored(&path)
        {
            let removed = match fs.remove_file(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                other => other,
            };
            let synced = removed.and_then(|()| match path.parent() {
                Some(dir) if sync_dir != 0 => fs.sync_dir(dir),
                _ => Ok(()),
            });
            if synced.is_err() {
                return ffi::SQLITE_IOERR_DELETE;
            }
        }
        (*real_layer).xDelete.unwrap()(real_layer, name, 0)
    }
}

/// The mirror of a file and the real layer's file and methods.
///
/// # Safety
/// `file` was opened by `open`.
unsafe fn parts<'a>(
    file: *mut ffi::sqlite3_file,
) -> (Option<&'a mut Mirror>, *mut ffi::sqlite3_file, &'a ffi::sqlite3_io_methods) {
    // SAFETY: by contract; the real layer set its methods when it opened the file.
    unsafe {
        let own = file.cast::<File>();
        let real = (*own).real;
        ((*own).mirror.as_mut(), real, &*(*real).pMethods)
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once.
    unsafe {
        let own = file.cast::<File>();
        if !(*own).mirror.is_null() {
            drop(Box::from_raw((*own).mirror));
            (*own).mirror = std::ptr::null_mut();
        }
        let (_, real, methods) = parts(file);
        methods.xClose.unwrap()(real)
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, from: *const c_void, bytes: c_int, at: i64) -> c_int {
    // SAFETY: SQLite gives `bytes` bytes at `from`.
    unsafe {
        let (mirror, real, methods) = parts(file);
        if let Some(mirror) = mirror {
            let buffer = std::slice::from_raw_parts(from.cast::<u8>(), usize::try_from(bytes).unwrap());
            match mirror.file.write_all_at(buffer, at.cast_unsigned()) {
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return ffi::SQLITE_FULL,
                Err(_) => return ffi::SQLITE_IOERR_WRITE,
                Ok(()) => {}
            }
        }
        methods.xWrite.unwrap()(real, from, bytes, at)
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: i64) -> c_int {
    // SAFETY: as for `close`.
    unsafe {
        let (mirror, real, methods) = parts(file);
        if mirror.is_some_and(|mirror| mirror.file.set_len(length.cast_unsigned()).is_err()) {
            return ffi::SQLITE_IOERR_TRUNCATE;
        }
        methods.xTruncate.unwrap()(real, length)
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: as for `close`.
    unsafe {
        let (mirror, real, methods) = parts(file);
        let Some(mirror) = mirror else { return methods.xSync.unwrap()(real, flags) };
        if mirror.file.sync_data().is_err() {
            return ffi::SQLITE_IOERR_FSYNC;
        }
        if mirror.is_new_journal {
            if mirror.fs.sync_dir(mirror.path.parent().unwrap()).is_err() {
                return ffi::SQLITE_IOERR_DIR_FSYNC;
            }
            mirror.is_new_journal = false;
        }
        ffi::SQLITE_OK // the real file need not survive anything
    }
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, to: *mut c_void, bytes: c_int, at: i64) -> c_int {
    // SAFETY: as for `close`; the buffer is SQLite's own, for the layer below.
    unsafe {
        let (mirror, real, methods) = parts(file);
        // The bytes are those of the real file; one byte is read of the mirror for the sake of its faults.
        if mirror.is_some_and(|mirror| mirror.file.read_at(&mut [0], at.cast_unsigned()).is_err()) {
            return ffi::SQLITE_IOERR_READ;
        }
        methods.xRead.unwrap()(real, to, bytes, at)
    }
}

/// Methods that only pass on.
macro_rules! pass {
    ($name:ident, $method:ident, ($($arg:ident: $type:ty),*) $(-> $out:ty)?) => {
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file, $($arg: $type),*) $(-> $out)? {
            // SAFETY: the arguments are SQLite's own, for the layer below.
            unsafe {
                let (_, real, methods) = parts(file);
                methods.$method.unwrap()(real, $($arg),*)
            }
        }
    };
}

pass!(file_size, xFileSize, (size: *mut i64) -> c_int);
pass!(lock, xLock, (level: c_int) -> c_int);
pass!(unlock, xUnlock, (level: c_int) -> c_int);
pass!(check_reserved_lock, xCheckReservedLock, (out: *mut c_int) -> c_int);
pass!(file_control, xFileControl, (op: c_int, arg: *mut c_void) -> c_int);
pass!(sector_size, xSectorSize, () -> c_int);
pass!(device_characteristics, xDeviceCharacteristics, () -> c_int);
pass!(shm_map, xShmMap, (page: c_int, bytes: c_int, extend: c_int, out: *mut *mut c_void) -> c_int);
pass!(shm_lock, xShmLock, (offset: c_int, count: c_int, flags: c_int) -> c_int);
pass!(shm_barrier, xShmBarrier, ());
pass!(shm_unmap, xShmUnmap, (delete: c_int) -> c_int);

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

#[test]
fn what_sqlite_writes_is_in_memory_too_byte_for_byte_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let fs = packmule::sys::mem::MemFs::new();
    let path = dir.path().join("inner");
    fs.make_dirs(&path).unwrap();
    mirror(&path, Arc::new(fs.clone()));
    let db = rusqlite::Connection::open(path.join("x.db")).unwrap();
    db.pragma_update(None, "journal_mode", "WAL").unwrap();
    db.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (randomblob(100000)); PRAGMA wal_checkpoint").unwrap();
    let before = fs.operation_count();
    db.execute_batch("INSERT INTO t VALUES (1)").unwrap();
    assert!(fs.operation_count() > before, "a commit is an operation of the file system in memory");
    for name in ["x.db", "x.db-wal"] {
        assert_eq!(fs.contents(&path.join(name)).unwrap(), std::fs::read(path.join(name)).unwrap(), "{name}");
    }
    drop(db);
    assert!(fs.stat(&path.join("x.db-wal")).is_err(), "the log goes with the last connection");
    forget(&path);
}
