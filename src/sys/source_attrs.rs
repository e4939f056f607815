//! Extended attributes of source entries: POSIX ACLs, capabilities, user attributes.
//!
//! Owns: listing and reading them although both may change between the two calls. Does not own: which are kept.
//! Invariants: names are bytes; no list is ever cut short in silence. Callers: `sys::source`.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::io::Errno;

/// Largest value of one attribute and longest list of names. Unit: bytes. Source: Linux XATTR_SIZE_MAX, XATTR_LIST_MAX.
const XATTR_BYTES_MAX: usize = 65_536;

/// One extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xattr {
    /// Full name with its namespace, as `user.comment` or `system.posix_acl_access`.
    pub name: Vec<u8>,
    /// Value, any bytes.
    pub value: Vec<u8>,
}

/// Attributes of an open file, sorted by name. Empty where the file system has none.
///
/// # Errors
/// The kernel's, other than "not supported" and "gone meanwhile".
pub fn xattrs_of_file(file: impl AsFd) -> io::Result<Vec<Xattr>> {
    let fd = file.as_fd();
    collect(|list| rustix::fs::flistxattr(fd, list), |name, value| rustix::fs::fgetxattr(fd, name, value))
}

/// Attributes of a path that is not followed if it is a symbolic link, sorted by name.
///
/// # Errors
/// The kernel's, other than "not supported" and "gone meanwhile".
pub fn xattrs_of_path(path: &Path) -> io::Result<Vec<Xattr>> {
    collect(|list| rustix::fs::llistxattr(path, list), |name, value| rustix::fs::lgetxattr(path, name, value))
}

fn collect(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&std::ffi::OsStr, &mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Vec<Xattr>> {
    let Some(names) = read(list)? else {
        return Ok(Vec::new());
    };
    let mut all = Vec::new();
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        if let Some(value) = read(|buf| get(std::ffi::OsStr::from_bytes(name), buf))? {
            all.push(Xattr { name: name.to_vec(), value });
        }
    }
    all.sort();
    Ok(all)
}

/// Calls with a small buffer first, with the largest there can be if that was too small. `None`: there is nothing.
fn read(call: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> io::Result<Option<Vec<u8>>> {
    let mut buf = vec![0; 1024];
    let len = match call(&mut buf) {
        Err(Errno::RANGE) => {
            buf.resize(XATTR_BYTES_MAX, 0);
            call(&mut buf)
        }
        other => other,
    };
    match len {
        Ok(len) => {
            buf.truncate(len);
            Ok(Some(buf))
        }
        Err(Errno::OPNOTSUPP | Errno::NODATA) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
