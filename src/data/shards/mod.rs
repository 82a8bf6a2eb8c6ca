//! Tar files of images and labels in the format of WebDataset.
//!
//! The headers are read once, at the start. After that an image is read at its place in its shard, so any batch can be
//! made at any time. The order of an epoch keeps the reads nearly sequential: it shuffles the shards, and passes their
//! images through a shuffle buffer; see [`order`].

mod images;
mod pattern;
mod tar_index;

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use super::dataset::Dataset;
use super::labels::{class_indices, sorted_classes};
use super::random::Stream;
use super::splits::{Splits, check_not_empty};
use super::survey::on_all_cores;
use super::{DataError, members::Members, split};
use crate::config::{DataConfig, OnBadImage};
pub(super) use images::Shards;
pub(super) use pattern::expand;
use tar_index::{Index, Sample};

/// Reads the headers of the shards. Without shards for validation, part of the images is held out; see
/// [`split::of_files`].
///
/// # Errors
/// [`DataError::Shard`] if a shard is damaged, unless [`OnBadImage::Skip`] leaves out the rest of it.
pub(super) fn load(config: &DataConfig, seed: u64) -> Result<Splits, DataError> {
    let (train, mut is_partial) = samples(&config.path, config)?;
    let (train, validation) = match &config.validation_path {
        Some(path) => {
            let (validation, is_validation_partial) = samples(path, config)?;
            is_partial |= is_validation_partial;
            (train, validation)
        }
        None => {
            let classes = classes_of(&train);
            let labels = labels(&config.path, &train, &classes)?;
            let names: Vec<PathBuf> = train.iter().map(|(shard, sample)| shard.join(&sample.name)).collect();
            let files = names.iter().map(PathBuf::as_path).zip(labels);
            let is_held_back = split::of_files(config, files, seed);
            split::deal(train, &is_held_back)
        }
    };
    let of_validation = config.validation_path.as_deref().unwrap_or(&config.path);
    check_not_empty([&config.path, of_validation], [train.len(), validation.len()])?;
    let classes = classes_of(&train);
    Ok(Splits {
        train: dataset(&config.path, config, train, &classes)?.marked_partial(is_partial).into(),
        validation: dataset(of_validation, config, validation, &classes)?.into(),
    })
}

/// Reads the validation shards, or all shards if there are none.
///
/// # Errors
/// As for [`load`].
pub(super) fn load_unseen(config: &DataConfig) -> Result<Dataset, DataError> {
    let path = config.validation_path.as_deref().unwrap_or(&config.path);
    let (samples, is_partial) = samples(path, config)?;
    check_not_empty([path; 2], [samples.len(); 2])?;
    let classes = classes_of(&samples);
    Ok(dataset(path, config, samples, &classes)?.marked_partial(is_partial))
}

/// The first of the paths that a pattern stands for; `None` if it is no pattern.
pub(super) fn first_path(pattern: &Path) -> Option<PathBuf> {
    pattern::expand(pattern)?.into_iter().next()
}

/// The order of an epoch: shards in random order, and their images through a buffer that holds `buffer` of them. Each
/// image leaves the buffer when another one takes its place, which is drawn at random.
pub(super) fn order(shards: &[Range<u32>], buffer: usize, stream: &mut Stream) -> Vec<u32> {
    let mut shards = shards.to_vec();
    stream.shuffle(&mut shards);
    let mut rest = shards.into_iter().flatten();
    let mut held: Vec<u32> = rest.by_ref().take(buffer.max(1)).collect();
    let mut order = Vec::new();
    for next in rest {
        let place = stream.below(held.len() as u64) as usize;
        order.push(std::mem::replace(&mut held[place], next));
    }
    stream.shuffle(&mut held);
    order.extend(held);
    order
}

/// Images with their shards, shard by shard.
type Samples = Vec<(PathBuf, Sample)>;

/// The images of the shards, and whether some are left out.
fn samples(pattern: &Path, config: &DataConfig) -> Result<(Samples, bool), DataError> {
    let shards = pattern::expand(pattern).ok_or_else(|| DataError::ShardPattern { path: pattern.to_owned() })?;
    let indices = on_all_cores(shards.len(), |number| tar_index::index(&shards[number]));
    let (mut samples, mut is_partial) = (Vec::new(), false);
    for (shard, Index { samples: found, fault }) in shards.into_iter().zip(indices) {
        match fault {
            Some(cause) if config.on_bad_image == OnBadImage::Stop => {
                return Err(DataError::Shard { path: shard, cause });
            }
            Some(cause) => {
                is_partial = true;
                let (shard, images) = (shard.display(), found.len());
                tracing::warn!("{shard}: {cause}; its first {images} images are used, and the rest is skipped");
            }
            None => {}
        }
        samples.extend(found.into_iter().map(|sample| (shard.clone(), sample)));
    }
    Ok((samples, is_partial))
}

fn classes_of(samples: &Samples) -> Vec<String> {
    sorted_classes(samples.iter().map(|(_, sample)| sample.label.as_str()))
}

fn labels(origin: &Path, samples: &Samples, classes: &[String]) -> Result<Vec<u32>, DataError> {
    class_indices(origin, samples.iter().map(|(_, sample)| sample.label.as_str()), classes)
}

fn dataset(origin: &Path, config: &DataConfig, samples: Samples, classes: &[String]) -> Result<Dataset, DataError> {
    let labels = labels(origin, &samples, classes)?;
    let mut shards = Shards::default();
    for (shard, Sample { name, offset, length, .. }) in &samples {
        shards.push(shard, name, *offset, *length);
    }
    Dataset::of_members(origin, config, classes.to_vec(), labels, Members::Shards(shards))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::fixture::{check_subset, config};
    use super::super::random::Purpose;
    use super::*;
    use crate::config::Source;

    /// A PNG file of one gray value.
    fn png(value: u8) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image::GrayImage::from_pixel(4, 4, image::Luma([value])).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    /// Writes a shard of `count` images whose values start at `first`, with the labels ant, bee, and cat in turn.
    fn write_shard(path: &Path, first: u8, count: u8) {
        let mut builder = tar::Builder::new(std::fs::File::create(path).unwrap());
        let mut add = |name: String, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, bytes).unwrap();
        };
        for number in first..first + count {
            let label = ["ant", "bee", "cat"][usize::from(number % 3)];
            match number % 2 {
                0 => add(format!("deep/{number:03}.cls"), label.as_bytes()),
                _ => add(format!("deep/{number:03}.json"), format!("{{\"label\":\"{label}\"}}").as_bytes()),
            }
            add(format!("deep/{number:03}.png"), &png(number));
            add(format!("deep/{number:03}.txt"), b"a caption");
        }
        builder.into_inner().unwrap();
    }

    fn two_shards(folder: &Path) -> DataConfig {
        write_shard(&folder.join("train-00.tar"), 0, 20);
        write_shard(&folder.join("train-01.tar"), 20, 10);
        write_shard(&folder.join("val.tar"), 100, 6);
        let validation_path = Some(folder.join("val.tar"));
        DataConfig { validation_path, ..config(Source::Webdataset, folder.join("train-{00..01}.tar")) }
    }

    /// Label and value of all images, in their order.
    fn images(dataset: &Dataset) -> Vec<(String, u8)> {
        let labels = dataset.labels().iter().map(|label| dataset.classes()[*label as usize].clone());
        labels.zip((0..).map(|index| dataset.image(index).map_or(0, |pixels| pixels[0]))).collect()
    }

    #[test]
    fn images_come_with_their_labels_in_the_order_of_the_shards() {
        let folder = tempfile::tempdir().unwrap();
        let config = two_shards(folder.path());
        let splits = load(&config, 1).unwrap();
        let want = |values: Range<u8>| -> Vec<(String, u8)> {
            values.map(|value| (["ant", "bee", "cat"][usize::from(value % 3)].to_owned(), value)).collect()
        };
        assert_eq!(images(&splits.train), want(0..30));
        assert_eq!(images(&splits.validation), want(100..106));
        assert_eq!(splits.train.name(21), "train-01.tar/deep/021.png");
        assert_eq!(images(&load_unseen(&config).unwrap()), want(100..106));
    }

    #[test]
    fn without_validation_shards_some_images_are_held_out_by_their_name() {
        let folder = tempfile::tempdir().unwrap();
        let config = DataConfig { validation_path: None, ..two_shards(folder.path()) };
        let splits = load(&config, 1).unwrap();
        assert_eq!(splits.train.len() + splits.validation.len(), 30);
        assert!((1..15).contains(&splits.validation.len()));
        let before = images(&splits.validation);
        write_shard(&folder.path().join("train-01.tar"), 20, 9);
        let after = images(&load(&config, 1).unwrap().validation);
        assert!(after.iter().all(|image| before.contains(image)));
    }

    #[test]
    fn part_of_the_training_images_is_read_from_any_number_of_shards() {
        let folder = tempfile::tempdir().unwrap();
        let config = two_shards(folder.path());
        for count in [1, 2, 7, 29] {
            check_subset(&config, count);
        }
    }

    #[test]
    fn a_shard_that_is_cut_is_named_or_its_whole_images_are_used() {
        let folder = tempfile::tempdir().unwrap();
        let config = two_shards(folder.path());
        let path = folder.path().join("train-00.tar");
        let whole = std::fs::read(&path).unwrap();
        let mut counts = BTreeSet::new();
        // Without the end marker, at the end of a file, in the middle of one, in a header, and in the first block.
        for end in [whole.len() - 1024, 15 * 1024, 15 * 1024 + 100, 15 * 1024 + 600, 100] {
            std::fs::write(&path, &whole[..end]).unwrap();
            let message = load(&config, 1).unwrap_err().to_string();
            assert!(message.starts_with(path.to_str().unwrap()) && !message.contains('\n'), "{end}: {message}");
            let skipping = DataConfig { on_bad_image: OnBadImage::Skip, ..config.clone() };
            let splits = load(&skipping, 1).unwrap();
            let values: Vec<u8> = images(&splits.train).into_iter().map(|(_, value)| value).collect();
            let first = values.len() - 10;
            assert_eq!(values, (0..first as u8).chain(20..30).collect::<Vec<u8>>(), "{end}");
            counts.insert(first);
        }
        assert!(counts.len() > 2, "{counts:?}");
    }

    #[test]
    fn labels_that_are_missing_or_unknown_and_shards_that_are_gone_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let config = two_shards(folder.path());
        let message = |config: &DataConfig| load(config, 1).unwrap_err().to_string();
        let absent = DataConfig { path: folder.path().join("train-{00..02}.tar"), ..config.clone() };
        assert!(message(&absent).contains("train-02.tar"), "{}", message(&absent));
        let broken = DataConfig { path: folder.path().join("train-{00..02.tar"), ..config.clone() };
        assert!(message(&broken).contains("{000..123}"), "{}", message(&broken));
        let mut builder = tar::Builder::new(std::fs::File::create(folder.path().join("val.tar")).unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_size(png(1).len() as u64);
        builder.append_data(&mut header, "7.png", &*png(1)).unwrap();
        builder.into_inner().unwrap();
        assert!(message(&config).contains("7.png has no label next to it"), "{}", message(&config));
        write_shard(&folder.path().join("val.tar"), 0, 3);
        let few = folder.path().join("few.tar");
        write_shard(&few, 0, 1);
        let unknown = DataConfig { path: few, ..config };
        assert!(message(&unknown).contains("bee"), "{}", message(&unknown));
    }

    #[test]
    fn an_epoch_shows_each_image_once_and_leaves_the_buffer_only_after_it_came() {
        let shards = [0..100, 100..150, 150..400];
        for buffer in [0, 1, 20, 1000] {
            let order_of = |epoch| order(&shards, buffer, &mut Stream::new(1, Purpose::Order, epoch, 0));
            let first = order_of(0);
            assert_eq!(first, order_of(0));
            assert_ne!(first, order_of(1));
            assert_eq!(first.iter().copied().collect::<BTreeSet<u32>>().len(), 400);
            // At every place, the images so far are among those that have been read.
            let mut read = shards.to_vec();
            Stream::new(1, Purpose::Order, 0, 0).shuffle(&mut read);
            let read: Vec<u32> = read.into_iter().flatten().collect();
            for (place, image) in first.iter().enumerate() {
                let known = &read[..(place + buffer.max(1)).min(400)];
                assert!(known.contains(image), "{buffer}: {image} at {place}");
            }
        }
    }
}
