//! A Parquet file: its footer, its labels, and its images, one row group or a part of it at a time.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use gradwatch_doctor::panics;
use parquet::{
    basic::{CompressionCodec, Type},
    column::reader::ColumnReaderImpl,
    data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type},
    errors::{ParquetError as Fault, Result},
    file::{
        metadata::{ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader},
        serialized_reader::SerializedPageReader,
    },
};

use super::super::DataError;
use super::ParquetError;
use super::columns::{Columns, NoColumn};
use super::features::Features;
use super::held::Encoded;
use super::labels::{Label, Labels};
use crate::{config::DataConfig, disk};

/// A file whose footer has been read.
#[derive(Debug)]
pub(super) struct Table {
    pub path: PathBuf,
    metadata: ParquetMetaData,
    columns: Columns,
}

/// The size of a row group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowGroup {
    pub rows: usize,
    /// Size of the encoded images, about.
    pub bytes: u64,
}

impl Table {
    /// Reads the footer of a file and chooses its columns.
    ///
    /// # Errors
    /// [`ParquetError::File`] if there is no valid footer; [`ParquetError::Column`]; [`ParquetError::Codec`].
    pub(super) fn open(path: &Path, config: &DataConfig) -> std::result::Result<Self, DataError> {
        let damaged = |cause: String| ParquetError::File { path: path.to_owned(), cause };
        let file = disk::open_regular(path).map_err(|error| DataError::io(path, error))?;
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&file).map_err(|error| damaged(shown(&error)))?;
        let features = Features::of(metadata.file_metadata());
        let columns = Columns::choose(metadata.file_metadata().schema_descr(), &features, config)
            .map_err(|NoColumn { key, cause }| ParquetError::Column { path: path.to_owned(), cause, key })?;
        let table = Self { path: path.to_owned(), metadata, columns };
        let length = file.metadata().map_err(|error| DataError::io(path, error))?.len();
        table.check_places(length).map_err(damaged)?;
        table.check_codecs()?;
        Ok(table)
    }

    /// Checks that the data of all columns to read lie within the file.
    fn check_places(&self, length: u64) -> std::result::Result<(), String> {
        for group in self.metadata.row_groups() {
            if group.num_rows() < 0 {
                return Err(format!("a row group has {} rows", group.num_rows()));
            }
            for chunk in self.columns.all().map(|column| group.column(column)) {
                let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
                let end = start.checked_add(chunk.compressed_size()).and_then(|end| u64::try_from(end).ok());
                if start < 0 || chunk.compressed_size() < 0 || end.is_none_or(|end| end > length) {
                    return Err(format!("column {} is not inside of the file", chunk.column_path()));
                }
            }
        }
        Ok(())
    }

    /// Checks that the columns to read can be decompressed.
    fn check_codecs(&self) -> std::result::Result<(), ParquetError> {
        let groups = self.metadata.row_groups().iter();
        for chunk in groups.flat_map(|group| self.columns.all().map(|column| group.column(column))) {
            if let codec @ (CompressionCodec::LZO | CompressionCodec::BROTLI) = chunk.compression_codec() {
                let (path, column) = (self.path.clone(), chunk.column_path().string());
                return Err(ParquetError::Codec { path, column, codec: format!("{codec:?}").to_lowercase() });
            }
        }
        Ok(())
    }

    /// The row groups, in the order of the rows.
    pub(super) fn row_groups(&self) -> impl Iterator<Item = RowGroup> {
        self.metadata.row_groups().iter().map(|group| {
            let column = self.columns.bytes.or(self.columns.path);
            let bytes = column.map_or(0, |column| group.column(column).uncompressed_size());
            RowGroup { rows: rows_of(group.num_rows()), bytes: u64::try_from(bytes).unwrap_or(0) }
        })
    }

    /// Reads the labels of all rows.
    pub(super) fn labels(&self) -> std::result::Result<Labels, String> {
        let mut labels = Labels::new(self.columns.classes.clone());
        for (group, RowGroup { rows, .. }) in self.row_groups().enumerate() {
            let stored = self.stored_labels(group, 0..rows);
            let stored = stored.map_err(|error| format!("the labels of row group {group}: {}", shown(&error)))?;
            stored.into_iter().for_each(|label| labels.push(label));
        }
        Ok(labels)
    }

    fn stored_labels(&self, group: usize, rows: Range<usize>) -> Result<Vec<Option<Label>>> {
        let column = self.columns.label;
        let text = |text: ByteArray| Label::Text(String::from_utf8_lossy(text.data()).into_owned());
        Ok(match self.chunk(group, column).column_type() {
            Type::INT32 => each(self.read::<Int32Type>(group, column, rows)?, |number| Label::Number(number.into())),
            Type::INT64 => each(self.read::<Int64Type>(group, column, rows)?, Label::Number),
            _ => each(self.read::<ByteArrayType>(group, column, rows)?, text),
        })
    }

    /// Reads the images of some rows of a row group.
    pub(super) fn images(&self, group: usize, rows: Range<usize>) -> std::result::Result<Vec<Encoded>, String> {
        let strings = |column: Option<usize>| match column {
            Some(column) => self.read::<ByteArrayType>(group, column, rows.clone()),
            None => Ok(vec![None; rows.len()]),
        };
        let read = || {
            let bytes = strings(self.columns.bytes)?;
            let paths =
                if bytes.iter().all(Option::is_some) { vec![None; rows.len()] } else { strings(self.columns.path)? };
            Ok(bytes.into_iter().zip(paths).map(|both| self.encoded(both)).collect())
        };
        read().map_err(|error: Fault| format!("row group {group} cannot be read: {}", shown(&error)))
    }

    fn encoded(&self, (bytes, path): (Option<ByteArray>, Option<ByteArray>)) -> Encoded {
        match (bytes, path) {
            (Some(bytes), _) => Encoded::Bytes(bytes.data().into()),
            (None, Some(path)) => {
                let folder = self.path.parent().unwrap_or(Path::new(""));
                Encoded::File(folder.join(String::from_utf8_lossy(path.data()).as_ref()))
            }
            (None, None) => Encoded::Null,
        }
    }

    fn chunk(&self, group: usize, column: usize) -> &ColumnChunkMetaData {
        self.metadata.row_group(group).column(column)
    }

    /// Reads the values of some rows; `None` for null.
    fn read<T: DataType>(&self, group: usize, column: usize, rows: Range<usize>) -> Result<Vec<Option<T::T>>> {
        let chunk = self.chunk(group, column);
        // A file of its own, because reading moves its position.
        let file = Arc::new(disk::open_regular(&self.path)?);
        let pages = SerializedPageReader::new(file, chunk, rows_of(self.metadata.row_group(group).num_rows()), None)?;
        let reader = ColumnReaderImpl::<T>::new(chunk.column_descr_ptr(), Box::new(pages));
        // Some damaged pages make the reader panic.
        panics::caught(|| values(reader, rows, chunk.column_descr().max_def_level()))
            .unwrap_or_else(|_| Err(Fault::General("it is damaged".into())))
    }
}

/// Converts all values that are not null.
fn each<A, B>(values: Vec<Option<A>>, convert: impl Fn(A) -> B) -> Vec<Option<B>> {
    values.into_iter().map(|value| value.map(&convert)).collect()
}

/// Reads the values of some rows. A value is null unless its definition level is `whole`.
fn values<T: DataType>(mut reader: ColumnReaderImpl<T>, rows: Range<usize>, whole: i16) -> Result<Vec<Option<T::T>>> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    let skipped = reader.skip_records(rows.start)?;
    let (read, ..) = reader.read_records(rows.len(), Some(&mut levels), None, &mut values)?;
    if skipped + read != rows.end {
        return Err(Fault::EOF(format!("it has {} of {} rows", skipped + read, rows.end)));
    }
    let mut values = values.into_iter();
    Ok(match whole {
        0 => values.map(Some).collect(),
        _ => levels.into_iter().map(|level| if level == whole { values.next() } else { None }).collect(),
    })
}

fn rows_of(count: i64) -> usize {
    usize::try_from(count).unwrap_or(0)
}

/// The message of an error, without its kind.
fn shown(error: &Fault) -> String {
    let text = error.to_string();
    let inner = text.strip_prefix("Parquet error: ").or_else(|| text.strip_prefix("EOF: ")).unwrap_or(&text);
    inner.trim_end().replace('\n', " ")
}
