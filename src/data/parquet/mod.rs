//! Parquet files of images and labels, as on the Hugging Face hub.
//!
//! Footers and labels are read once, at the start. Images are read one row group at a time, and are held in memory
//! until they are used, because most files compress a row group as a whole. The order of an epoch keeps their number
//! low: it shuffles the row groups, and passes their images through a shuffle buffer; see [`shards::order`].
//!
//! [`shards::order`]: super::shards::order

mod columns;
mod error;
mod features;
mod files;
mod held;
mod labels;
mod rows;
mod table;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::dataset::Dataset;
use super::labels::sorted_classes;
use super::splits::{Splits, check_not_empty};
use super::survey::on_all_cores;
use super::{DataError, members::Members, split};
use crate::config::{DataConfig, OnBadImage};
pub use error::ParquetError;
use labels::Labels;
use rows::LIMITS;
pub(super) use rows::Rows;
use table::Table;

/// Reads the footers and labels of the files. Without files for validation, part of the images is held out; see
/// [`split::of_files`].
///
/// # Errors
/// [`DataError::Missing`]; [`DataError::UnknownClass`]; [`ParquetError::Column`]; [`ParquetError::File`] and
/// [`ParquetError::Row`] if a file or a label cannot be used, unless [`OnBadImage::Skip`] leaves it out.
pub(super) fn load(config: &DataConfig, seed: u64) -> Result<Splits, DataError> {
    let whole = Collection::read(&config.path, config)?;
    let (train, validation) = match &config.validation_path {
        Some(path) => {
            let validation = Collection::read(path, config)?.with_classes_of(&whole)?;
            (whole, validation)
        }
        None => whole.hold_out(config, seed),
    };
    let of_validation = config.validation_path.as_deref().unwrap_or(&config.path);
    check_not_empty([&config.path, of_validation], [train.samples.len(), validation.samples.len()])?;
    Ok(Splits {
        train: train.dataset(&config.path, config)?.into(),
        validation: validation.dataset(of_validation, config)?.into(),
    })
}

/// Reads the validation files, or all files if there are none.
///
/// # Errors
/// As for [`load`].
pub(super) fn load_unseen(config: &DataConfig) -> Result<Dataset, DataError> {
    let path = config.validation_path.as_deref().unwrap_or(&config.path);
    let all = Collection::read(path, config)?;
    check_not_empty([path; 2], [all.samples.len(); 2])?;
    all.dataset(path, config)
}

/// Warns if the images are too large for the configured shuffle buffer.
pub(super) fn tell_of_buffer(train: &Dataset, config: &DataConfig) {
    let buffer = train.members().map_or(usize::MAX, |members| members.shuffle_buffer(config.shuffle_buffer));
    if buffer < config.shuffle_buffer.min(train.len()) {
        tracing::warn!(
            "an epoch is shuffled over {buffer} images at a time instead of data.shuffle_buffer = {}, which would need \
             more than 1 GiB of memory",
            config.shuffle_buffer
        );
    }
}

/// A labeled row.
#[derive(Debug, Clone, Copy)]
struct Sample {
    /// Number of its file.
    table: usize,
    /// Its row in the file.
    row: u64,
    /// Index of its class.
    label: u32,
}

/// Labeled rows of several files, in the order of files and rows.
struct Collection {
    tables: Arc<[Table]>,
    classes: Vec<String>,
    samples: Vec<Sample>,
    /// Whether rows are left out because they or their files cannot be read.
    is_partial: bool,
    naming: Naming,
}

/// A file that names its classes, and one that has numbers without names.
#[derive(Debug, Clone, Default)]
struct Naming {
    named: Option<PathBuf>,
    numbered: Option<PathBuf>,
}

impl Naming {
    fn of(files: &[(Table, Labels)]) -> Self {
        let path = |file: &(Table, Labels)| file.0.path.clone();
        let is_numbered = |(_, labels): &&(Table, Labels)| labels.has_numbers && !labels.is_listed;
        Self {
            named: files.iter().find(|(_, labels)| labels.is_listed).map(path),
            numbered: files.iter().find(is_numbered).map(path),
        }
    }

    /// # Errors
    /// [`ParquetError::Classes`] if only some of the files name the classes of their numbers.
    fn check(&self) -> Result<(), DataError> {
        match (&self.named, &self.numbered) {
            (Some(named), Some(path)) => Err(ParquetError::Classes { path: path.clone(), named: named.clone() }.into()),
            _ => Ok(()),
        }
    }
}

impl Collection {
    fn read(path: &Path, config: &DataConfig) -> Result<Self, DataError> {
        let paths = files::list(path)?;
        let found = on_all_cores(paths.len(), |number| read_file(&paths[number], config));
        let (mut files, mut is_partial): (Vec<(Table, Labels)>, bool) = (Vec::new(), false);
        for file in found {
            match file {
                Ok(file) => files.push(file),
                Err(DataError::Parquet(ParquetError::File { path, cause }))
                    if config.on_bad_image == OnBadImage::Skip =>
                {
                    is_partial = true;
                    tracing::warn!("{} cannot be read as Parquet and is skipped: {cause}", path.display());
                }
                Err(error) => return Err(error),
            }
        }
        is_partial |= files.iter().any(|(_, labels)| labels.fault.is_some());
        let naming = Naming::of(&files);
        naming.check()?;
        let classes = classes_of(&files);
        let index_of: HashMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
        let mut samples = Vec::new();
        for (table, (_, labels)) in files.iter().enumerate() {
            let indices: Vec<u32> = labels.names.iter().map(|name| index_of[name.as_str()]).collect();
            let labeled = (0..).zip(&labels.of_rows).filter_map(|(row, label)| Some((row, (*label)?)));
            samples.extend(labeled.map(|(row, label)| Sample { table, row, label: indices[label as usize] }));
        }
        let tables = files.into_iter().map(|(table, _)| table).collect();
        Ok(Self { tables, classes, samples, is_partial, naming })
    }

    /// The path of a row's file, and the row below it.
    fn path_of(&self, sample: &Sample) -> PathBuf {
        self.tables[sample.table].path.join(sample.row.to_string())
    }

    /// The same rows with the classes of the training images.
    fn with_classes_of(self, train: &Self) -> Result<Self, DataError> {
        let Naming { named, numbered } = self.naming.clone();
        let named = named.or_else(|| train.naming.named.clone());
        Naming { named, numbered: numbered.or_else(|| train.naming.numbered.clone()) }.check()?;
        let index_of: HashMap<&str, u32> = train.classes.iter().map(String::as_str).zip(0..).collect();
        let known: Vec<Option<u32>> = self.classes.iter().map(|name| index_of.get(name.as_str()).copied()).collect();
        let relabeled = self.samples.iter().map(|sample| match known[sample.label as usize] {
            Some(label) => Ok(Sample { label, ..*sample }),
            None => {
                let class = self.classes[sample.label as usize].clone();
                Err(DataError::UnknownClass { path: self.path_of(sample), class })
            }
        });
        let samples = relabeled.collect::<Result<_, _>>()?;
        Ok(Self { classes: train.classes.clone(), samples, ..self })
    }

    /// Splits into training and validation rows.
    fn hold_out(self, config: &DataConfig, seed: u64) -> (Self, Self) {
        let names: Vec<PathBuf> = self.samples.iter().map(|sample| self.path_of(sample)).collect();
        let files = names.iter().map(PathBuf::as_path).zip(self.samples.iter().map(|sample| sample.label));
        let is_held_back = split::of_files(config, files, seed);
        let (train, validation) = split::deal(self.samples, &is_held_back);
        let with = |samples| Self {
            tables: Arc::clone(&self.tables),
            classes: self.classes.clone(),
            samples,
            is_partial: self.is_partial,
            naming: self.naming.clone(),
        };
        (with(train), with(validation))
    }

    fn dataset(self, origin: &Path, config: &DataConfig) -> Result<Dataset, DataError> {
        let members = Members::Rows(Rows::new(&self.tables, &self.samples, LIMITS));
        let labels = self.samples.iter().map(|sample| sample.label).collect();
        Ok(Dataset::of_members(origin, config, self.classes, labels, members)?.marked_partial(self.is_partial))
    }
}

/// Reads footer and labels of a file. A label that cannot be used is an error, or is reported with the number of such
/// rows.
fn read_file(path: &Path, config: &DataConfig) -> Result<(Table, Labels), DataError> {
    let table = Table::open(path, config)?;
    let labels = table.labels().map_err(|cause| ParquetError::File { path: path.to_owned(), cause })?;
    if let Some((row, cause)) = &labels.fault {
        if config.on_bad_image == OnBadImage::Stop {
            return Err(ParquetError::Row { path: path.to_owned(), row: *row, cause: cause.clone() }.into());
        }
        let count = labels.of_rows.iter().filter(|label| label.is_none()).count();
        let (path, rows) = (path.display(), labels.of_rows.len());
        tracing::warn!("{path}: {count} of {rows} rows are skipped, first row {row}: {cause}");
    }
    Ok((table, labels))
}

/// The classes of all files: those that each of them lists, in their order, if the lists are equal; otherwise the names
/// of all labels, sorted.
fn classes_of(files: &[(Table, Labels)]) -> Vec<String> {
    let mut lists = files.iter().map(|(_, labels)| labels.is_listed.then_some(&labels.names));
    match lists.next().flatten() {
        Some(first) if lists.all(|list| list == Some(first)) => first.clone(),
        _ => sorted_classes(files.iter().flat_map(|(_, labels)| &labels.names).map(String::as_str)),
    }
}
