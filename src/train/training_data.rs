//! The images of a run.

use super::data_identity::DataIdentity;
use crate::{
    data::{Loader, PixelScale},
    diagnosis::LostImages,
};

/// The images of a run.
pub(super) struct TrainingData {
    /// Loader of the training images.
    pub training: Loader,
    /// Loader of the validation images.
    pub validation: Loader,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Pixel normalization.
    pub scale: PixelScale,
    /// Identity of the images.
    pub identity: DataIdentity,
}

impl TrainingData {
    fn loaders(&self) -> [&Loader; 2] {
        [&self.training, &self.validation]
    }

    /// Indices of the training and validation images that do not decode, as found so far.
    pub(super) fn bad_images(&self) -> [Vec<u32>; 2] {
        self.loaders().map(|loader| loader.dataset().bad_images())
    }

    /// Whether images are missing because their files or rows cannot be read.
    pub(super) fn is_partial(&self) -> bool {
        self.loaders().iter().any(|loader| loader.dataset().is_partial())
    }

    /// Marks training and validation images as not decodable.
    pub(super) fn mark_bad_images(&self, bad_images: [Vec<u32>; 2]) {
        for (loader, bad) in self.loaders().into_iter().zip(bad_images) {
            loader.dataset().mark_bad(bad);
        }
    }

    /// Classes with images that do not decode, as found so far.
    pub(super) fn lost_images(&self) -> Vec<LostImages> {
        let of = |(split, loader): (&str, &Loader)| {
            let images = loader.dataset();
            LostImages::of(split, images.classes(), &images.class_counts(), &images.bad_class_counts())
        };
        ["training", "validation"].into_iter().zip(self.loaders()).flat_map(of).collect()
    }
}
