//! Tables whose keys are keys of a config.

use std::collections::HashMap;

use gradwatch_doctor::config::check_key;
use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

/// Config keys that a study sets itself, and why a study file cannot.
const OWN: [(&str, &str); 2] =
    [("run.seed", "seeds lists the seeds"), ("run.logdir", "the runs of a study share its folder")];

/// All keys of a table with their tables, `model.depth`, and their values. A key in quotes is the same as one with
/// dots.
pub(super) fn flat(table: Table) -> Vec<(String, Value)> {
    let of_key = |(key, value): (String, Value)| match value {
        Value::Table(inner) => flat(inner).into_iter().map(|(last, value)| (format!("{key}.{last}"), value)).collect(),
        value => vec![(key, value)],
    };
    table.into_iter().flat_map(of_key).collect()
}

/// The problem of a key that should be one of a config; `None` if it is one that a study may set.
pub(super) fn problem(key: &str) -> Option<String> {
    match OWN.iter().find(|(own, _)| *own == key) {
        Some((_, why)) => Some(format!("{why}; remove the key")),
        None => check_key(key).err().map(|error| error.to_string()),
    }
}

/// Sorts the keys of a table of the file, as [`flat`] returns them, in the order of the file. [`Table`] has none.
pub(super) fn sort_as_written(keys: &mut [(String, Value)], table: &str, text: &str) {
    let mut places = HashMap::new();
    if let Ok(file) = DeTable::parse(text)
        && let Some(DeValue::Table(table)) = file.get_ref().get(table).map(|value| value.get_ref())
    {
        find_places(table, "", &mut places);
    }
    keys.sort_by_key(|(key, _)| places.get(key).copied());
}

/// Notes the place in the text of every key.
fn find_places(table: &DeTable<'_>, path: &str, places: &mut HashMap<String, usize>) {
    for (key, value) in table {
        let key = format!("{path}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => find_places(inner, &format!("{key}."), places),
            _ => _ = places.insert(key, value.span().start),
        }
    }
}
