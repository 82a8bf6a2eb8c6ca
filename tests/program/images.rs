//! Image files and shards as users have them: what the model sees, and what is said about those that are of no use.

use std::{fs, path::Path, process::Command};

use crate::harness::{Workplace, hostile::make_pipe, write_photos, write_shards};

const FOLDER: &str = r#"
run = { max_epochs = 1, threads = 1 }
data = { source = "folder", path = "photos", image_size = 8, batch_size = 6 }
model = { name = "mlp", width = 8, depth = 1 }
"#;

const SHARDS: &str = r#"
run = { max_epochs = 1, threads = 1 }
data = { source = "webdataset", path = "shards/train-{0..4}.tar", validation_path = "shards/val.tar", image_size = 8 }
model = { name = "mlp", width = 8, depth = 1 }
"#;

/// Trains, which must end with `code` and one line on stderr that contains `want`.
fn refuses(workplace: &Workplace, code: i32, want: &[&str]) {
    let outcome = workplace.call(&["train", "small.toml", "--run-name", "run"]);
    assert_eq!(outcome.code, Some(code), "{outcome:#?}");
    let errors: Vec<&str> = outcome.stderr.lines().filter(|line| line.starts_with("gradwatch: ")).collect();
    assert!(errors.len() == 1 && want.iter().all(|want| errors[0].contains(want)), "{want:?} {outcome:#?}");
}

#[test]
fn a_batch_is_drawn_as_the_model_will_see_it() {
    let workplace = Workplace::new(FOLDER);
    write_photos(&workplace.path().join("photos"), 12);
    let arguments = ["check", "small.toml", "--show-batch", "batch.png"];
    let changed = ["--set", "data.augment.recipe=timm-a1", "--set", "data.augment.repeats=2"];
    let outcome = workplace.call(&[&arguments[..], &changed].concat());
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    // The values of the recipe, those that follow from it, and the one that was set.
    for value in ["policy = \"timm_randaugment\"", "magnitude = 7.0", "interpolation = \"bicubic\"", "repeats = 2"] {
        assert!(outcome.stdout.contains(value), "{value} {outcome:#?}");
    }
    let picture = image::open(workplace.path().join("batch.png")).unwrap();
    // Six images of 160 x 190 pixels and gaps between them.
    assert_eq!((picture.width(), picture.height()), (3 * 168 + 8, 2 * 198 + 8));
    let again = workplace.call(&arguments);
    assert!(again.code == Some(6) && again.stderr.contains("--force"), "{again:#?}");
    assert_eq!(workplace.call(&[&arguments[..], &["--force"]].concat()).code, Some(0));
}

#[test]
fn shards_train_resume_evaluate_and_name_their_images() {
    let workplace = Workplace::new(SHARDS);
    write_shards(&workplace.path().join("shards"), 60);
    let run = workplace.train("run", &[]);
    let record = fs::read_to_string(run.join("data.jsonl")).unwrap();
    assert!(record.contains("\"train-3.tar/037.png\"") && record.contains("\"val.tar/"), "{record}");
    let resumed = workplace.call(&["resume", "logs/run", "--set", "run.max_epochs=2"]);
    assert_eq!(resumed.code, Some(0), "{resumed:#?}");
    let evaluated = workplace.call(&["evaluate", "logs/run"]);
    assert_eq!(evaluated.code, Some(0), "{evaluated:#?}");
    // Other images than those of the run are refused.
    write_shards(&workplace.path().join("shards"), 55);
    let changed = workplace.call(&["resume", "logs/run", "--set", "run.max_epochs=3"]);
    assert!(changed.code != Some(0) && changed.stderr.contains("train-"), "{changed:#?}");
}

#[test]
fn a_cut_shard_and_an_unknown_label_are_named() {
    let workplace = Workplace::new(SHARDS);
    let shards = workplace.path().join("shards");
    write_shards(&shards, 60);
    let (cut, whole) = (shards.join("train-2.tar"), fs::read(shards.join("train-2.tar")).unwrap());
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    refuses(&workplace, 4, &["shards/train-2.tar: it ends at byte", "data.on_bad_image = \"skip\""]);
    let skipping = workplace.call(&["train", "small.toml", "--run-name", "skips", "--set", "data.on_bad_image=skip"]);
    assert!(skipping.code == Some(0) && skipping.stderr.contains("train-2.tar: it ends at byte"), "{skipping:#?}");
    fs::write(&cut, whole).unwrap();
    write_shards(&workplace.path().join("other"), 3);
    fs::rename(shards.join("val.tar"), shards.join("train-0.tar")).unwrap();
    fs::rename(workplace.path().join("other/unknown.tar"), shards.join("val.tar")).unwrap();
    refuses(&workplace, 4, &["shards/val.tar", "dodo"]);
    fs::remove_file(shards.join("train-4.tar")).unwrap();
    refuses(&workplace, 4, &["shards/train-4.tar"]);
}

#[test]
fn empty_huge_and_special_files_are_one_line_each() {
    let workplace = Workplace::new(FOLDER);
    let photos = workplace.path().join("photos");
    let fresh = || {
        let _ = fs::remove_dir_all(&photos);
        let _ = fs::remove_dir_all(workplace.path().join("logs"));
        write_photos(&photos, 12);
    };
    let first = photos.join("train/ant/000.png");
    fresh();
    fs::rename(&first, photos.join("train/ant/000.jpg")).unwrap();
    fs::write(photos.join("train/ant/000.jpg"), "").unwrap();
    refuses(&workplace, 4, &["000.jpg", "it is empty"]);
    fresh();
    // A PNG header of 65,536 x 65,536 pixels with its checksum, and nothing after it.
    let mut header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\x01\0\0\0\x01\0\0\x08\x02\0\0\0".to_vec();
    let checksum = crc(&header[12..]);
    header.extend(checksum.to_be_bytes());
    fs::write(&first, header).unwrap();
    refuses(&workplace, 4, &["000.png", "cannot be decoded"]);
    fresh();
    fs::remove_file(&first).unwrap();
    make_pipe(&first);
    // A pipe is no image file, so it is skipped when the folder is listed.
    let outcome = workplace.call(&["train", "small.toml", "--run-name", "pipe"]);
    assert!(outcome.code == Some(0) && outcome.stderr.contains("1 pipes, devices, and sockets"), "{outcome:#?}");
    fresh();
    let closed = photos.join("train/bee");
    assert!(Command::new("chmod").arg("000").arg(&closed).status().unwrap().success());
    // Root reads every folder.
    if fs::read_dir(&closed).is_err() {
        refuses(&workplace, 4, &["train/bee", "permissions"]);
    }
    assert!(Command::new("chmod").arg("755").arg(&closed).status().unwrap().success());
}

/// The checksum of a PNG chunk (CRC-32).
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    };
    !bytes.iter().fold(!0, step)
}

#[test]
fn the_orientation_of_a_photo_counts_for_new_runs_and_not_for_those_of_an_older_edition() {
    let workplace = Workplace::new(FOLDER);
    let photos = workplace.path().join("photos");
    write_photos(&photos, 12);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/images");
    for (class, name) in [("ant", "orientation-1.jpg"), ("bee", "orientation-3.jpg")] {
        fs::copy(golden.join(name), photos.join("train").join(class).join("turned.jpg")).unwrap();
    }
    let drawn = |edition: &str, file: &str| {
        let arguments = ["check", "small.toml", "--show-batch", file, "--set", edition, "--set", "data.batch_size=14"];
        let outcome = workplace.call(&arguments);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        image::open(workplace.path().join(file)).unwrap().into_rgb8()
    };
    assert_ne!(drawn("data.edition=3", "3.png"), drawn("data.edition=2", "2.png"));
}
