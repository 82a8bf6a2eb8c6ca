//! Text that is safe to print: names of files, classes and tags may hold what moves a terminal's cursor or turns a line around.
//!
//! A character that must not reach a terminal is shown as JSON spells it, `\u001b`. So JSON and TOML that went through here
//! still parse, to the same text.
//!
//! ```
//! use gradwatch_doctor::printable;
//!
//! assert_eq!(printable::line("cat\u{1b}[2J\n"), "cat\\u001b[2J\\u000a");
//! assert_eq!(printable::lines("one\ntwo\u{202e}"), "one\ntwo\\u202e");
//! ```

use std::{borrow::Cow, fmt::Write, path::Path};

/// Controls (C0, DEL, C1), separators of lines and paragraphs, and what overrides the direction of text.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escaped(text: &str, is_unsafe: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_unsafe(character) {
            // Writing to a String cannot fail. All of them have four digits at most.
            let _ = write!(safe, "\\u{:04x}", u32::from(character));
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

/// One line: line breaks and tabs are escaped too. For a name, and for a message that is one line.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_unsafe)
}

/// Several lines: line breaks and tabs stay. For a whole text that is about to be written.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |character| is_unsafe(character) && !matches!(character, '\n' | '\t'))
}

/// A path in one line. Bytes that are not UTF-8 are shown as U+FFFD.
pub fn path(path: &Path) -> String {
    line(&path.to_string_lossy()).into_owned()
}

/// The bytes of a path as ASCII text that leads back to them: all but letters, digits and `-._~/` as `%` and two digits.
pub fn percent_encoded(path: &Path) -> String {
    let mut text = String::new();
    for &byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => text.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => _ = write!(text, "%{byte:02X}"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    use super::*;

    #[test]
    fn every_control_and_override_is_escaped_and_all_else_stays() {
        let hostile =
            ['\0', '\u{7}', '\u{8}', '\r', '\u{1b}', '\u{7f}', '\u{80}', '\u{9b}', '\u{9f}', '\u{2028}', '\u{2029}'];
        let overrides = ['\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}'];
        for character in hostile.into_iter().chain(overrides) {
            let want = format!("a\\u{:04x}b", character as u32);
            assert_eq!(line(&format!("a{character}b")), want);
            assert_eq!(lines(&format!("a{character}b")), want);
        }
        assert_eq!((line("a\tb\nc"), lines("a\tb\nc")), ("a\\u0009b\\u000ac".into(), "a\tb\nc".into()));
        for plain in ["", "T-shirt/top", "Größe 猫 שלום \\ \" 🙂", "\u{200d}\u{2027}\u{202f}\u{2065}\u{206a}"]
        {
            assert!(matches!(line(plain), Cow::Borrowed(text) if text == plain), "{plain}");
        }
    }

    #[test]
    fn json_stays_the_same_value() {
        let value = serde_json::json!({ "cat\u{9b}\u{202e}": ["\u{1b}\u{7f}\n", 1] });
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let safe = lines(&text);
            assert!(!safe.contains(['\u{9b}', '\u{202e}', '\u{7f}', '\u{1b}']), "{safe}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
        }
    }

    #[test]
    fn a_path_that_is_not_utf_8_has_a_text_and_a_text_that_leads_back() {
        let odd = Path::new(OsStr::from_bytes(b"a b/\xff%.png"));
        assert_eq!((path(odd), percent_encoded(odd)), ("a b/\u{fffd}%.png".into(), "a%20b/%FF%25.png".into()));
    }
}
