//! The files that a path stands for: one file, a pattern with braces, or a folder.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::super::layout::split_of;
use super::super::listing::{entries, file_name, is_hidden};
use super::super::{DataError, shards};
use super::ParquetError;

/// Lists the Parquet files of `path`. Those of a folder are sorted by name; its subfolders are not searched.
///
/// # Errors
/// [`DataError::ShardPattern`]; [`DataError::UnclearLayout`] if a folder contains the files of several splits;
/// [`ParquetError::NoFiles`] if it contains none.
pub(super) fn list(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    if !path.is_dir() {
        return shards::expand(path).ok_or_else(|| DataError::ShardPattern { path: path.to_owned() });
    }
    let mut files = entries(path)?;
    files.retain(|file| file.extension().is_some_and(|end| end == "parquet") && !is_hidden(file));
    if files.is_empty() {
        return Err(ParquetError::NoFiles { path: path.to_owned() }.into());
    }
    let words: BTreeSet<String> = files.iter().map(|file| first_word(file)).collect();
    let splits: Vec<String> = words.into_iter().filter(|word| split_of(word).is_some()).collect();
    match splits.len() {
        0 | 1 => Ok(files),
        _ => Err(DataError::UnclearLayout {
            path: path.to_owned(),
            got: format!("the files of several splits ({})", splits.join(", ")),
            want: "set data.path to the training files and data.validation_path to the validation files, each as one \
                   file or a pattern such as train-{00000..00004}-of-00005.parquet",
        }),
    }
}

/// The word that a file name starts with: `train` for `train-00000-of-00005.parquet`.
fn first_word(file: &Path) -> String {
    let name = file_name(file);
    name.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stands_for_its_parquet_files_of_one_split() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| std::fs::write(folder.path().join(name), "").unwrap();
        assert!(matches!(list(folder.path()), Err(DataError::Parquet(ParquetError::NoFiles { .. }))));
        ["train-1.parquet", "train-0.parquet", ".hidden.parquet", "test.txt", "README.md"].into_iter().for_each(write);
        let names: Vec<String> = list(folder.path()).unwrap().iter().map(|file| file_name(file)).collect();
        assert_eq!(names, ["train-0.parquet", "train-1.parquet"]);
        write("test-0.parquet");
        let message = list(folder.path()).unwrap_err().to_string();
        assert!(message.contains("several splits (test, train): set data.path to"), "{message}");
        let pattern = folder.path().join("train-{0..1}.parquet");
        assert_eq!(list(&pattern).unwrap().len(), 2);
    }
}
