//! Matches the classes of a data set with a model's classes by name.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use super::DataError;
use crate::{config::Source, disk::list};

/// Returns the index in `known` of each class in `own`.
///
/// A folder, a manifest, or Parquet files may contain only some of the known classes. All other formats have a fixed
/// list of classes, which must have the same length. A fixed list without names (`0`, `1`, ...) matches any list of that length.
pub(super) fn indices(origin: &Path, source: Source, own: &[String], known: &[String]) -> Result<Vec<u32>, DataError> {
    let is_fixed = !matches!(source, Source::Folder | Source::Csv | Source::Parquet);
    if own == known || (is_fixed && own.len() == known.len() && (is_numbered(own) || is_numbered(known))) {
        return Ok((0..).take(own.len()).collect());
    }
    let mut index_of: HashMap<&str, u32> = HashMap::new();
    for (name, index) in known.iter().zip(0..) {
        index_of.entry(name).or_insert(index);
    }
    let indices: Option<Vec<u32>> = own.iter().map(|name| index_of.get(name.as_str()).copied()).collect();
    let is_own: HashSet<&String> = own.iter().collect();
    let missing: Vec<String> = known.iter().filter(|name| !is_own.contains(name)).cloned().collect();
    match indices {
        Some(indices) if !is_fixed || missing.is_empty() => Ok(indices),
        _ => {
            let is_unknown = |name: &&String| !index_of.contains_key(name.as_str());
            let unknown: Vec<String> = own.iter().filter(is_unknown).cloned().collect();
            Err(DataError::OtherClasses {
                path: origin.to_owned(),
                unknown: list(&unknown),
                missing: list(&missing),
                got: own.len(),
                want: known.len(),
            })
        }
    }
}

fn is_numbered(classes: &[String]) -> bool {
    classes.iter().enumerate().all(|(index, name)| *name == index.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(source: Source, own: &[&str], known: &[&str]) -> Result<Vec<u32>, String> {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        indices(Path::new("data"), source, &names(own), &names(known)).map_err(|error| error.to_string())
    }

    #[test]
    fn classes_are_matched_by_name_and_not_by_position() {
        for source in [Source::Folder, Source::Csv] {
            assert_eq!(matched(source, &["dog", "cat"], &["cat", "dog"]), Ok(vec![1, 0]));
            assert_eq!(matched(source, &["dog"], &["ant", "cat", "dog"]), Ok(vec![2]));
            assert_eq!(matched(source, &["1", "0"], &["0", "1"]), Ok(vec![1, 0]));
        }
        assert_eq!(matched(Source::Cifar10, &["dog", "cat"], &["cat", "dog"]), Ok(vec![1, 0]));
    }

    #[test]
    fn a_fixed_list_without_names_fits_by_position_if_it_is_as_long() {
        assert_eq!(matched(Source::Cifar10, &["cat", "dog"], &["0", "1"]), Ok(vec![0, 1]));
        assert_eq!(matched(Source::Idx, &["0", "1"], &["cat", "dog"]), Ok(vec![0, 1]));
        let error = matched(Source::Synthetic, &["0", "1"], &["0", "1", "2"]).unwrap_err();
        assert!(error.contains("got 2, want 3; unknown to the run: none; missing: 2"), "{error}");
    }

    #[test]
    fn an_error_names_the_unknown_and_the_missing_classes_up_to_a_bound() {
        let error = matched(Source::Folder, &["dog", "zebra"], &["cat", "dog"]).unwrap_err();
        assert!(error.contains("unknown to the run: zebra; missing: cat"), "{error}");
        let many: Vec<String> = (0..9).map(|index| format!("new{index}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let error = matched(Source::Csv, &many, &["cat"]).unwrap_err();
        assert!(error.contains("new0, new1, new2, new3 and 5 more; missing: cat"), "{error}");
    }
}
