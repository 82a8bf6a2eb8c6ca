//! Tests of the loader.

use std::path::Path;

use super::*;
use crate::config::Source;
use crate::data::fixture::{NO_AUGMENT, config, write_image};
use crate::data::{ImageShape, dataset::numbered_classes};
use crate::data::{Images, load};

const EVERYTHING: Augment =
    Augment { random_crop: 2, random_resized_crop: true, hflip: 0.5, vflip: 0.5, cutout: 3, ..NO_AUGMENT };

/// 24 synthetic training images in batches of five.
fn loader(workers: usize, change: impl FnOnce(&mut LoaderOptions)) -> Loader {
    let train = load(&config(Source::Synthetic, ""), 1).unwrap().train;
    let config = DataConfig { augment: EVERYTHING, batch_size: 5, workers, ..config(Source::Synthetic, "") };
    let mut options =
        LoaderOptions::for_training(&config, 9, PixelScale::measured(&train, 0, OnBadImage::Stop).unwrap());
    change(&mut options);
    Loader::new(train, options).unwrap()
}

fn batches(loader: &Loader, epoch: u64, first_batch: usize) -> Vec<Batch> {
    loader.epoch(epoch, first_batch).map(Result::unwrap).collect()
}

#[test]
fn the_batches_are_the_same_for_any_number_of_workers() {
    let reference = batches(&loader(0, |_| ()), 3, 0);
    for workers in [1, 2, 4] {
        for prefetch in [0, 1, 8] {
            assert_eq!(batches(&loader(workers, |o| o.prefetch = prefetch), 3, 0), reference);
        }
    }
}

#[test]
fn an_epoch_resumed_at_a_batch_is_the_tail_of_the_whole_epoch() {
    for workers in [0, 2] {
        let loader = loader(workers, |_| ());
        let whole = batches(&loader, 3, 0);
        for first in 0..=5 {
            assert_eq!(batches(&loader, 3, first), whole[first..]);
        }
        assert!(batches(&loader, 3, 99).is_empty());
    }
}

#[test]
fn every_image_comes_once_per_epoch_and_in_another_order_and_look_each_time() {
    let loader = loader(0, |_| ());
    let epochs: Vec<Vec<Batch>> = (0..4).map(|epoch| batches(&loader, epoch, 0)).collect();
    for (number, epoch) in epochs.iter().enumerate() {
        assert_eq!(
            epoch.iter().map(|batch| batch.shape).collect::<Vec<_>>(),
            [[5, 1, 8, 8], [5, 1, 8, 8], [5, 1, 8, 8], [5, 1, 8, 8], [4, 1, 8, 8]]
        );
        let mut indices: Vec<u32> = epoch.iter().flat_map(|batch| batch.indices.clone()).collect();
        assert!(epochs[..number].iter().all(|other| other[0].indices != epoch[0].indices));
        indices.sort_unstable();
        assert_eq!(indices, (0..24).collect::<Vec<_>>());
    }
    let look = |epoch: &[Batch], index: u32| -> Vec<f32> {
        let find = |batch: &Batch| {
            let at = batch.indices.iter().position(|&i| i == index)?;
            Some(batch.images.normalized(batch.shape)[64 * at..64 * (at + 1)].to_vec())
        };
        epoch.iter().find_map(find).unwrap()
    };
    assert_ne!(look(&epochs[0], 7), look(&epochs[1], 7));
}

#[test]
fn the_seed_decides_the_order() {
    let first = |seed| batches(&loader(0, |options| options.seed = seed), 0, 0).remove(0).indices;
    assert_eq!(first(1), first(1));
    assert_ne!(first(1), first(2));
}

#[test]
fn a_batch_holds_labels_and_normalized_pixels_of_its_images() {
    let shape = ImageShape { channels: 2, height: 1, width: 2 };
    let pixels = vec![0, 51, 102, 255, 255, 0, 0, 0, 51, 51, 51, 51];
    let dataset = Dataset::in_memory(Path::new("here"), shape, numbered_classes(3), vec![2, 0, 1], pixels).unwrap();
    let scale = PixelScale::new(vec![0.0, 0.5], vec![1.0, 0.25]).unwrap();
    let options = LoaderOptions::for_validation(&DataConfig { batch_size: 2, ..config(Source::Synthetic, "") }, scale);
    let batches = batches(&Loader::new(Arc::new(dataset), options).unwrap(), 0, 0);
    let first = Batch {
        number: 0,
        images: Images::Normalized(vec![0.0, 0.2, (0.4 - 0.5) / 0.25, 2.0, 1.0, 0.0, -2.0, -2.0]),
        labels: vec![2, 0],
        multi_hot: Vec::new(),
        indices: vec![0, 1],
        shape: [2, 2, 1, 2],
        mixture: None,
    };
    assert_eq!(batches[0], first);
    assert_eq!((&batches[1].labels, batches[1].shape), (&vec![1], [1, 2, 1, 2]));
}

/// Seed 1 shuffles ten labels to those of images 3 5 1 9 4 2 8 6 0 7, and then of 5 4 0 8 1 2 9 7 3 6: see
/// `random_golden.py`.
#[test]
fn labels_move_among_the_images_at_the_start_of_given_epochs_and_nothing_else_changes() {
    let shape = ImageShape { channels: 1, height: 1, width: 1 };
    let labels = vec![0, 0, 1, 1, 2, 2, 0, 1, 2, 0];
    let dataset =
        Arc::new(Dataset::in_memory(Path::new("here"), shape, numbered_classes(3), labels, (0..10).collect()).unwrap());
    let config = |label_shuffle_epochs: &[u64]| DataConfig {
        label_shuffle_epochs: label_shuffle_epochs.into(),
        batch_size: 4,
        ..config(Source::Synthetic, "")
    };
    let loader = |epochs: &[u64]| {
        let options = LoaderOptions::for_training(&config(epochs), 1, PixelScale::identity(1));
        Loader::new(Arc::clone(&dataset), options).unwrap()
    };
    let by_index = |batches: &[Batch]| {
        let mut labels = [-1; 10];
        let pairs = batches.iter().flat_map(|batch| batch.indices.iter().zip(&batch.labels));
        pairs.for_each(|(&index, &label)| labels[index as usize] = label);
        labels
    };
    let (shuffled, plain) = (loader(&[1, 3]), loader(&[]));
    let want = [
        [0, 0, 1, 1, 2, 2, 0, 1, 2, 0],
        [1, 2, 0, 0, 2, 1, 2, 0, 0, 1],
        [1, 2, 0, 0, 2, 1, 2, 0, 0, 1],
        [2, 2, 0, 2, 0, 1, 0, 1, 1, 0],
    ];
    for (epoch, want) in (0..).zip(want) {
        let (mut got, reference) = (batches(&shuffled, epoch, 0), batches(&plain, epoch, 0));
        assert_eq!(by_index(&got), want, "{epoch}");
        assert_eq!(batches(&shuffled, epoch, 2), got[2..]);
        got.iter_mut().zip(&reference).for_each(|(got, reference)| got.labels.clone_from(&reference.labels));
        assert_eq!(got, reference);
    }
    assert_eq!(loader(&[0]).first_batch().unwrap(), batches(&loader(&[0]), 0, 0)[0]);
    let validation = LoaderOptions::for_validation(&config(&[0]), PixelScale::identity(1));
    let validation = Loader::new(Arc::clone(&dataset), validation).unwrap();
    assert_eq!(by_index(&batches(&validation, 0, 0)), want[0]);
}

#[test]
fn a_batch_of_multi_label_data_holds_a_row_of_classes_per_image() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        write_image(folder.path().join(format!("{name}.png")), 7);
    }
    let manifest = folder.path().join("labels.csv");
    let rows = "path,label,split\na.png,ant|cat,train\nb.png,,train\nc.png,bee,train\na.png,cat,val\n";
    std::fs::write(&manifest, rows).unwrap();
    let config = DataConfig { multi_label: true, batch_size: 2, ..config(Source::Csv, manifest) };
    let dataset = load(&config, 1).unwrap().train;
    let options = LoaderOptions::for_validation(&config, PixelScale::identity(1));
    let batches = batches(&Loader::new(dataset, options).unwrap(), 0, 0);
    assert_eq!(batches[0].multi_hot, [1.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
    assert_eq!((&batches[1].multi_hot, batches[1].len(), &batches[1].labels), (&vec![0.0, 1.0, 0.0], 1, &vec![]));
}

#[test]
fn files_come_in_the_size_of_the_loader_and_images_in_memory_in_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let loader = file_loader(folder.path(), &[], 1, OnBadImage::Stop);
    let crop = Augment { random_resized_crop: true, random_crop: 1, cutout: 2, ..NO_AUGMENT };
    let size = Some(ImageSize { height: 3, width: 5 });
    let options = LoaderOptions { image_size: size, augment: Some(crop), ..loader.maker.options.clone() };
    let other = Loader::new(Arc::clone(loader.dataset()), options).unwrap();
    assert_eq!(
        (other.shape(), loader.shape()),
        (ImageShape { channels: 1, height: 3, width: 5 }, loader.dataset().shape())
    );
    for batch in batches(&other, 0, 0) {
        assert_eq!(batch.shape[1..], [1, 3, 5]);
        assert_eq!(batch.images.normalized(batch.shape).len(), batch.shape[0] * 15);
    }
    assert_eq!(
        self::loader(0, |options| options.image_size = size).shape(),
        ImageShape { channels: 1, height: 8, width: 8 }
    );
}

#[test]
fn cutout_sets_the_mean() {
    let loader = loader(0, |o| o.augment = Some(Augment { cutout: 64, ..NO_AUGMENT }));
    let is_mean = |batch: &Batch| batch.images.normalized(batch.shape).iter().all(|&value| value == 0.0);
    assert!(batches(&loader, 0, 0).iter().all(is_mean));
}

#[test]
fn bytes_are_the_same_images_not_yet_normalized() {
    let [normalized, bytes] = [false, true].map(|as_bytes| batches(&loader(0, |o| o.as_bytes = as_bytes), 3, 0));
    for (normalized, bytes) in normalized.iter().zip(&bytes) {
        let Images::Bytes(raw) = &bytes.images else { panic!("{:?}", bytes.images) };
        assert_eq!((raw.pixels.len(), raw.cutouts.len()), (bytes.shape.iter().product(), bytes.shape[0]));
        assert_eq!(bytes.images.normalized(bytes.shape), normalized.images.normalized(normalized.shape));
        assert_eq!((&bytes.labels, &bytes.indices), (&normalized.labels, &normalized.indices));
    }
}

#[test]
fn the_last_smaller_batch_can_be_dropped_but_an_epoch_is_never_empty() {
    let dropping = loader(0, |options| options.drop_last = true);
    assert_eq!((dropping.batches_per_epoch(), batches(&dropping, 0, 0).len()), (4, 4));
    for (batch_size, drop_last) in [(0, false), (0, true), (25, true)] {
        let options = LoaderOptions { batch_size, drop_last, ..dropping.maker.options.clone() };
        let error = Loader::new(Arc::clone(dropping.dataset()), options).unwrap_err();
        assert!(matches!(error, DataError::NoBatch { images: 24, .. }), "{error}");
    }
    let options = LoaderOptions { scale: PixelScale::identity(3), ..dropping.maker.options.clone() };
    assert!(Loader::new(Arc::clone(dropping.dataset()), options).is_err());
}

/// Seven image files in batches of two; those in `bad` do not decode.
fn file_loader(folder: &Path, bad: &[u32], workers: usize, on_bad_image: OnBadImage) -> Loader {
    let path = |index: u32| folder.join(format!("{index}.png"));
    (0..7).for_each(|index| write_image(path(index), index as u8));
    bad.iter().for_each(|&index| std::fs::write(path(index), "no image").unwrap());
    let shape = ImageShape { channels: 1, height: 2, width: 2 };
    let files = (0..7).map(|index| (path(index), 0)).collect();
    let dataset = Dataset::from_files(folder, shape, numbered_classes(1), files).unwrap();
    let config = DataConfig { batch_size: 2, workers, on_bad_image, ..config(Source::Synthetic, "") };
    Loader::new(Arc::new(dataset), LoaderOptions::for_validation(&config, PixelScale::identity(1))).unwrap()
}

#[test]
fn bad_images_are_left_out_and_a_batch_without_images_is_not_yielded() {
    let folder = tempfile::tempdir().unwrap();
    for workers in [0, 1, 3] {
        let loader = file_loader(folder.path(), &[1, 4, 5], workers, OnBadImage::Skip);
        for _ in 0..2 {
            let epoch = batches(&loader, 0, 0);
            let seen: Vec<_> = epoch.iter().map(|batch| (batch.number, batch.indices.clone())).collect();
            assert_eq!(seen, [(0, vec![0]), (1, vec![2, 3]), (3, vec![6])]);
            assert_eq!((epoch[0].shape, &epoch[0].images), ([1, 1, 2, 2], &Images::Normalized(vec![0.0; 4])));
            assert_eq!(loader.dataset().bad_images(), [1, 4, 5]);
        }
        assert_eq!(batches(&loader, 0, 2)[0].number, 3);
    }
}

#[test]
fn a_bad_image_that_is_not_allowed_ends_the_epoch_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    for workers in [0, 1, 3] {
        let results: Vec<_> = file_loader(folder.path(), &[3], workers, OnBadImage::Stop).epoch(0, 0).collect();
        assert_eq!(results.len(), 2);
        assert!(results[1].as_ref().unwrap_err().to_string().contains("3.png cannot be decoded"));
    }
}
