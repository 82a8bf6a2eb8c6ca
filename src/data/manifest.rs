//! A CSV manifest with the columns `path`, `label`, and optionally `split`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use csv::{ReaderBuilder, StringRecord, Trim};

use super::dataset::Dataset;
use super::folder::warn_of_test;
use super::layout::{Split, split_of};
use super::name::Base;
use super::paths::Paths;
use super::splits::{Splits, check_not_empty};
use super::{DataError, LabelSets, ManifestError, labels, split};
use crate::{config::DataConfig, disk, number::count as plural};

/// Separates the classes of an image in multi-label data.
const SEPARATOR: char = '|';
/// Remedy for an empty label.
const ALLOWS_NONE: &str = "data.multi_label = true allows images without a class";

/// Reads the manifest `config.path`. Columns are found by name, in any order; other columns are ignored. Paths are
/// relative to the manifest's folder.
///
/// Labels may be any strings. Sorted (by value if all are integers, otherwise by bytes), they are the classes. With
/// `data.multi_label`, a row has any number of labels, separated by `|`.
///
/// With a `split` column, it assigns the rows (`train`, `val`, `test`, or one of their other names; test rows are used
/// for validation only if there are no validation rows). Without it, a fraction of each class is held out; see
/// [`split::of_label_sets`].
pub(super) fn load(config: &DataConfig, seed: u64) -> Result<Splits, DataError> {
    let manifest = config.path.as_path();
    let rows = read(config)?;
    tell_of_separators(config, &rows);
    let (train, validation) = if rows.iter().any(|row| row.split.is_some()) {
        deal_by_split(manifest, rows)
    } else {
        let labels = label_sets(config, &rows, &sorted_classes(&rows))?;
        let is_held_back = split::of_label_sets(config, rows.iter().map(|row| &*row.path), &labels, seed);
        split::deal(rows, &is_held_back)
    };
    let classes = sorted_classes(&train);
    let (train, validation) = (Listed::of(config, &train, &classes)?, Listed::of(config, &validation, &classes)?);
    check_not_empty([manifest; 2], [train.paths.len(), validation.paths.len()])?;
    for (split, listed) in [("training", &train), ("validation", &validation)] {
        if listed.labels.flat().is_empty() {
            return Err(ManifestError::NoLabels { path: manifest.to_owned(), split }.into());
        }
    }
    let dataset = |listed: Listed| Ok::<_, DataError>(listed.into_dataset(config, &classes)?.into());
    Ok(Splits { train: dataset(train)?, validation: dataset(validation)? })
}

/// Loads the test rows of the manifest, or else its validation rows, or all rows if there is no `split` column.
pub(super) fn load_unseen(config: &DataConfig) -> Result<Dataset, DataError> {
    let mut rows = read(config)?;
    if let Some(split) =
        [Split::Test, Split::Validation].into_iter().find(|&split| rows.iter().any(|row| row.split == Some(split)))
    {
        rows.retain(|row| row.split == Some(split));
    }
    let classes = sorted_classes(&rows);
    Listed::of(config, &rows, &classes)?.into_dataset(config, &classes)
}

/// The images of a split.
struct Listed {
    paths: Paths,
    labels: LabelSets,
}

impl Listed {
    fn of(config: &DataConfig, rows: &[Row], classes: &[String]) -> Result<Self, DataError> {
        let labels = label_sets(config, rows, classes)?;
        let mut paths = Paths::new(Base::of_config(config));
        rows.iter().for_each(|row| paths.push(&row.path));
        Ok(Self { paths, labels })
    }

    fn into_dataset(self, config: &DataConfig, classes: &[String]) -> Result<Dataset, DataError> {
        Dataset::of_files(&config.path, config, classes.to_vec(), self.paths, self.labels)
    }
}

#[derive(Debug)]
struct Row {
    path: PathBuf,
    /// Exactly one, or any number in multi-label data.
    labels: Vec<String>,
    /// `None` if the manifest has no such column.
    split: Option<Split>,
}

fn read(config: &DataConfig) -> Result<Vec<Row>, DataError> {
    let manifest = config.path.as_path();
    let file = disk::open_regular(manifest).map_err(|e| DataError::io(manifest, e))?;
    let mut file = BufReader::new(file);
    let folder = manifest.parent().unwrap_or(Path::new(""));
    let bad_row = |line, cause| -> DataError { ManifestError::Row { path: manifest.to_owned(), line, cause }.into() };
    // A line of a sparse file could be as long as the file.
    if file.fill_buf().map_err(|e| DataError::io(manifest, e))?.contains(&0) {
        return Err(bad_row(
            1,
            "it is not a text file; want a CSV file with the header `path,label` or `path,label,split`".into(),
        ));
    }
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(file);
    let bad_csv = |error: csv::Error| {
        bad_row(error.position().map_or(0, |position| line_at(manifest, position.byte())), error.to_string())
    };

    let header = reader.headers().map_err(bad_csv)?.clone();
    let position = |column| header.iter().position(|name| name == column);
    let required = |column| {
        let got = header.iter().collect::<Vec<_>>().join(",");
        position(column).ok_or(ManifestError::Header { path: manifest.to_owned(), column, got })
    };
    let columns = (required("path")?, required("label")?, position("split"));

    let row = |record: Result<StringRecord, csv::Error>| {
        let record = record.map_err(bad_csv)?;
        let line = record.position().map_or(0, |position| line_at(manifest, position.byte()));
        parse_row(&record, columns, folder, config.multi_label).map_err(|cause| bad_row(line, cause))
    };
    reader.into_records().map(row).collect()
}

/// Number of the line, from 1, of the first text from byte `start` on; 0 if the file cannot be read again. The reader's
/// own numbers leave out empty lines, and those that end with a carriage return.
fn line_at(manifest: &Path, start: u64) -> u64 {
    let Ok(text) = std::fs::read(manifest) else { return 0 };
    let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let start = usize::try_from(start).unwrap_or(usize::MAX).min(text.len());
    let (before, rest) = text.split_at(start);
    let empty = rest.iter().take_while(|byte| is_end(byte)).count();
    let before = &text[..before.len() + empty];
    let is_pair = |pair: &&[u8]| **pair == *b"\r\n";
    let ends = before.iter().filter(|byte| is_end(byte)).count();
    (1 + ends - before.windows(2).filter(is_pair).count()) as u64
}

fn parse_row(
    record: &StringRecord,
    (path, label, split): (usize, usize, Option<usize>),
    folder: &Path,
    is_multi_label: bool,
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
        labels: match is_multi_label {
            true => separated(record.get(label).unwrap_or_default())?,
            false => vec![value(label, "label").map_err(|cause| format!("{cause}; {ALLOWS_NONE}"))?.to_owned()],
        },
        split: split.transpose()?,
    })
}

/// The labels of an image in multi-label data; none if the text is empty.
fn separated(text: &str) -> Result<Vec<String>, String> {
    let labels = text.split(SEPARATOR).filter(|_| !text.is_empty()).map(str::trim);
    let label = |label: &str| match label {
        "" => Err(format!("the label `{text}` has an empty part, want classes separated by `{SEPARATOR}`")),
        label => Ok(label.to_owned()),
    };
    labels.map(label).collect()
}

/// Mentions `data.multi_label` if it is off and labels look like several classes.
fn tell_of_separators(config: &DataConfig, rows: &[Row]) {
    let mut several = rows.iter().flat_map(|row| &row.labels).filter(|label| label.contains(SEPARATOR));
    if let Some(first) = several.next() {
        tracing::info!(
            "{}: {} with `{SEPARATOR}`, first `{first}`; if it separates classes, set data.multi_label = true and \
             loss.name = \"bce\"",
            config.path.display(),
            plural(1 + several.count() as u64, "label")
        );
    }
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
    labels::sorted_classes(rows.iter().flat_map(|row| &row.labels).map(String::as_str))
}

fn label_sets(config: &DataConfig, rows: &[Row], classes: &[String]) -> Result<LabelSets, DataError> {
    let labels = rows.iter().flat_map(|row| &row.labels).map(String::as_str);
    let indices = labels::class_indices(&config.path, labels, classes)?;
    if !config.multi_label {
        return Ok(indices.into());
    }
    let mut indices = indices.into_iter();
    Ok(rows.iter().map(|row| indices.by_ref().take(row.labels.len()).collect()).collect())
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

    fn load_multi_label(text: &str) -> Result<Splits, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("labels.csv");
        std::fs::write(&manifest, text).unwrap();
        load(&DataConfig { multi_label: true, ..config(Source::Csv, manifest) }, 1)
    }

    #[test]
    fn a_row_of_multi_label_data_has_any_number_of_classes() {
        let text = "path,label,split\na,scratch | dent,train\nb,,train\nc,dent|dent,train\nd,scratch,val\n";
        let Splits { train, validation } = load_multi_label(text).unwrap();
        assert_eq!(train.classes(), ["dent", "scratch"]);
        assert_eq!(train.label_sets().iter().collect::<Vec<_>>(), [&[0, 1][..], &[], &[0]]);
        assert_eq!((train.class_counts(), validation.label_sets().of(0)), (vec![2, 1], &[1][..]));
        // Off, each text is a class.
        let off = load_text(&text.replace(",,", ",none,").replace("d,scratch", "d,none")).unwrap();
        assert_eq!(off.train.classes(), ["dent|dent", "none", "scratch | dent"]);
        let numbers = load_multi_label("path,label,split\na,10|9,train\nb,-1,train\nc,9,val\n").unwrap();
        assert_eq!(numbers.train.classes(), ["-1", "9", "10"]);
    }

    #[test]
    fn labels_of_multi_label_data_that_cannot_be_read_are_refused() {
        let message = |text: &str| load_multi_label(text).unwrap_err().to_string();
        assert!(message("path,label\na,x||y\n").contains("line 2: the label `x||y` has an empty part"));
        assert!(message("path,label,split\na,x,train\nb,x|y,val\n").contains("class `y` has validation images but no"));
        assert!(message("path,label,split\na,,train\nb,,val\n").contains("no training image has a label"));
        assert!(message("path,label,split\na,x,train\nb,,val\n").contains("no validation image has a label"));
    }

    #[test]
    fn a_bad_row_is_named_by_its_line() {
        assert!(message("path,label\na,x\n,x\n").contains("labels.csv, line 3: the path is empty"));
        assert!(message("path,label\na,\n").contains("labels.csv, line 2: the label is empty"));
        assert!(message("path,label,split\na,x,holdout\n").contains("line 2: split is `holdout`, want train, val"));
        let ragged = message("path,label\na,x\nb\n");
        assert!(ragged.contains("labels.csv, line 3: ") && !ragged.contains('\n'), "{ragged}");
        // Whatever ends the lines, and however many of them are empty.
        for end in ["\n", "\r\n", "\r"] {
            for (lines, number) in [("path,label|a,x|b,", 3), ("path,label|||a,x|||b,|c,x", 7), ("path,label|,x", 2)] {
                let told = message(&lines.replace('|', end));
                assert!(told.contains(&format!("labels.csv, line {number}: ")), "{end:?} {lines}: {told}");
            }
        }
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
