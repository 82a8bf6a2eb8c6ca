//! Image files and shards as users have them: what the model sees, and what is said about those that are of no use.

use std::{fs, path::Path, process::Command};

use crate::harness::{Workplace, hostile::make_pipe, write_parquet, write_photos, write_row_groups, write_shards};

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

const PARQUET: &str = r#"
run = { max_epochs = 1, threads = 1 }
data = { source = "parquet", path = "rows/train-{0..1}.parquet", validation_path = "rows/val.parquet", image_size = 8 }
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
fn training_images_may_have_another_size_than_those_that_are_evaluated() {
    let workplace = Workplace::new(FOLDER);
    write_photos(&workplace.path().join("photos"), 12);
    let size = ["data.train_image_size=6", "data.augment.random_resized_crop=true"];
    let pooled = [&size[..], &["model.name=cnn", "model.width=4"]].concat();
    let call = |command: &str, settings: &[&str]| {
        let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        workplace.call(&[&[command, "small.toml"], &settings[..]].concat())
    };
    let checked = call("check", &pooled);
    assert!(checked.stdout.contains("2 batches per epoch, images of 3x6x6"), "{checked:#?}");
    let run = workplace.train("run", &pooled);
    let again = workplace.call(&["evaluate", run.to_str().unwrap()]);
    assert_eq!(again.code, Some(0), "{again:#?}");
    // An MLP has a weight for each pixel.
    let refused = call("train", &size);
    assert_eq!(refused.code, Some(3), "{refused:#?}");
    assert!(refused.stderr.contains("model mlp cannot train on images of 3x6x6 because it is built for 3x8x8"));
    let refused = call("check", &size[..1]);
    assert!(refused.code == Some(3) && refused.stderr.contains("random_resized_crop = true"), "{refused:#?}");
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
    let evaluated = workplace.call(&["evaluate", "logs/run", "--data", "shards/train-0.tar"]);
    assert!(evaluated.stderr.contains("12 of 12 images are training images"), "{evaluated:#?}");
    // Other images than those of the run are refused.
    write_shards(&workplace.path().join("shards"), 55);
    let changed = workplace.call(&["resume", "logs/run", "--set", "run.max_epochs=3"]);
    assert!(changed.code != Some(0) && changed.stderr.contains("train-"), "{changed:#?}");
}

#[test]
fn validation_files_in_another_folder_are_the_same_images_wherever_the_program_runs() {
    let workplace = Workplace::new(SHARDS);
    write_shards(&workplace.path().join("shards"), 60);
    fs::create_dir(workplace.path().join("held")).unwrap();
    fs::rename(workplace.path().join("shards/val.tar"), workplace.path().join("held/val.tar")).unwrap();
    let run = workplace.train("run", &["data.validation_path=held/val.tar"]);
    let record = fs::read_to_string(run.join("data.jsonl")).unwrap();
    assert!(record.contains("\"shards/train-3.tar/037.png\"") && record.contains("\"held/val.tar/"), "{record}");
    let resumed = workplace.call_in(Path::new("/"), &["resume", run.to_str().unwrap(), "--set", "run.max_epochs=2"]);
    assert_eq!(resumed.code, Some(0), "{resumed:#?}");
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
    assert!(skipping.code == Some(9) && skipping.stderr.contains("train-2.tar: it ends at byte"), "{skipping:#?}");
    let evaluated = workplace.call(&["evaluate", "logs/skips", "--data", "shards/train-2.tar"]);
    assert!(evaluated.code == Some(9) && evaluated.stderr.contains("it ends at byte"), "{evaluated:#?}");
    fs::write(&cut, whole).unwrap();
    write_shards(&workplace.path().join("other"), 3);
    fs::rename(shards.join("val.tar"), shards.join("train-0.tar")).unwrap();
    fs::rename(workplace.path().join("other/unknown.tar"), shards.join("val.tar")).unwrap();
    refuses(&workplace, 4, &["shards/val.tar", "dodo"]);
    fs::remove_file(shards.join("train-4.tar")).unwrap();
    refuses(&workplace, 4, &["shards/train-4.tar"]);
}

#[test]
fn rows_of_parquet_files_train_resume_evaluate_and_name_their_images() {
    let workplace = Workplace::new(PARQUET);
    write_parquet(&workplace.path().join("rows"), 60);
    let run = workplace.train("run", &[]);
    let record = fs::read_to_string(run.join("data.jsonl")).unwrap();
    assert!(record.contains("\"train-1.parquet/7\"") && record.contains("\"val.parquet/"), "{record}");
    let picture = ["check", "small.toml", "--show-batch", "batch.png"];
    assert_eq!(workplace.call(&picture).code, Some(0));
    // The place of the files does not matter, but their images do.
    fs::rename(workplace.path().join("rows"), workplace.path().join("moved")).unwrap();
    let moved = ["data.path=moved/train-{0..1}.parquet", "data.validation_path=moved/val.parquet"];
    let moved = ["--set", moved[0], "--set", moved[1], "--set"];
    let resumed = workplace.call(&[&["resume", "logs/run"], &moved[..], &["run.max_epochs=2"]].concat());
    assert_eq!(resumed.code, Some(0), "{resumed:#?}");
    // Neither do the row groups.
    write_row_groups(&workplace.path().join("moved"), 60, 7);
    let regrouped = workplace.call(&[&["resume", "logs/run"], &moved[..], &["run.max_epochs=3"]].concat());
    assert_eq!(regrouped.code, Some(0), "{regrouped:#?}");
    let evaluated = workplace.call(&["evaluate", "logs/run", "--data", "moved/train-0.parquet"]);
    assert!(
        evaluated.code == Some(0) && evaluated.stderr.contains("30 of 30 images are training images"),
        "{evaluated:#?}"
    );
    write_parquet(&workplace.path().join("moved"), 50);
    let changed = workplace.call(&[&["resume", "logs/run"], &moved[..], &["run.max_epochs=4"]].concat());
    assert!(changed.code != Some(0) && changed.stderr.contains("train-"), "{changed:#?}");
}

#[test]
fn a_cut_parquet_file_an_unknown_label_and_a_missing_column_are_named() {
    let workplace = Workplace::new(PARQUET);
    let rows = workplace.path().join("rows");
    write_parquet(&rows, 60);
    let (cut, whole) = (rows.join("train-1.parquet"), fs::read(rows.join("train-1.parquet")).unwrap());
    fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    refuses(&workplace, 4, &["rows/train-1.parquet cannot be read as Parquet", "data.on_bad_image = \"skip\""]);
    let skipping = workplace.call(&["train", "small.toml", "--run-name", "skips", "--set", "data.on_bad_image=skip"]);
    assert!(
        skipping.code == Some(9)
            && skipping.stderr.contains("rows/train-1.parquet cannot be read as Parquet and is skipped"),
        "{skipping:#?}"
    );
    fs::write(&cut, whole).unwrap();
    let column = workplace.call(&["train", "small.toml", "--set", "data.image_column=photo"]);
    assert!(column.code == Some(4) && column.stderr.contains("its columns are image, label"), "{column:#?}");
    fs::rename(rows.join("unknown.parquet"), rows.join("val.parquet")).unwrap();
    refuses(&workplace, 4, &["rows/val.parquet/0: class `dodo`"]);
    let folder = workplace.call(&["train", "small.toml", "--set", "data.path=rows"]);
    assert!(folder.code == Some(4) && folder.stderr.contains("several splits (train, val)"), "{folder:#?}");
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
