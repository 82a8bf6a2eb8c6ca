//! Where the pixels of a data set come from: memory, files, or shards.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use super::augment::{Size, Window, resized_crop};
use super::fitting::Fitting;
use super::name::Base;
use super::shards::Members;
use super::{DataError, ImageShape, decode};

#[derive(Debug)]
pub(super) enum Pixels {
    /// All images in sequence, each channels x height x width.
    Memory {
        pixels: Vec<u8>,
        /// Number of each image, if it differs from the image's index.
        numbers: Option<Vec<u64>>,
    },
    /// One file per image.
    Files { paths: Vec<PathBuf>, base: Base, fitting: Fitting },
    /// Images inside of shards.
    Members { members: Members, base: Base, fitting: Fitting },
}

impl Pixels {
    pub(super) fn file(&self, index: usize) -> Option<&Path> {
        match self {
            Self::Memory { .. } | Self::Members { .. } => None,
            Self::Files { paths, .. } => paths.get(index).map(PathBuf::as_path),
        }
    }

    pub(super) fn members(&self) -> Option<&Members> {
        match self {
            Self::Members { members, .. } => Some(members),
            Self::Memory { .. } | Self::Files { .. } => None,
        }
    }

    pub(super) fn name(&self, index: usize) -> String {
        let name = match self {
            Self::Memory { numbers, .. } => {
                let number = numbers.as_ref().and_then(|numbers| numbers.get(index)).copied();
                return number.unwrap_or(index as u64).to_string();
            }
            Self::Files { paths, base, .. } => paths.get(index).map(|path| base.name_of(path)),
            Self::Members { members, base, .. } => {
                members.name(index).map(|(shard, name)| base.name_of(&shard.join(name)))
            }
        };
        name.unwrap_or_default()
    }

    pub(super) fn shown(&self, name: &str) -> String {
        match self {
            Self::Memory { .. } => format!("image {name}"),
            Self::Files { base, .. } | Self::Members { base, .. } => base.shown(name),
        }
    }

    /// The part of image `index` that `choose` selects, resized to `shape`; `None` if there is no such image.
    pub(super) fn part(
        &self,
        index: usize,
        shape: ImageShape,
        choose: impl FnOnce(Size) -> Option<Window>,
    ) -> Option<Result<Cow<'_, [u8]>, DataError>> {
        Some(match self {
            Self::Memory { pixels, .. } => {
                let image = pixels.chunks_exact(shape.values()).nth(index)?;
                Ok(match choose(shape.size()) {
                    Some(window) => Cow::Owned(resized_crop(image, shape, window)),
                    None => Cow::Borrowed(image),
                })
            }
            Self::Files { paths, fitting, .. } => {
                decode::read_fitted(paths.get(index)?, *fitting, choose).map(Cow::Owned)
            }
            Self::Members { members, fitting, .. } => {
                let (shard, name) = members.name(index)?;
                decode::fitted(members.read(index), *fitting, choose, || shard.join(name)).map(Cow::Owned)
            }
        })
    }
}
