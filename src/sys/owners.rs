//! Names of users and groups, for metadata and reports.
//!
//! Owns: reading `/etc/passwd` and `/etc/group` once. Does not own: directory services; an owner known only there keeps
//! its number, which is what is restored anyway.
//! Invariants: names are bytes of the files, never invented. Callers: `stage`, `extract`, `report`.

use std::collections::HashMap;
use std::path::Path;

/// Numbers and names of this machine's users and groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Owners {
    /// Reads the two files; what cannot be read has no names.
    pub fn of_this_machine() -> Self {
        let read = |path: &str| std::fs::read(Path::new(path)).unwrap_or_default();
        Self::parse(&read("/etc/passwd"), &read("/etc/group"))
    }

    /// Takes the contents of `passwd(5)` and `group(5)`. Lines that make no sense are passed over.
    pub fn parse(passwd: &[u8], group: &[u8]) -> Self {
        Self { users: names(passwd), groups: names(group) }
    }

    /// Name of a user.
    pub fn user(&self, uid: u32) -> Option<&str> {
        self.users.get(&uid).map(String::as_str)
    }

    /// Name of a group.
    pub fn group(&self, gid: u32) -> Option<&str> {
        self.groups.get(&gid).map(String::as_str)
    }
}

/// Both files have the name first and the number third. The first line wins, as it does for the system.
fn names(text: &[u8]) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.split(|&byte| byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok()) {
        let mut fields = line.split(':');
        let (name, id) = (fields.next(), fields.nth(1).and_then(|id| id.parse().ok()));
        if let (Some(name), Some(id)) = (name.filter(|name| !name.is_empty() && !name.starts_with('#')), id) {
            names.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_wins_and_nonsense_is_passed_over() {
        let passwd =
            b"root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\n\nx\n:x:7:\nbad:x:seven:\nann:x:1000:1000";
        let owners = Owners::parse(passwd, b"staff:x:50:ann,bob\n# note:x:1:\n");
        assert_eq!(owners.user(0), Some("root"));
        assert_eq!(owners.user(1000), Some("ann"));
        assert_eq!(owners.user(7), None);
        assert_eq!(owners.group(50), Some("staff"));
        assert_eq!(owners.group(1), None);
    }
}
