//! The images of one split in the rows of Parquet files.

use std::{
    ops::Range,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use super::super::decode;
use super::Sample;
use super::held::{Encoded, Held};
use super::table::{RowGroup, Table};

/// Limits of memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Most bytes of encoded images to hold.
    pub held_bytes: u64,
    /// Row groups with more bytes of images are read in several parts.
    pub part_bytes: u64,
}

/// Limits of a run: no more than a small machine has, and enough to shuffle over 10,000 images of 80 kB.
pub(super) const LIMITS: Limits = Limits { held_bytes: 1 << 30, part_bytes: 64 << 20 };

/// The images of one split, by index.
#[derive(Debug)]
pub(in super::super) struct Rows {
    tables: Arc<[Table]>,
    parts: Vec<Part>,
    /// Row of each image in its file.
    rows: Vec<u64>,
    held: Held,
}

/// A row group, or a part of a large one: what is read at a time.
#[derive(Debug)]
struct Part {
    table: usize,
    group: usize,
    /// Rows of the row group.
    rows: Range<usize>,
    /// Row of the file that the row group starts with.
    first_row: u64,
    /// Size of the encoded images of all its rows, about.
    bytes: u64,
    /// Images of the split.
    images: Range<u32>,
    /// Why it cannot be read, if so. Locked during the read.
    fault: Mutex<Option<String>>,
}

impl Rows {
    /// Takes the images of a split, in the order of tables and rows.
    pub(super) fn new(tables: &Arc<[Table]>, samples: &[Sample], limits: Limits) -> Self {
        let mut parts: Vec<Part> = Vec::new();
        let mut next = 0;
        for (number, table) in tables.iter().enumerate() {
            let mut first_row = 0;
            for (group, size) in table.row_groups().enumerate() {
                for rows in in_parts(size, limits.part_bytes) {
                    let end = first_row + rows.end as u64;
                    let rest = samples.get(next..).unwrap_or_default();
                    let count = rest.iter().take_while(|sample| sample.table == number && sample.row < end).count();
                    let images = next as u32..(next + count) as u32;
                    next += count;
                    let bytes = (u128::from(size.bytes) * rows.len() as u128 / size.rows as u128) as u64;
                    let fault = Mutex::default();
                    parts.push(Part { table: number, group, rows, first_row, bytes, images, fault });
                }
                first_row += size.rows as u64;
            }
        }
        parts.retain(|part| !part.images.is_empty());
        let rows = samples.iter().map(|sample| sample.row).collect();
        Self { tables: Arc::clone(tables), parts, rows, held: Held::new(limits.held_bytes) }
    }

    /// The images at `indices`, which are in ascending order.
    pub(in super::super) fn chosen(&self, indices: &[u32]) -> Self {
        let before = |image: u32| indices.partition_point(|&index| index < image) as u32;
        let part = |part: &Part| {
            let images = before(part.images.start)..before(part.images.end);
            Part { rows: part.rows.clone(), images, fault: Mutex::default(), ..*part }
        };
        let parts = self.parts.iter().map(part).filter(|part| !part.images.is_empty()).collect();
        let rows = indices.iter().map(|&index| self.rows[index as usize]).collect();
        Self { tables: Arc::clone(&self.tables), parts, rows, held: Held::new(self.held.most_bytes) }
    }

    /// Path of the image's file, and its row below it, from 0.
    pub(in super::super) fn path(&self, index: usize) -> Option<PathBuf> {
        let part = self.part(index)?;
        Some(self.tables[part.table].path.join(self.rows.get(index)?.to_string()))
    }

    /// Size of the encoded image in bytes: the mean of its row group, because it has not been read.
    pub(in super::super) fn length(&self, index: usize) -> Option<u64> {
        self.part(index).map(|part| part.bytes / part.rows.len().max(1) as u64)
    }

    /// Reads the encoded image, and with it all others that are read at the same time and are not held yet.
    pub(in super::super) fn read(&self, index: usize) -> Result<Vec<u8>, String> {
        let part = self.part(index).ok_or_else(|| format!("image {index} does not exist"))?;
        let image = match self.held.take_up(index as u32) {
            Some(image) => image,
            None => self.read_part(part, index as u32)?,
        };
        match image {
            Encoded::Bytes(bytes) => decode::check_length(bytes.len() as u64).map(|()| bytes.to_vec()),
            Encoded::File(path) => decode::read(&path).map_err(|cause| format!("{}: {cause}", path.display())),
            Encoded::Null => Err("its image is null".into()),
        }
    }

    /// Reads image `index` with all others of its part, unless another thread has just done so.
    fn read_part(&self, part: &Part, index: u32) -> Result<Encoded, String> {
        let mut fault = part.fault.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cause) = &*fault {
            return Err(cause.clone());
        }
        if let Some(image) = self.held.take_up(index) {
            return Ok(image);
        }
        let found = self.tables[part.table].images(part.group, part.rows.clone());
        let found = found.inspect_err(|cause| *fault = Some(cause.clone()))?;
        let place = |image: u32| (self.rows[image as usize] - part.first_row) as usize - part.rows.start;
        let image = found[place(index)].clone();
        self.held.add(part.images.clone().map(|image| (image, found[place(image)].clone())));
        self.held.take_up(index);
        Ok(image)
    }

    /// Starts an epoch after the images `shown`.
    pub(in super::super) fn start_epoch(&self, shown: &[u32]) {
        self.held.start_epoch(shown);
    }

    /// The images that are read at a time.
    pub(in super::super) fn ranges(&self) -> Vec<Range<u32>> {
        self.parts.iter().map(|part| part.images.clone()).collect()
    }

    /// The number of images to shuffle over at a time: as configured, or fewer if they need too much memory.
    pub(in super::super) fn shuffle_buffer(&self, configured: usize) -> usize {
        let bytes: u128 = self.parts.iter().map(|part| u128::from(part.bytes)).sum();
        let rows: u128 = self.parts.iter().map(|part| part.rows.len() as u128).sum();
        // The rest is room for reads in progress.
        let most_bytes = self.held.most_bytes / 4 * 3;
        let most = u128::from(most_bytes) * rows / bytes.max(1);
        configured.min(usize::try_from(most).unwrap_or(usize::MAX)).max(1)
    }

    fn part(&self, index: usize) -> Option<&Part> {
        let place = self.parts.partition_point(|part| part.images.end as usize <= index);
        self.parts.get(place)
    }
}

/// Divides the rows of a row group into parts of about the same number of rows, each with at most `most_bytes` of images
/// on average.
fn in_parts(RowGroup { rows, bytes }: RowGroup, most_bytes: u64) -> impl Iterator<Item = Range<usize>> {
    let count = (bytes.div_ceil(most_bytes) as usize).clamp(1, rows.max(1));
    let edge = move |part: usize| (part as u128 * rows as u128 / count as u128) as usize;
    (0..count).map(move |part| edge(part)..edge(part + 1)).filter(|rows| !rows.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_row_groups_are_read_in_parts_that_cover_all_rows_once() {
        let parts = |rows, bytes| -> Vec<(usize, usize)> {
            in_parts(RowGroup { rows, bytes }, 64 << 20).map(|rows| (rows.start, rows.end)).collect()
        };
        assert_eq!(parts(100, 10 << 20), [(0, 100)]);
        assert_eq!(parts(100, 0), [(0, 100)]);
        assert_eq!(parts(10, 150 << 20), [(0, 3), (3, 6), (6, 10)]);
        assert_eq!(parts(2, 1 << 40), [(0, 1), (1, 2)]);
        assert_eq!(parts(0, 5), []);
    }
}
