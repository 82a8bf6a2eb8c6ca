//! Texts and names of columns in the tables of a study file.

use gradwatch_doctor::config::{FromToml, Section, nearest_name, shown};
use toml::Value;

use super::columns::TEXTS;
use crate::results::Column;

/// One or several names.
#[derive(Default)]
pub(super) struct Names(pub Vec<String>);

impl FromToml for Names {
    const WANT: &'static str = "a name or a list of names";

    fn from_toml(value: &Value) -> Option<Self> {
        match value {
            Value::String(name) => Some(Self(vec![name.clone()])),
            value => Vec::from_toml(value).map(Self),
        }
    }
}

/// The text of `key`, which must not be empty. Reports a missing one.
pub(super) fn text(section: &mut Section<'_>, key: &'static str, want: &str) -> Option<String> {
    if !section.has(key) {
        section.missing(key, want);
    }
    optional_text_of(section, key, want)
}

/// The text of `key`, which must not be empty; `None` if it is missing.
pub(super) fn optional_text(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    optional_text_of(section, key, "text")
}

fn optional_text_of(section: &mut Section<'_>, key: &'static str, want: &str) -> Option<String> {
    section.optional(key, |text: &String| !text.trim().is_empty(), want)
}

/// Reports a name in `key` that is no column.
pub(super) fn check_column(section: &Section<'_>, key: &str, name: &str, columns: &[Column]) {
    if columns.iter().any(|column| column.name == name) {
        return;
    }
    let names: Vec<&str> = columns.iter().map(|column| &*column.name).collect();
    let hint = match nearest_name(name, &names) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("the columns are {}", names.join(", ")),
    };
    section.problem(key, format!("got {}, which is not a column; {hint}", quoted(name)));
}

/// Reports a name in `key` that is no column with numbers.
pub(super) fn check_numbers(section: &Section<'_>, key: &str, name: &str, columns: &[Column]) {
    if TEXTS.contains(&name) {
        section.problem(key, format!("got {}, which has text; want a column of numbers", quoted(name)));
    } else {
        check_column(section, key, name, columns);
    }
}

/// A text in quotes, on one line.
pub(super) fn quoted(text: &str) -> String {
    shown(&Value::String(text.to_owned()))
}
