//! A CSV manifest with the columns `path`, `label`, and optionally `split`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use csv::{ReaderBuilder, StringRecord, Trim};

use super::dataset::{Dataset, Splits};
use super::folder::warn_of_test;
use super::layout::{Split, split_of};
use super::{DataError, labels, split};
use crate::{config::DataConfig, disk};

/// Reads the manifest `config.path`. Columns are found by name, in any order; other columns are ignored. Paths are
/// relative to the manifest's folder.
///
/// Labels may be any strings. Sorted (by value if all are integers, otherwise by bytes), they are the classes. With a
/// `split` column, it assigns the rows (`train`, `val`, `test`, or one of their other names; test rows are used for
/// validation only if there are no validation rows). Without it, a fraction of each class is held out; see
/// [`split::of_files`].
pub(super) fn load(config: &DataConfig, seed: u64) -> Result<Splits, DataError> {
    let manifest = config.path.as_path();
    let rows = read(manifest)?;
    let (train, validation) = if rows.iter().any(|row| row.split.is_some()) {
        deal_by_split(manifest, rows)
    } else {
        let labels = class_indices(manifest, &rows, &sorted_classes(&rows))?;
        let files = rows.iter().map(|row| &*row.path).zip(labels);
        let is_held_back = split::of_files(config, files, seed);
        split::deal(rows, &is_held_back)
    };
    let classes = sorted_classes(&train);
    let files = |rows: Vec<Row>| -> Result<Vec<(PathBuf, u32)>, DataError> {
        let labels = class_indices(manifest, &rows, &classes)?;
        Ok(rows.into_iter().map(|row| row.path).zip(labels).collect())
    };
    let (train, validation) = (files(train)?, files(validation)?);
    Splits::from_files(manifest, config, classes, train, validation)
}

/// Loads the test rows of the manifest, or else its validation rows, or all rows if there is no `split` column.
pub(super) fn load_unseen(config: &DataConfig) -> Result<Dataset, DataError> {
    let manifest = config.path.as_path();
    let mut rows = read(manifest)?;
    if let Some(split) =
        [Split::Test, Split::Validation].into_iter().find(|&split| rows.iter().any(|row| row.split == Some(split)))
    {
        rows.retain(|row| row.split == Some(split));
    }
    let classes = sorted_classes(&rows);
    let labels = class_indices(manifest, &rows, &classes)?;
    let files = rows.into_iter().map(|row| row.path).zip(labels).collect();
    Dataset::of_config(manifest, config, classes, files)
}

#[derive(Debug)]
struct Row {
    path: PathBuf,
    label: String,
    /// `None` if the manifest has no such column.
    split: Option<Split>,
}

fn read(manifest: &Path) -> Result<Vec<Row>, DataError> {
    let file = disk::open_regular(manifest).map_err(|e| DataError::io(manifest, e))?;
    let mut file = BufReader::new(file);
    let folder = manifest.parent().unwrap_or(Path::new(""));
    let bad_row = |line, cause| DataError::ManifestRow { path: manifest.to_owned(), line, cause };
    // A line of a sparse file could be as long as the file.
    if file.fill_buf().map_err(|e| DataError::io(manifest, e))?.contains(&0) {
        return Err(bad_row(
            1,
            "it is not a text file; want a CSV file with the header `path,label` or `path,label,split`".into(),
        ));
    }
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(file);
    let bad_csv = |error: csv::Error| bad_row(error.position().map_or(0, csv::Position::line), error.to_string());

    let header = reader.headers().map_err(bad_csv)?.clone();
    let position = |column| header.iter().position(|name| name == column);
    let required = |column| {
        let got = header.iter().collect::<Vec<_>>().join(",");
        position(column).ok_or(DataError::ManifestHeader { path: manifest.to_owned(), column, got })
    };
    let columns = (required("path")?, required("label")?, position("split"));

    let row = |record: Result<StringRecord, csv::Error>| {
        let record = record.map_err(bad_csv)?;
        let line = record.position().map_or(0, csv::Position::line);
        parse_row(&record, columns, folder).map_err(|cause| bad_row(line, cause))
    };
    reader.into_records().map(row).collect()
}

fn parse_row(
    record: &StringRecord,
    (path, label, split): (usize, usize, Option<usize>),
    folder: &Path,
) -> Result<Row, String> {
    let value = |column: usize, name: &str| match record.get(column) {
        None | Some("") => Err(format!("the {name} is empty")),
        Some(value) => Ok(value),
    };
    let split = split.map(|column| {
        let word = record.get(column).unwrap_or_default();
        split_of(word).ok_or_else(|| format!("split is `{word}`, want train, val, validation, or test"))
    });
    Ok(Row {
        path: folder.join(value(path, "path")?),
        label: value(label, "label")?.to_owned(),
        split: split.transpose()?,
    })
}

/// Assigns the rows to training and validation by their `split` column.
fn deal_by_split(manifest: &Path, rows: Vec<Row>) -> (Vec<Row>, Vec<Row>) {
    let has = |split| rows.iter().any(|row| row.split == Some(split));
    let held_back = if has(Split::Validation) { Split::Validation } else { Split::Test };
    if held_back == Split::Test && has(Split::Test) {
        warn_of_test(manifest, "split `test`");
    }
    let (train, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.split == Some(Split::Train));
    (train, others.into_iter().filter(|row| row.split == Some(held_back)).collect())
}

fn sorted_classes(rows: &[Row]) -> Vec<String> {
    labels::sorted_classes(rows.iter().map(|row| row.label.as_str()))
}

fn class_indices(manifest: &Path, rows: &[Row], classes: &[String]) -> Result<Vec<u32>, DataError> {
    labels::class_indices(manifest, rows.iter().map(|row| row.label.as_str()), classes)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{config, write_image};
    use super::*;
    use crate::config::Source;

    fn load_text(text: &str) -> Result<Splits, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("labels.csv");
        std::fs::write(&manifest, text).unwrap();
        load(&config(Source::Csv, manifest), 1)
    }

    fn message(text: &str) -> String {
        load_text(text).unwrap_err().to_string()
    }

    #[test]
    fn paths_are_relative_to_the_manifest() {
        let folder = tempfile::tempdir().unwrap();
        write_image(folder.path().join("images/1.png"), 5);
        write_image(folder.path().join("images/2.png"), 6);
        let manifest = folder.path().join("labels.csv");
        std::fs::write(&manifest, "split,label,path\nval, x, images/2.png\ntrain,x,images/1.png\n").unwrap();
        let splits = load(&config(Source::Csv, manifest), 1).unwrap();
        assert_eq!(splits.train.image(0).unwrap().as_ref(), [5; 64]);
        assert_eq!(splits.validation.image(0).unwrap().as_ref(), [6; 64]);
    }

    #[test]
    fn labels_are_sorted_by_value_only_where_all_are_integers() {
        let splits = load_text("path,label\na,10\nb,9\nc,10\nd,9\ne,-1\nf,-1\n").unwrap();
        assert_eq!(splits.train.classes(), ["-1", "9", "10"]);
        assert_eq!((splits.train.class_counts(), splits.validation.class_counts()), (vec![1; 3], vec![1; 3]));
        let splits = load_text("path,label\na,10\nb,9\nc,10\nd,9\ne,x\nf,x\n").unwrap();
        assert_eq!(splits.train.classes(), ["10", "9", "x"]);
    }

    #[test]
    fn test_rows_validate_only_where_nothing_else_does() {
        let both = "path,label,split\na,x,train\nb,x,val\nc,x,validation\nd,x,test\ne,new,test\n";
        assert_eq!(load_text(both).unwrap().validation.len(), 2);
        let other_words = "path,label,split\na,x,Training\nb,x,dev\nc,x,VALID\nd,x,Testing\n";
        assert_eq!(load_text(other_words).unwrap().validation.len(), 2);
        let test = "path,label,split\na,x,train\nd,x,test\n";
        assert!(load_text(test).unwrap().validation.file(0).unwrap().ends_with("d"));
    }

    #[test]
    fn a_bad_row_is_named_by_its_line() {
        assert!(message("path,label\na,x\n,x\n").contains("labels.csv, line 3: the path is empty"));
        assert!(message("path,label\na,\n").contains("labels.csv, line 2: the label is empty"));
        assert!(message("path,label,split\na,x,holdout\n").contains("line 2: split is `holdout`, want train, val"));
        let ragged = message("path,label\na,x\nb\n");
        assert!(ragged.contains("labels.csv, line 3: ") && !ragged.contains('\n'), "{ragged}");
    }

    #[test]
    fn a_header_without_a_needed_column_shows_what_it_has() {
        assert!(message("file,label\na,x\n").contains("lacks the column `path`: got the header `file,label`"));
        assert!(message("").contains("lacks the column `path`"));
        assert!(message("path,label\0\n").contains("line 1: it is not a text file"));
    }

    #[test]
    fn empty_splits_and_unknown_classes_are_refused() {
        assert!(message("path,label\n").contains("no training image"));
        assert!(message("path,label,split\na,x,train\n").contains("no validation image"));
        assert!(message("path,label,split\na,x,val\n").contains("class `x` has validation images but no training"));
    }
}
