//! Images inside of shards, read one at a time.

use std::{
    io::Error,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::super::decode::check_length;
use crate::disk;

/// The images of one split.
#[derive(Debug, Default)]
pub(in super::super) struct Shards {
    shards: Vec<PathBuf>,
    entries: Vec<Entry>,
    /// All names in sequence.
    names: String,
}

/// Place of an image. Entries of a shard are adjacent.
#[derive(Debug, Clone, Copy)]
struct Entry {
    offset: u64,
    shard: u32,
    length: u32,
    /// End of its name in `names`.
    name_end: usize,
}

impl Shards {
    /// Adds an image of a shard, which is the last one or a new one.
    pub(super) fn push(&mut self, shard: &Path, name: &str, offset: u64, length: u64) {
        if self.shards.last().is_none_or(|last| last != shard) {
            self.shards.push(shard.to_owned());
        }
        self.names.push_str(name);
        let (shard, name_end) = (self.shards.len() as u32 - 1, self.names.len());
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.entries.push(Entry { offset, shard, length, name_end });
    }

    /// The images at `indices`, which are in ascending order.
    pub(in super::super) fn chosen(&self, indices: &[u32]) -> Self {
        let mut chosen = Self::default();
        for index in indices.iter().map(|&index| index as usize) {
            if let (Some((shard, name)), Some(entry)) = (self.name(index), self.entries.get(index)) {
                chosen.push(shard, name, entry.offset, u64::from(entry.length));
            }
        }
        chosen
    }

    /// The shard of an image, and its name there.
    pub(in super::super) fn name(&self, index: usize) -> Option<(&Path, &str)> {
        let Entry { shard, name_end, .. } = *self.entries.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.entries[before].name_end);
        Some((&self.shards[shard as usize], &self.names[start..name_end]))
    }

    /// Size of the encoded image in bytes.
    pub(in super::super) fn length(&self, index: usize) -> Option<u64> {
        Some(u64::from(self.entries.get(index)?.length))
    }

    /// Reads the encoded image.
    pub(in super::super) fn read(&self, index: usize) -> Result<Vec<u8>, String> {
        let Some(&Entry { shard, offset, length, .. }) = self.entries.get(index) else {
            return Err(format!("image {index} does not exist"));
        };
        check_length(u64::from(length))?;
        let text = |error: Error| error.to_string();
        let file = disk::open_regular(&self.shards[shard as usize]).map_err(text)?;
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, offset).map_err(text)?;
        Ok(bytes)
    }

    /// The images of each shard.
    pub(in super::super) fn ranges(&self) -> Vec<Range<u32>> {
        let mut ranges: Vec<Range<u32>> = Vec::new();
        for (index, entry) in (0..).zip(&self.entries) {
            match ranges.last_mut().filter(|_| index > 0 && self.entries[index as usize - 1].shard == entry.shard) {
                Some(range) => range.end = index + 1,
                None => ranges.push(index..index + 1),
            }
        }
        ranges
    }
}
