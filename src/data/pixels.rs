//! Where the pixels of a data set come from: memory, files, or larger files of many images.

use std::{borrow::Cow, path::PathBuf};

use super::augment::{Size, Window, resized_crop};
use super::fitting::Fitting;
use super::members::Members;
use super::name::Base;
use super::paths::Paths;
use super::{DataError, ImageShape, Samples, decode};

#[derive(Debug)]
pub(super) enum Pixels {
    /// All images in sequence, each channels x height x width.
    Memory {
        pixels: Vec<u8>,
        /// Number of each image, if it differs from the image's index.
        numbers: Option<Vec<u64>>,
    },
    /// One file per image.
    Files { paths: Paths, fitting: Fitting },
    /// Images inside of larger files.
    Members { members: Members, base: Base, fitting: Fitting },
}

impl Pixels {
    /// The images at `indices`, which are in ascending order. Each keeps its name. An image in memory has `values` bytes.
    pub(super) fn chosen(&self, indices: &[u32], values: usize) -> Self {
        match self {
            Self::Memory { pixels, numbers } => {
                let image = |&index: &u32| &pixels[index as usize * values..][..values];
                Self::Memory {
                    pixels: indices.iter().map(image).collect::<Vec<_>>().concat(),
                    numbers: Some(indices.iter().map(|&index| number(numbers.as_deref(), index as usize)).collect()),
                }
            }
            Self::Files { paths, fitting } => Self::Files { paths: paths.chosen(indices), fitting: *fitting },
            Self::Members { members, base, fitting } => {
                Self::Members { members: members.chosen(indices), base: base.clone(), fitting: *fitting }
            }
        }
    }

    pub(super) fn file(&self, index: usize) -> Option<PathBuf> {
        match self {
            Self::Memory { .. } | Self::Members { .. } => None,
            Self::Files { paths, .. } => paths.get(index),
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
            Self::Memory { numbers, .. } => return number(numbers.as_deref(), index).to_string(),
            Self::Files { paths, .. } => paths.name(index),
            Self::Members { members, base, .. } => members.path(index).map(|path| base.name_of(&path)),
        };
        name.unwrap_or_default()
    }

    pub(super) fn shown(&self, name: &str) -> String {
        match self {
            Self::Memory { .. } => format!("image {name}"),
            Self::Files { paths, .. } => paths.base().shown(name),
            Self::Members { base, .. } => base.shown(name),
        }
    }

    /// The part of image `index` that `choose` selects, resized to `shape`; `None` if there is no such image.
    pub(super) fn part(
        &self,
        index: usize,
        shape: ImageShape,
        choose: impl FnOnce(Size) -> Option<Window>,
    ) -> Option<Result<Samples<'_>, DataError>> {
        Some(match self {
            Self::Memory { pixels, .. } => {
                let image = pixels.chunks_exact(shape.values()).nth(index)?;
                Ok(Samples::Bytes(match choose(shape.size()) {
                    Some(window) => Cow::Owned(resized_crop(image, shape, window)),
                    None => Cow::Borrowed(image),
                }))
            }
            Self::Files { paths, fitting, .. } => {
                decode::read_fitted(&paths.get(index)?, Fitting { shape, ..*fitting }, choose)
            }
            Self::Members { members, fitting, .. } => {
                let path = members.path(index)?;
                decode::fitted(members.read(index), Fitting { shape, ..*fitting }, choose, || path)
            }
        })
    }
}

/// Number of image `index` in the set before it was split.
fn number(numbers: Option<&[u64]>, index: usize) -> u64 {
    numbers.and_then(|numbers| numbers.get(index)).copied().unwrap_or(index as u64)
}
