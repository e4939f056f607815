//! Stored paths: bytes, relative, `/`-separated. manifests/formats/manifest.md section 7.

use crate::format::Error;

/// Longest stored path. Unit: bytes.
pub const PATH_BYTES_MAX: usize = 32_767;

/// Checks the rules a reader must enforce before a path is used for anything.
///
/// # Errors
/// Names the rule that is broken.
pub fn check(path: &[u8], is_directory: bool) -> Result<(), Error> {
    let broken = |reason| Err(Error::Path { escaped: escape(path), reason });
    if path.is_empty() {
        return if is_directory { Ok(()) } else { broken("empty, which only the top directory may be") };
    }
    if path.len() > PATH_BYTES_MAX {
        return broken("longer than 32767 bytes");
    }
    if path.contains(&0) {
        return broken("holds a zero byte");
    }
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" => return broken("has an empty component"),
            b"." | b".." => return broken("has a . or .. component"),
            _ => {}
        }
    }
    Ok(())
}

/// Renders a path for people and text files, reversibly: printable UTF-8 stays, a backslash is doubled, every other
/// byte becomes `\xHH`. So two paths never look alike, and no path can move a terminal's cursor.
pub fn escape(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if c.is_control() || is_unsafe_to_show(c) => {
                    let mut utf8 = [0; 4];
                    push_hex(&mut text, c.encode_utf8(&mut utf8).as_bytes());
                }
                c => text.push(c),
            }
        }
        push_hex(&mut text, chunk.invalid());
    }
    text
}

/// The bytes an escaped path stands for; `None` when the escapes are not those of [`escape`].
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        match (first, rest) {
            (b'\\', [b'\\', more @ ..]) => {
                bytes.push(b'\\');
                rest = more;
            }
            (b'\\', [b'x', high, low, more @ ..]) => {
                let digits = [*high, *low];
                let [byte] = super::ids::parse_hex::<1>(std::str::from_utf8(&digits).ok()?)?;
                bytes.push(byte);
                rest = more;
            }
            (b'\\', _) => return None,
            (byte, _) => bytes.push(*byte),
        }
    }
    Some(bytes)
}

/// Characters that change the direction or the looks of the text around them.
fn is_unsafe_to_show(c: char) -> bool {
    matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}')
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push_str("\\x");
        text.push_str(&super::ids::hex(&[*byte]));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_that_could_leave_the_target_are_refused() {
        for path in [&b"/etc/passwd"[..], b"a/../b", b"..", b".", b"a//b", b"a/", b"a/./b", b"a\0b", b""] {
            assert!(check(path, false).is_err(), "{}", escape(path));
        }
        assert!(check(&[b'a'; PATH_BYTES_MAX + 1], false).is_err());
    }

    #[test]
    fn hostile_but_legal_names_are_stored_as_they_are() {
        for path in
            [&b"new\nline"[..], b"\xff\xfe", b"-rf", "\u{1F40E}".as_bytes(), b"...", b"..x", b" trailing ", b"a\\b"]
        {
            assert_eq!(check(path, false), Ok(()));
        }
        assert_eq!(check(b"", true), Ok(()));
    }

    #[test]
    fn what_a_person_sees_cannot_move_the_cursor() {
        assert_eq!(escape(b"a\x1b[2Jb\nc\xff\\"), "a\\x1b[2Jb\\x0ac\\xff\\\\");
    }

    proptest! {
        #[test]
        fn escaping_is_reversible(path in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(unescape(&escape(&path)), Some(path));
        }

        #[test]
        fn any_text_unescapes_or_does_not(text in ".*") {
            let _ = unescape(&text);
        }
    }
}
