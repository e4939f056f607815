//! From a path, which is bytes, to a key, which is text, and back.
//!
//! Owns: the mapping. Pure. Invariants, each a test: two paths never get one key; the path can be had back from the key;
//! a key has no control characters, no empty segment and no `.` or `..` segment, so that every tool can address it.
//!
//! Rules: valid UTF-8 stays as it is, except control characters, U+FFFE and U+FFFF. Every other byte becomes `%XX`
//! (capital hexadecimal digits), and so do the dots of a segment that is `.` or `..`, and a slash that would leave an
//! empty segment. A `%` that two hexadecimal digits follow becomes `%25`. Nothing else changes, so ordinary names stay
//! readable: `100%.txt` is `100%.txt`.

use std::fmt::Write as _;

/// Longest key. Unit: bytes of UTF-8. Source: Amazon S3 user guide, "Naming Amazon S3 objects".
pub const KEY_BYTES_MAX: usize = 1024;

/// Why a path has no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key would be longer than S3 allows.
    #[error("the key would have {key_bytes} bytes, {} more than S3 allows", key_bytes - KEY_BYTES_MAX)]
    TooLong {
        /// Length it would have.
        key_bytes: usize,
    },
    /// The path is empty.
    #[error("an empty path has no key")]
    Empty,
}

/// Key of the file at `path` under `prefix`, which is put in front as it is.
///
/// # Errors
/// When the path is empty, or the key would be too long.
pub fn key_of(prefix: &str, path: &[u8]) -> Result<String, KeyError> {
    if path.is_empty() {
        return Err(KeyError::Empty);
    }
    let mut key = prefix.to_owned();
    for (start, segment) in segments(path) {
        if start > 0 {
            push_slash(&mut key, path, start - 1);
        }
        push_segment(&mut key, segment);
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(KeyError::TooLong { key_bytes: key.len() });
    }
    Ok(key)
}

/// The path that [`key_of`] made `key` of, without its prefix.
pub fn path_of(key: &str) -> Vec<u8> {
    let bytes = key.as_bytes();
    let mut path = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match escaped(&bytes[at..]) {
            Some(byte) => {
                path.push(byte);
                at += 3;
            }
            None => {
                path.push(bytes[at]);
                at += 1;
            }
        }
    }
    path
}

/// Whether the key of this path reads differently from the path: what a user is told before anything is sent.
pub fn is_changed(path: &[u8]) -> bool {
    key_of("", path).map_or(true, |key| key.as_bytes() != path)
}

/// Segments with the offset of their first byte.
fn segments(path: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    path.split(|byte| *byte == b'/').scan(0, |start, segment| {
        let at = *start;
        *start += segment.len() + 1;
        Some((at, segment))
    })
}

/// A slash stays one only between two bytes of which the first is no slash, so that no segment is empty.
fn push_slash(key: &mut String, path: &[u8], at: usize) {
    let after_segment = at > 0 && path[at - 1] != b'/';
    let before_anything = at + 1 < path.len();
    key.push_str(if after_segment && before_anything { "/" } else { "%2F" });
}

fn push_segment(key: &mut String, segment: &[u8]) {
    if segment == b"." || segment == b".." {
        return push_escaped(key, segment);
    }
    let mut rest = segment;
    for chunk in segment.utf8_chunks() {
        for character in chunk.valid().chars() {
            let (this, after) = rest.split_at(character.len_utf8());
            let confusing = character == '%' && escaped(rest).is_some();
            let unfit = character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}');
            if confusing || unfit {
                push_escaped(key, this)
            } else {
                key.push(character)
            }
            rest = after;
        }
        push_escaped(key, chunk.invalid());
        rest = &rest[chunk.invalid().len()..];
    }
}

fn push_escaped(key: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(key, "%{byte:02X}").expect("a string takes any text");
    }
}

/// The byte that `%XX` at the start of `bytes` stands for.
fn escaped(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = bytes else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(b"plain/name.txt", "plain/name.txt")]
    #[case(b"100%.txt", "100%.txt")]
    #[case(b"100%25.txt", "100%2525.txt")]
    #[case(b"%ff", "%25ff")]
    #[case(b"%\xff", "%%FF")]
    #[case(b"new\nline", "new%0Aline")]
    #[case(b"latin1-\xe9", "latin1-%E9")]
    #[case("emoji \u{1f980}/\u{e9}".as_bytes(), "emoji \u{1f980}/\u{e9}")]
    #[case(b"a/./b/../c", "a/%2E/b/%2E%2E/c")]
    #[case(b"...", "...")]
    #[case(b"a//b", "a/%2Fb")]
    #[case(b"/a", "%2Fa")]
    #[case(b"a/", "a%2F")]
    #[case(b"-rf ", "-rf ")]
    #[case("\u{ffff}\u{85}".as_bytes(), "%EF%BF%BF%C2%85")]
    fn known_keys(#[case] path: &[u8], #[case] key: &str) {
        assert_eq!(key_of("", path).as_deref(), Ok(key));
        assert_eq!(path_of(key), path);
    }

    #[test]
    fn long_keys_are_an_error_with_the_length() {
        assert_eq!(key_of("p/", &[b'x'; 1023]), Err(KeyError::TooLong { key_bytes: 1025 }));
        assert!(key_of("p/", &[b'x'; 1022]).is_ok());
        assert_eq!(key_of("p/", &[]), Err(KeyError::Empty));
    }

    fn paths() -> impl Strategy<Value = Vec<u8>> {
        let hostile = prop::sample::select(b"/.%2Ffa\n\xff\xc3\xa9\xef\xbf\xbe5".to_vec());
        prop_oneof![prop::collection::vec(any::<u8>(), 1..60), prop::collection::vec(hostile, 1..12)]
    }

    proptest! {
        #[test]
        fn a_key_gives_its_path_back(path in paths()) {
            let key = key_of("", &path).expect("short enough");
            prop_assert_eq!(path_of(&key), path);
        }

        #[test]
        fn two_paths_never_share_a_key(one in paths(), other in paths()) {
            prop_assume!(one != other);
            prop_assert_ne!(key_of("", &one), key_of("", &other));
        }

        #[test]
        fn every_key_can_be_addressed(path in paths()) {
            let key = key_of("", &path).expect("short enough");
            let unfit = key.chars().any(|c| c.is_control() || c == '\u{fffe}' || c == '\u{ffff}');
            prop_assert!(!unfit);
            prop_assert!(key.split('/').all(|segment| !matches!(segment, "" | "." | "..")));
        }
    }
}
