//! Labels given as text, and the classes that they name.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::ParseIntError,
    path::Path,
};

use super::DataError;

/// The different labels, sorted by value if all are integers, otherwise by bytes.
pub(super) fn sorted_classes<'a>(labels: impl Iterator<Item = &'a str>) -> Vec<String> {
    let names: BTreeSet<&str> = labels.collect();
    let numbers: Result<BTreeSet<(i64, &str)>, _> =
        names.iter().map(|&name| Ok((name.parse::<i64>()?, name))).collect();
    match numbers {
        Ok(numbers) => numbers.into_iter().map(|(_, name)| name.to_owned()).collect(),
        Err(ParseIntError { .. }) => names.into_iter().map(str::to_owned).collect(),
    }
}

/// The index of each label among the classes.
///
/// # Errors
/// [`DataError::UnknownClass`], naming `origin`.
pub(super) fn class_indices<'a>(
    origin: &Path,
    labels: impl Iterator<Item = &'a str>,
    classes: &[String],
) -> Result<Vec<u32>, DataError> {
    let indices: BTreeMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
    let unknown = |class: &str| DataError::UnknownClass { path: origin.to_owned(), class: class.to_owned() };
    labels.map(|label| indices.get(label).copied().ok_or_else(|| unknown(label))).collect()
}
