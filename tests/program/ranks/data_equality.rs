//! Images and labels of all kinds: any number of ranks ends bit-identical to one process.

use std::{fs, path::Path};

use super::{
    comparison::{COMMON, IMAGES, assert_equal, trains_alike},
    team::Team,
};
use crate::harness::{Workplace, write_parquet, write_photos, write_shapes, write_shards};

const CNN: &str = r#"
model = { name = "cnn", width = 4, depth = 2, normalization = "batch" }
optimizer = { name = "sgd", learning_rate = 0.05, momentum = 0.9 }
"#;

#[test]
fn augmented_and_mixed_images() {
    let toml = format!("{IMAGES}{CNN}");
    let batches = "data.augment={ hflip = 0.5, random_crop = 1, mixing = { mixup = 0.4, cutmix = 1.0 } }";
    let images = "data.augment={ repeats = 2, cutout = 2, random_erasing = { probability = 0.5, fill = \"pixel\" }, \
                  mixing = { mixup = 0.4, mode = \"image\" } }";
    let settings = [
        &["optimizer.accumulation_steps=5", batches, "data.workers=2"][..],
        &["optimizer.accumulation_steps=4", images, "data.workers=0"],
    ];
    trains_alike(&toml, &settings, |_| ());
}

#[test]
fn images_of_several_classes_with_average_precisions() {
    let toml = r#"
data = { source = "csv", path = "shapes/labels.csv", multi_label = true, image_size = 12, batch_size = 4, augment = { hflip = 0.5, mixing = { mixup = 0.4, cutmix = 1.0 } } }
model = { name = "cnn", width = 4, depth = 2, normalization = "batch" }
loss = { name = "bce" }
optimizer = { name = "adam", accumulation_steps = 3 }
ema = { decay = 0.5 }
"#;
    trains_alike(toml, &[&[]], |folder| write_shapes(&folder.join("shapes"), 38, 15));
}

#[test]
fn labels_that_change() {
    let toml = format!(
        "{CNN}data = {{ source = \"synthetic\", samples = 60, image_size = 8, channels = 1, batch_size = 4 }}\n"
    );
    trains_alike(&toml, &[&["data.label_shuffle_epochs=[0, 1]", "optimizer.accumulation_steps=3"]], |_| ());
}

/// Too many classes for a table of all pairs.
#[test]
fn more_than_a_hundred_classes() {
    let toml = r#"
data = { source = "synthetic", samples = 600, classes = 120, validation_fraction = 0.2, image_size = 8, channels = 1, batch_size = 50 }
model = { name = "mlp", width = 16, depth = 1 }
optimizer = { name = "sgd", learning_rate = 0.1, momentum = 0.9, accumulation_steps = 3 }
"#;
    trains_alike(toml, &[&["evaluate.batch_size=30", "evaluate.every_steps=3"]], |_| ());
}

#[test]
fn shards_and_row_groups() {
    let toml = format!("{CNN}data = {{ image_size = 12, batch_size = 4, shuffle_buffer = 8, augment.hflip = 0.5 }}\n");
    let shards = ["source=webdataset", "path=shards/train-{0..4}.tar", "validation_path=shards/val.tar"];
    let rows = ["source=parquet", "path=rows/train-{0..1}.parquet", "validation_path=rows/val.parquet"];
    let settings = [shards, rows].map(|keys| keys.map(|key| format!("data.{key}")));
    let settings = settings.each_ref().map(|keys| keys.each_ref().map(String::as_str));
    let settings = settings.each_ref().map(|keys| [&keys[..], &["optimizer.accumulation_steps=3"]].concat());
    trains_alike(&toml, &settings.each_ref().map(Vec::as_slice), |folder| {
        write_shards(&folder.join("shards"), 40);
        write_parquet(&folder.join("rows"), 40);
    });
}

/// Replaces training images by text: a whole batch of one epoch or another, and some of other batches.
fn spoil(folder: &Path, images: impl IntoIterator<Item = usize>) {
    for number in images {
        let class = ["ant", "bee", "cat"][number % 3];
        fs::write(folder.join(format!("photos/train/{class}/{number:03}.png")), "no image").unwrap();
    }
}

const BAD: &str = r#"
data = { source = "folder", path = "photos", image_size = 12, batch_size = 2, on_bad_image = "skip" }
model = { name = "cnn", width = 4, depth = 2, normalization = "batch" }
optimizer = { name = "sgd", learning_rate = 0.05, momentum = 0.9, accumulation_steps = 4 }
"#;

/// Each rank skips the images of its share, and rank 0 counts those of all.
#[test]
fn images_that_do_not_decode() {
    let workplace = Workplace::new(&format!("{COMMON}{BAD}"));
    write_photos(&workplace.path().join("photos"), 30);
    // So many that some batches of two have no image left.
    spoil(workplace.path(), (0..30).filter(|number| number % 5 < 3));
    let arguments = ["train", "small.toml", "--run-name"];
    let plain = workplace.call(&[&arguments[..], &["plain"]].concat());
    assert_eq!(plain.code, Some(9), "{plain:?}");
    for world in 2..=4 {
        let name = format!("ranks{world}");
        let ended = Team::start(&workplace, world, &[&arguments[..], &[&name]].concat()).wait();
        ended.iter().for_each(|ended| ended.ends(9));
        let what = format!("{world} ranks");
        assert_equal(&workplace.run_folder(&name), &workplace.run_folder("plain"), &what);
        let count = |text: &str| text.lines().find(|line| line.contains("skipped 18 images")).map(str::to_owned);
        assert_eq!(count(&ended[0].stderr), count(&plain.stderr), "{what}: {:?} {plain:?}", ended[0]);
        assert!(count(&plain.stderr).is_some(), "{plain:?}");
    }
}
