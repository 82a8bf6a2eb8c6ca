//! Reads TOML text.

use std::path::Path;

use gradwatch_events::disk;
use toml::Table;

use super::{
    ConfigError,
    error::{MOST_CHARACTERS, shortened},
};

/// Largest config file to read, in bytes. A config with every key and a comment for each has a hundredth of that.
const MOST_BYTES: u64 = 1 << 20;

pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    disk::read_regular_text(path, MOST_BYTES).map_err(|cause| ConfigError::Unreadable { path: path.to_owned(), cause })
}

pub(super) fn parse_table(text: &str, name: &str) -> Result<Table, ConfigError> {
    parse_toml(text).map_err(|message| ConfigError::Syntax { name: name.to_owned(), message })
}

/// Parses TOML text.
///
/// # Errors
/// If it is not valid TOML. The error is the location and the reason, on one line.
pub fn parse_toml(text: &str) -> Result<Table, String> {
    text.parse().map_err(|error: toml::de::Error| {
        let before = |end: usize| text.as_bytes()[..end.min(text.len())].iter();
        let line = error.span().map(|span| before(span.start).filter(|byte| **byte == b'\n').count() + 1);
        let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        let reason = error.message().replace('\n', " ");
        format!("{place}{}", shortened(&reason, MOST_CHARACTERS))
    })
}
