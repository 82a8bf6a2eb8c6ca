//! Chooses part of the training images, for experiments with a small budget.

use std::sync::Arc;

use super::random::{Purpose, Stream};
use super::{DataError, Dataset};
use crate::config::DataConfig;

/// Returns as many images of `train` as `data.train_images`, in their order, or all of them if it is 0.
///
/// # Errors
/// [`DataError::TooFewImages`].
pub(super) fn of_training(config: &DataConfig, train: Arc<Dataset>) -> Result<Arc<Dataset>, DataError> {
    let (got, want) = (train.len(), config.train_images);
    match want {
        0 => Ok(train),
        _ if want > got => Err(DataError::TooFewImages { path: train.origin().to_owned(), got, want }),
        _ => Ok(train.chosen(&choice(got, want)).into()),
    }
}

/// The indices of `wanted` out of `images` images, in ascending order, each choice with equal probability.
///
/// A function of the two numbers only: runs with different seeds train on the same images. A choice of fewer of the same
/// images is part of a choice of more, so that runs with more images have seen all those of runs with fewer.
fn choice(images: usize, wanted: usize) -> Vec<u32> {
    let mut indices: Vec<u32> = (0..).take(images).collect();
    Stream::new(0, Purpose::Subset, 0, 0).shuffle(&mut indices);
    indices.truncate(wanted);
    indices.sort_unstable();
    indices
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use proptest::prelude::*;

    use super::super::fixture::{check_subset, config, idx_bytes, write_image};
    use super::super::{PixelScale, load, load_known, load_unseen};
    use super::*;
    use crate::config::{Normalize, Source};

    /// Ten training images of one pixel, 0, 10, ..., 90, with the classes 0, 1, 2, 0, ..., and one validation image.
    fn write_ten(folder: &Path) {
        let (pixels, labels): (Vec<u8>, Vec<u8>) = (0..10).map(|image| (10 * image, image % 3)).unzip();
        for (name, bytes) in [
            ("train-images-idx3-ubyte", idx_bytes(&[10, 1, 1], &pixels)),
            ("train-labels-idx1-ubyte", idx_bytes(&[10], &labels)),
            ("t10k-images-idx3-ubyte", idx_bytes(&[1, 1, 1], &[255])),
            ("t10k-labels-idx1-ubyte", idx_bytes(&[1], &[2])),
        ] {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }

    #[test]
    fn four_of_ten_images_keep_pixels_classes_and_names_for_any_seed() {
        let folder = tempfile::tempdir().unwrap();
        write_ten(folder.path());
        let normalize = Normalize::Computed;
        let config = DataConfig { train_images: 4, normalize, ..config(Source::Idx, folder.path()) };
        for seed in [0, 1, 42] {
            let splits = load(&config, seed).unwrap();
            let train = &splits.train;
            let all = |of: &dyn Fn(u32) -> String| (0..4).map(of).collect::<Vec<_>>();
            // Images 1, 4, 6, and 7; see the test below.
            assert_eq!(all(&|index| train.image(index).unwrap()[0].to_string()), ["10", "40", "60", "70"]);
            assert_eq!(all(&|index| train.name(index)), ["1", "4", "6", "7"]);
            assert_eq!((train.labels(), &train.class_counts()[..3]), (&[1, 1, 0, 1][..], &[1, 3, 0][..]));
            assert!(matches!(train.image(4), Err(DataError::NoSuchImage { len: 4, .. })));
            // Mean 45, variance (35^2 + 5^2 + 15^2 + 25^2) / 4 = 525.
            let scale = PixelScale::from_config(&config, train).unwrap();
            assert_eq!(scale.mean(), [45.0 / 255.0]);
            assert!((scale.std()[0] - 525_f32.sqrt() / 255.0).abs() < 1e-7, "{scale:?}");
            assert_eq!((splits.validation.len(), splits.validation.labels()), (1, &[2][..]));
        }
    }

    /// The start of the order that `random_golden.py` prints, from an independent ChaCha8 and Fisher-Yates shuffle:
    /// 7, 4, 1, 6, 9, 3, 2, 5, 8, 0.
    #[test]
    fn choices_are_those_of_an_independent_implementation() {
        assert_eq!(choice(10, 1), [7]);
        assert_eq!(choice(10, 4), [1, 4, 6, 7]);
        assert_eq!(choice(10, 9), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    proptest! {
        #[test]
        fn a_choice_has_no_image_twice_and_is_part_of_a_larger_one(images in 1..300usize, share in 0.0..1.0) {
            let wanted = 1 + (share * images as f64) as usize;
            let chosen = choice(images, wanted.min(images));
            prop_assert_eq!(chosen.len(), wanted.min(images));
            prop_assert!(chosen.is_sorted_by(|one, next| one < next) && chosen.iter().all(|&one| one < images as u32));
            let larger = choice(images, images.min(wanted + 1));
            prop_assert!(chosen.iter().all(|one| larger.contains(one)));
        }
    }

    #[test]
    fn more_images_than_there_are_get_one_line_and_all_of_them_are_the_whole_set() {
        let folder = tempfile::tempdir().unwrap();
        write_ten(folder.path());
        let with = |train_images| DataConfig { train_images, ..config(Source::Idx, folder.path()) };
        let message = load(&with(11), 1).unwrap_err().to_string();
        let want =
            "train-images-idx3-ubyte has 10 training images, but data.train_images = 11: lower it, or set it to 0";
        assert!(message.contains(want) && !message.contains('\n'), "{message}");
        assert_eq!(load(&with(10), 1).unwrap().train.labels(), load(&with(0), 1).unwrap().train.labels());
        // Images to evaluate are not training images.
        let classes = load(&with(0), 1).unwrap().train.classes().to_vec();
        assert_eq!(load_unseen(&with(11), 1, &classes).unwrap().len(), 1);
        assert!(matches!(load_known(&with(11), 1, &classes), Err(DataError::TooFewImages { got: 10, want: 11, .. })));
    }

    #[test]
    fn images_in_files_and_generated_ones_keep_pixels_classes_and_names() {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = "path,label\n".to_owned();
        for image in 0..20 {
            let class = ["ant", "bee"][image % 2];
            write_image(folder.path().join(format!("photos/{class}/{image}.png")), image as u8);
            manifest += &format!("photos/{class}/{image}.png,{}\n", ["x|y", "y", "", "x"][image % 4]);
        }
        fs::write(folder.path().join("labels.csv"), manifest).unwrap();
        check_subset(&config(Source::Folder, folder.path().join("photos")), 5);
        check_subset(&DataConfig { multi_label: true, ..config(Source::Csv, folder.path().join("labels.csv")) }, 5);
        check_subset(&config(Source::Synthetic, ""), 5);
    }
}
