//! Small data sets for tests.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Dataset, Loader, LoaderOptions, PixelScale, load};
use crate::config::{Augment, DataConfig, Decode, Interpolation, Normalize, OnBadImage, Source, SplitBy};

/// Builds an IDX file of bytes.
pub(super) fn idx_bytes(sizes: &[u32], values: &[u8]) -> Vec<u8> {
    let magic = 0x0800 | sizes.len() as u32;
    let header = [&[magic], sizes].concat();
    header.iter().flat_map(|word| word.to_be_bytes()).chain(values.iter().copied()).collect()
}

/// Compresses `bytes` as a gzip stream.
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Writes three training images and one validation image of 2x3 pixels; pixel `i` of the file has value `i`.
pub(super) fn write_idx_set(folder: &Path, separator: &str, is_gzip: bool) {
    let ramp: Vec<u8> = (0..18).collect();
    let files = [
        ("train-images", "idx3", idx_bytes(&[3, 2, 3], &ramp)),
        ("train-labels", "idx1", idx_bytes(&[3], &[3, 9, 0])),
        ("t10k-images", "idx3", idx_bytes(&[1, 2, 3], &ramp[..6])),
        ("t10k-labels", "idx1", idx_bytes(&[1], &[1])),
    ];
    for (name, kind, bytes) in files {
        let name = format!("{name}{separator}{kind}-ubyte{}", if is_gzip { ".gz" } else { "" });
        std::fs::write(folder.join(name), if is_gzip { gzip(&bytes) } else { bytes }).unwrap();
    }
}

/// Writes a uniform gray 4x4 image in the format of its file extension, and creates its parent folders.
pub(super) fn write_image(path: impl AsRef<Path>, value: u8) {
    std::fs::create_dir_all(path.as_ref().parent().unwrap()).unwrap();
    image::GrayImage::from_pixel(4, 4, image::Luma([value])).save(path).unwrap();
}

/// A config with `source` and `path`, for ten synthetic gray images of 8x8 pixels in each of three classes.
pub(super) fn config(source: Source, path: impl Into<PathBuf>) -> DataConfig {
    DataConfig {
        source,
        edition: DataConfig::EDITION,
        path: path.into(),
        validation_path: None,
        image_column: None,
        label_column: None,
        shuffle_buffer: 10_000,
        label_shuffle_epochs: Vec::new(),
        batch_size: 4,
        validation_fraction: 0.2,
        split_by: SplitBy::Name,
        train_images: 0,
        image_size: 8.into(),
        train_image_size: None,
        channels: 1,
        resize: None,
        crop_fraction: 1.0,
        interpolation: Interpolation::Bilinear,
        decode: Decode::Exact,
        multi_label: false,
        classes: 3,
        samples: 30,
        normalize: Normalize::None,
        mean: Vec::new(),
        std: Vec::new(),
        workers: 0,
        prefetch: 2,
        drop_last: false,
        on_bad_image: OnBadImage::Stop,
        augment: NO_AUGMENT,
    }
}

/// Augmentation that changes nothing.
pub(super) const NO_AUGMENT: Augment = Augment::OFF;

/// Checks that with `data.train_images = count`, the training images are that many of all, in their order, with their
/// pixels, classes, and names, that an epoch shows each of them once, and that the validation images are the same.
pub(super) fn check_subset(config: &DataConfig, count: usize) {
    let whole = load(config, 1).unwrap();
    let part = load(&DataConfig { train_images: count, ..config.clone() }, 1).unwrap();
    let image = |images: &Dataset, index: u32| {
        let (set, pixels) =
            (images.label_sets().of(index as usize).to_vec(), images.image(index).unwrap().into_owned());
        (images.name(index), images.file(index), set, pixels)
    };
    let images = |images: &Dataset| (0..images.len() as u32).map(|index| image(images, index)).collect::<Vec<_>>();
    let (all, some) = (images(&whole.train), images(&part.train));
    assert!(some.len() == count && count < all.len(), "{count} of {}", all.len());
    let mut rest = all.iter();
    assert!(some.iter().all(|image| rest.any(|other| other == image)), "{some:?} of {all:?}");
    assert_eq!(part.train.classes(), whole.train.classes());
    assert_eq!(images(&part.validation), images(&whole.validation));
    let options = LoaderOptions::for_training(config, 1, PixelScale::identity(config.channels));
    let epoch = Loader::new(part.train, options).unwrap().epoch(0, 0);
    let mut shown: Vec<u32> = epoch.flat_map(|batch| batch.unwrap().indices).collect();
    shown.sort_unstable();
    assert!(shown.iter().copied().eq((0..).take(count)), "{shown:?}");
}
