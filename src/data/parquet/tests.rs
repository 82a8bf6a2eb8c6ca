//! Tests of the source as a whole, and comparison with files of pyarrow and `datasets` (tests/golden/parquet.py).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde::Deserialize;

use super::super::fixture::{check_subset, config};
use super::super::{Loader, LoaderOptions, PixelScale};
use super::*;
use crate::config::Source;

#[path = "../../../tests/harness/parquet.rs"]
mod writer;
use writer::{Row, write_rows};

/// A file of tests/golden/parquet: its class names, and the label and pixels of each row.
#[derive(Deserialize)]
struct Expected {
    classes: Vec<String>,
    rows: Vec<(String, String)>,
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/parquet").join(name)
}

fn expected() -> BTreeMap<String, Expected> {
    serde_json::from_str(&fs::read_to_string(golden("expected.json")).unwrap()).unwrap()
}

/// A config for the golden images at their own size.
fn of_golden(path: &Path) -> DataConfig {
    let mut config = config(Source::Parquet, path);
    (config.image_size.height, config.image_size.width, config.channels) = (5, 6, 3);
    config
}

/// Label and pixels of all images, in their order, as in `Expected`.
fn rows(dataset: &Dataset) -> Vec<(String, String)> {
    let labels = dataset.labels().iter().map(|label| dataset.classes()[*label as usize].clone());
    let hex = |index| dataset.image(index).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    labels.zip((0..).map(hex)).collect()
}

#[test]
fn images_labels_and_class_names_are_those_that_pyarrow_and_datasets_wrote() {
    for (name, Expected { classes, rows: want }) in expected() {
        let dataset = load_unseen(&of_golden(&golden(&name))).unwrap();
        assert_eq!(dataset.classes(), classes, "{name}");
        assert_eq!(rows(&dataset), want, "{name}");
        assert_eq!(dataset.name(11), format!("{name}/11"));
    }
}

#[test]
fn images_in_any_order_under_any_limit_of_memory_are_the_same() {
    let all = Collection::read(&golden("train-{00000..00001}-of-00002.parquet"), &of_golden(Path::new(""))).unwrap();
    let whole = Rows::new(&all.tables, &all.samples, rows::LIMITS);
    assert_eq!(whole.ranges(), [0..7, 7..12, 12..19, 19..24]);
    let some: Vec<Sample> = all.samples.iter().step_by(3).copied().collect();
    for limits in [rows::LIMITS, rows::Limits { held_bytes: 500, part_bytes: 400 }] {
        let part = Rows::new(&all.tables, &some, limits);
        for index in [7, 0, 3, 3, 1, 0, 2, 4, 6, 5, 7, 0] {
            assert_eq!(part.read(index).unwrap(), whole.read(3 * index).unwrap(), "{index} {limits:?}");
            assert_eq!(part.path(index), whole.path(3 * index));
        }
        assert!(part.read(8).is_err() && part.path(8).is_none() && part.length(8).is_none());
    }
}

#[test]
fn the_shuffle_buffer_takes_at_most_three_quarters_of_the_memory() {
    let all = Collection::read(&golden("train-{00000..00001}-of-00002.parquet"), &of_golden(Path::new(""))).unwrap();
    // By pyarrow, the images of the row groups of 7 and 5 rows of each file have 1551 and 1217 bytes.
    let buffer = |held_bytes, configured| {
        let rows = Rows::new(&all.tables, &all.samples, rows::Limits { held_bytes, ..rows::LIMITS });
        assert_eq!([0, 11, 12, 23].map(|index| rows.length(index)), [221, 243, 221, 243].map(Some));
        rows.shuffle_buffer(configured)
    };
    // 3000 * 24 / 5536 = 13.005...
    assert_eq!([20, 13, 9].map(|configured| buffer(4000, configured)), [13, 13, 9]);
    assert_eq!(buffer(100, 9), 1);
    assert_eq!(buffer(rows::LIMITS.held_bytes, 10_000), 10_000);
}

#[test]
fn paths_of_image_files_are_relative_to_the_parquet_file() {
    for column in ["image", "hub"] {
        let config = DataConfig { image_column: Some(column.into()), ..of_golden(&golden("paths.parquet")) };
        let dataset = load_unseen(&config).unwrap();
        assert_eq!((dataset.classes(), dataset.labels()), (&["9".to_owned(), "10".to_owned()][..], &[1, 0, 1][..]));
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/images");
        let files = ["gray-alpha.png", "alpha.png", "bilevel.png"].map(|name| (folder.join(name), 0));
        let shape = super::super::configured_shape(&config);
        let want = Dataset::from_files(&folder, shape, vec!["x".into()], files.into()).unwrap();
        for index in 0..3 {
            assert_eq!(dataset.image(index).unwrap(), want.image(index).unwrap());
        }
    }
}

#[test]
fn every_epoch_shows_each_image_once_for_any_number_of_workers_from_any_batch_on() {
    let config = DataConfig {
        validation_path: Some(golden("datasets.parquet")),
        shuffle_buffer: 9,
        ..of_golden(&golden("train-{00000..00001}-of-00002.parquet"))
    };
    let batches = |workers, first| {
        let options =
            LoaderOptions::for_training(&DataConfig { workers, ..config.clone() }, 1, PixelScale::identity(3));
        let loader = Loader::new(load(&config, 1).unwrap().train, options).unwrap();
        loader.epoch(1, first).map(Result::unwrap).map(|batch| (batch.indices, batch.images)).collect::<Vec<_>>()
    };
    let whole = batches(0, 0);
    let shown: Vec<u32> = whole.iter().flat_map(|(indices, _)| indices.clone()).collect();
    assert_eq!((shown.len(), shown.iter().collect::<BTreeSet<_>>().len()), (24, 24));
    assert_eq!(batches(3, 0), whole);
    assert_eq!(batches(2, 4), whole[4..]);
}

/// A PNG file of one gray value.
fn png(value: u8) -> Option<Vec<u8>> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::GrayImage::from_pixel(4, 4, image::Luma([value])).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    Some(bytes.into_inner())
}

/// Rows with these values, which also decide their labels.
fn of_values(values: std::ops::Range<u8>) -> Vec<Row> {
    values.map(|value| (png(value), Some(["ant", "bee"][usize::from(value % 2)].into()))).collect()
}

/// Two training files of two row groups of ten rows each, and a validation file.
fn written(folder: &Path) -> DataConfig {
    for file in 0..2 {
        let name = format!("train-{file}.parquet");
        let first = 20 * file;
        let groups = [of_values(first..first + 10), of_values(first + 10..first + 20)];
        write_rows(&folder.join(name), &groups.each_ref().map(Vec::as_slice));
    }
    write_rows(&folder.join("val.parquet"), &[&of_values(100..106)]);
    let validation_path = Some(folder.join("val.parquet"));
    DataConfig { validation_path, ..config(Source::Parquet, folder.join("train-{0..1}.parquet")) }
}

fn skipping(config: &DataConfig) -> DataConfig {
    DataConfig { on_bad_image: OnBadImage::Skip, ..config.clone() }
}

/// The values of all images that decode, in their order.
fn values(dataset: &Dataset) -> Vec<u8> {
    let images = (0..).take(dataset.len()).map(|index| dataset.image_unless_bad(index, OnBadImage::Skip).unwrap());
    images.flatten().map(|pixels| pixels.to_bytes()[0]).collect()
}

fn message(config: &DataConfig) -> String {
    let message = load(config, 1).unwrap_err().to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

#[test]
fn without_validation_files_some_rows_are_held_out_by_their_name() {
    let folder = tempfile::tempdir().unwrap();
    let config = DataConfig { validation_path: None, ..written(folder.path()) };
    let splits = load(&config, 1).unwrap();
    let (train, held) = (values(&splits.train), values(&splits.validation));
    assert!((1..20).contains(&held.len()), "{held:?}");
    let mut all = [&train[..], &held].concat();
    all.sort_unstable();
    assert_eq!(all, (0..40).collect::<Vec<u8>>());
    fs::copy(folder.path().join("val.parquet"), folder.path().join("train-2.parquet")).unwrap();
    let more = DataConfig { path: folder.path().join("train-{0..2}.parquet"), ..config };
    let after = values(&load(&more, 1).unwrap().validation);
    assert!(after.starts_with(&held), "{held:?} {after:?}");
}

#[test]
fn part_of_the_training_rows_is_read_from_any_number_of_row_groups() {
    let folder = tempfile::tempdir().unwrap();
    let config = written(folder.path());
    for count in [1, 2, 7, 39] {
        check_subset(&config, count);
    }
}

#[test]
fn a_file_that_is_cut_is_named_or_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let config = written(folder.path());
    let path = folder.path().join("train-0.parquet");
    let whole = fs::read(&path).unwrap();
    for end in [0, 3, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..end]).unwrap();
        let message = message(&config);
        assert!(message.starts_with(&format!("{} cannot be read as Parquet: ", path.display())), "{message}");
        let splits = load(&skipping(&config), 1).unwrap();
        assert_eq!(values(&splits.train), (20..40).collect::<Vec<u8>>(), "{end}");
    }
    fs::remove_file(&path).unwrap();
    assert!(message(&config).starts_with(&format!("{} does not exist", path.display())), "{}", message(&config));
}

#[test]
fn a_damaged_row_group_loses_its_own_images_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let config = written(folder.path());
    let path = folder.path().join("train-0.parquet");
    let mut bytes = fs::read(&path).unwrap();
    // The images of the first row group come first. Their page has a header of fewer than 100 bytes.
    bytes[100..140].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let splits = load(&skipping(&config), 1).unwrap();
    let error = splits.train.image(3).unwrap_err().to_string();
    let want = format!("{}/3 cannot be decoded: row group 0 cannot be read: ", path.display());
    assert!(error.starts_with(&want) && !error.contains('\n'), "{error}");
    assert_eq!(values(&splits.train), (10..40).collect::<Vec<u8>>());
    assert_eq!(splits.train.bad_images(), (0..10).collect::<Vec<u32>>());
}

#[test]
fn any_damaged_byte_is_an_error_or_another_image() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("0.parquet");
    for name in ["train-00000-of-00002.parquet", "gzip.parquet"] {
        let whole = fs::read(golden(name)).unwrap();
        for place in (0..whole.len()).step_by(11) {
            let mut bytes = whole.clone();
            bytes[place] ^= [0x01, 0xff, 0x80][place % 3];
            fs::write(&path, bytes).unwrap();
            if let Ok(dataset) = load_unseen(&of_golden(&path)) {
                (0..).take(dataset.len()).for_each(|index| _ = dataset.image(index));
            }
        }
    }
}

#[test]
fn a_missing_image_or_label_is_named_or_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let config = written(folder.path());
    let path = folder.path().join("train-0.parquet");
    let mut rows = of_values(0..20);
    rows[7].0 = None;
    write_rows(&path, &[&rows]);
    let error = load(&config, 1).unwrap().train.image(7).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}/7 cannot be decoded: its image is null", path.display())), "{error}");
    rows[5].1 = None;
    rows[12].1 = None;
    write_rows(&path, &[&rows[..9], &rows[9..]]);
    let message = message(&config);
    assert!(message.starts_with(&format!("{}, row 5: its label is null: fix it, or", path.display())), "{message}");
    let splits = load(&skipping(&config), 1).unwrap();
    let want: Vec<u8> = (0..40).filter(|value| ![5, 7, 12].contains(value)).collect();
    assert_eq!(values(&splits.train), want);
    assert_eq!(splits.train.name(6), "train-0.parquet/7");
}

#[test]
fn a_class_without_training_images_is_named_with_its_row() {
    let folder = tempfile::tempdir().unwrap();
    let config = written(folder.path());
    let mut rows = of_values(0..4);
    rows[2].1 = Some("dodo".into());
    write_rows(&folder.path().join("val.parquet"), &[&rows]);
    let want = format!("{}: class `dodo`", folder.path().join("val.parquet/2").display());
    assert!(message(&config).starts_with(&want), "{}", message(&config));
}

#[test]
fn columns_are_chosen_by_name_and_errors_list_them() {
    let of = |image: &str, label: &str| {
        let [image_column, label_column] = [image, label].map(|name| (!name.is_empty()).then(|| name.to_owned()));
        message(&DataConfig { image_column, label_column, ..of_golden(&golden("gzip.parquet")) })
    };
    let start = golden("gzip.parquet").display().to_string();
    let columns = "its columns are boxes, fine_label, img: set data.";
    assert_eq!(of("photo", ""), format!("{start}: it has no column `photo`; {columns}image_column"));
    assert_eq!(of("", "x"), format!("{start}: it has no column `x`; {columns}label_column"));
    let want = "column `boxes` holds lists or a struct (boxes.list.element); want binary images, paths as strings, or a struct of `bytes` and `path`";
    assert_eq!(of("boxes", ""), format!("{start}: {want}: set data.image_column"));
    let want = "column `boxes` holds lists or a struct (boxes.list.element); want signed integers or strings";
    assert_eq!(of("", "boxes"), format!("{start}: {want}: set data.label_column"));
    let hub = golden("datasets.parquet");
    let image_as_label = DataConfig { label_column: Some("image".into()), ..of_golden(&hub) };
    let want = "column `image` holds lists or a struct (image.bytes, image.path); want signed integers or strings";
    assert_eq!(message(&image_as_label), format!("{}: {want}: set data.label_column", hub.display()));
}

#[test]
fn numbers_with_and_without_the_names_of_their_classes_are_not_mixed() {
    let [named, numbered] = ["datasets.parquet", "paths.parquet"].map(golden);
    let folder = tempfile::tempdir().unwrap();
    for path in [&named, &numbered] {
        fs::copy(path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let want = "has numbers as labels and does not name their classes, unlike ";
    let mixed = load(&of_golden(folder.path()), 1).unwrap_err().to_string();
    assert!(mixed.contains(&format!("paths.parquet {want}")) && mixed.contains("datasets.parquet: write"), "{mixed}");
    for (path, validation) in [(&named, &numbered), (&numbered, &named)] {
        let config = DataConfig { validation_path: Some(validation.clone()), ..of_golden(path) };
        let mixed = load(&config, 1).unwrap_err().to_string();
        assert!(mixed.contains(&format!("paths.parquet {want}")), "{mixed}");
    }
}
