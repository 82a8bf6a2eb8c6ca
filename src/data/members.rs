//! Images inside of larger files: tar shards, or Parquet files.

use std::path::PathBuf;

use super::parquet::Rows;
use super::random::Stream;
use super::shards::{self, Shards};

/// The images of one split.
#[derive(Debug)]
pub(super) enum Members {
    Shards(Shards),
    Rows(Rows),
}

impl Members {
    /// The images at `indices`, which are in ascending order.
    pub(super) fn chosen(&self, indices: &[u32]) -> Self {
        match self {
            Self::Shards(shards) => Self::Shards(shards.chosen(indices)),
            Self::Rows(rows) => Self::Rows(rows.chosen(indices)),
        }
    }

    /// Path of the image's file, and its name below it.
    pub(super) fn path(&self, index: usize) -> Option<PathBuf> {
        match self {
            Self::Shards(shards) => shards.name(index).map(|(shard, name)| shard.join(name)),
            Self::Rows(rows) => rows.path(index),
        }
    }

    /// Size of the encoded image in bytes, or an estimate if it is known only after a read.
    pub(super) fn length(&self, index: usize) -> Option<u64> {
        match self {
            Self::Shards(shards) => shards.length(index),
            Self::Rows(rows) => rows.length(index),
        }
    }

    /// Reads the encoded image.
    pub(super) fn read(&self, index: usize) -> Result<Vec<u8>, String> {
        match self {
            Self::Shards(shards) => shards.read(index),
            Self::Rows(rows) => rows.read(index),
        }
    }

    /// Starts an epoch after the images `shown`, so that no memory is kept for them.
    pub(super) fn start_epoch(&self, shown: &[u32]) {
        match self {
            Self::Shards(_) => {}
            Self::Rows(rows) => rows.start_epoch(shown),
        }
    }

    /// The number of images to shuffle over at a time, if `configured` of them are wanted.
    pub(super) fn shuffle_buffer(&self, configured: usize) -> usize {
        match self {
            Self::Shards(_) => configured,
            Self::Rows(rows) => rows.shuffle_buffer(configured),
        }
    }

    /// The order of an epoch; see [`shards::order`].
    pub(super) fn order(&self, shuffle_buffer: usize, stream: &mut Stream) -> Vec<u32> {
        let ranges = match self {
            Self::Shards(shards) => shards.ranges(),
            Self::Rows(rows) => rows.ranges(),
        };
        shards::order(&ranges, self.shuffle_buffer(shuffle_buffer), stream)
    }
}
