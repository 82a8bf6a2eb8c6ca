//! Changed images and classes: how a run behaves if they differ from those it was trained on.

use std::{fs, path::Path};

use image::{Rgb, RgbImage};
use serde_json::Value;

use crate::harness::{Outcome, Workplace, checkpoints::checkpoints};

const DATA: i32 = 4;
const CHECKPOINT: i32 = 10;

/// Eight dark and eight bright images, which any model learns immediately.
const TOML: &str = r#"
run = { max_epochs = 4, threads = 1 }
data = { source = "folder", path = "photos", image_size = 8, batch_size = 4, validation_fraction = 0.4 }
model = { name = "mlp", width = 8, depth = 1 }
optimizer = { learning_rate = 0.05 }
monitor = { preset = "off" }
diagnosis = { enabled = false }
"#;

fn write_photo(path: &Path, value: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    // Noise, so that files with two values have the same size.
    let pixel = |x: u32, y: u32, channel: u32| value ^ ((x * 37 + y * 101 + channel * 59) % 32) as u8;
    RgbImage::from_fn(8, 8, |x, y| Rgb([0, 1, 2].map(|channel| pixel(x, y, channel)))).save(path).unwrap();
}

fn workplace() -> Workplace {
    let workplace = Workplace::new(TOML);
    for number in 0..8 {
        write_photo(&workplace.path().join(format!("photos/cat/{number}.png")), number * 2);
        write_photo(&workplace.path().join(format!("photos/dog/{number}.png")), 200 + number * 2);
    }
    workplace
}

fn refused(outcome: &Outcome, code: i32, words: &[&str]) {
    assert_eq!(outcome.code, Some(code), "{outcome:#?}");
    let errors: Vec<&str> = outcome.stderr.lines().filter(|line| line.starts_with("gradwatch: ")).collect();
    assert_eq!(errors.len(), 1, "{outcome:#?}");
    assert!(words.iter().all(|word| errors[0].contains(word)), "{words:?} in {errors:?}");
}

fn resume(workplace: &Workplace, more: &[&str]) -> Outcome {
    workplace.call(&[&["resume", "logs/run", "--set", "run.max_epochs=5"], more].concat())
}

fn warnings(outcome: &Outcome) -> Vec<&str> {
    outcome.stderr.lines().filter(|line| line.contains("WARN")).collect()
}

/// Names of the training or validation images in the run's record.
fn names_of(run: &Path, is_validation: bool) -> Vec<String> {
    let text = fs::read_to_string(run.join("data.jsonl")).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let training = lines.next().unwrap()["training"].as_u64().unwrap() as usize;
    let names: Vec<String> = lines.map(|line| line[0].as_str().unwrap().to_owned()).collect();
    if is_validation { names[training..].to_vec() } else { names[..training].to_vec() }
}

fn names(workplace: &Workplace, is_validation: bool) -> Vec<String> {
    names_of(&workplace.run_folder("run"), is_validation)
}

#[test]
fn a_renamed_an_added_and_a_shifted_class_never_score_images_by_another_one() {
    let workplace = workplace();
    workplace.train("run", &[]);
    let photos = workplace.path().join("photos");
    let before = workplace.call(&["evaluate", "logs/run"]);
    assert!(before.stdout.contains("accuracy      100.00%") && warnings(&before).is_empty(), "{before:#?}");

    fs::rename(photos.join("cat"), photos.join("zebra")).unwrap();
    let words = ["photos", "unknown to the run: zebra; missing: cat"];
    refused(&workplace.call(&["evaluate", "logs/run"]), DATA, &words);
    refused(&workplace.call(&["evaluate", "logs/run", "--data", "photos"]), DATA, &words);
    refused(&resume(&workplace, &[]), CHECKPOINT, &words);
    refused(&resume(&workplace, &["--allow-change", "data.files"]), CHECKPOINT, &words);
    fs::rename(photos.join("zebra"), photos.join("cat")).unwrap();

    // Every index would shift by one.
    write_photo(&photos.join("ant/1.png"), 100);
    refused(&workplace.call(&["evaluate", "logs/run"]), DATA, &["unknown to the run: ant; missing: none"]);
    fs::remove_dir_all(photos.join("ant")).unwrap();

    // Images of a single class still count as that class.
    let dogs = workplace.path().join("dogs");
    for number in 0..3 {
        write_photo(&dogs.join(format!("dog/{number}.png")), 190 + number);
    }
    let outcome = workplace.call(&["evaluate", "logs/run", "--data", "dogs"]);
    assert!(outcome.stdout.contains("accuracy      100.00%"), "{outcome:#?}");
    assert!(warnings(&outcome)[0].contains("1 of 2 classes have no images: cat"), "{outcome:#?}");
}

#[test]
fn csv_labels_are_matched_by_name_too() {
    let workplace = workplace();
    let write = |cat: &str| {
        let rows = (0..8).flat_map(|n| [format!("photos/cat/{n}.png,{cat}\n"), format!("photos/dog/{n}.png,dog\n")]);
        fs::write(workplace.path().join("list.csv"), format!("path,label\n{}", rows.collect::<String>())).unwrap();
    };
    write("cat");
    workplace.train("run", &["data.source=csv", "data.path=list.csv"]);
    write("zebra");
    let words = ["list.csv", "unknown to the run: zebra; missing: cat"];
    refused(&workplace.call(&["evaluate", "logs/run"]), DATA, &words);
    refused(&resume(&workplace, &[]), CHECKPOINT, &words);
    write("cat");
    // The list exists, but one of its images does not.
    let (there, gone) = (workplace.path().join("photos/cat/0.png"), workplace.path().join("0.png"));
    fs::rename(&there, &gone).unwrap();
    refused(&resume(&workplace, &[]), CHECKPOINT, &[" images cannot be read, first photos/cat/0.png"]);
    fs::rename(&gone, &there).unwrap();
    // The same rows in reverse: the training order would change.
    let text = fs::read_to_string(workplace.path().join("list.csv")).unwrap();
    let rows: Vec<&str> = text.lines().skip(1).collect();
    let reversed: String = rows.iter().rev().flat_map(|row| [row, "\n"]).collect();
    fs::write(workplace.path().join("list.csv"), format!("path,label\n{reversed}")).unwrap();
    refused(&resume(&workplace, &[]), CHECKPOINT, &["training images are in a different order, first photos/"]);
    assert_eq!(resume(&workplace, &["--allow-change", "data.files"]).code, Some(0));
}

#[test]
fn one_replaced_image_exchanged_classes_and_a_new_file_are_told_and_can_be_permitted() {
    let workplace = workplace();
    workplace.train("run", &[]);
    let photos = workplace.path().join("photos");
    let first = names(&workplace, false)[0].clone();
    let training = names(&workplace, false).len();
    let whole = fs::read(photos.join(&first)).unwrap();
    // Same size, with the change inside or outside the compressed pixels: only the contents differ.
    let mut other = whole.clone();
    let last = other.len() - 1;
    other[last] ^= 1;
    fs::write(photos.join(&first), &other).unwrap();
    let line_of_first = format!("1 of {training} training images have different contents, first photos/{first}");
    refused(&resume(&workplace, &[]), CHECKPOINT, &[&line_of_first, "--allow-change data.files"]);
    fs::write(photos.join(&first), &whole).unwrap();

    fs::rename(photos.join("cat"), photos.join("x")).unwrap();
    fs::rename(photos.join("dog"), photos.join("cat")).unwrap();
    fs::rename(photos.join("x"), photos.join("dog")).unwrap();
    let line = format!("{training} of {training} training images have different contents, first photos/cat/");
    let exchanged = resume(&workplace, &[]);
    // Both classes have the same file names, so half of each split is exchanged with the other.
    assert!(exchanged.stderr.contains(&line) || exchanged.stderr.contains(" gone"), "{exchanged:#?}");
    refused(&exchanged, CHECKPOINT, &["the checkpoint was saved with other images: "]);
    fs::rename(photos.join("cat"), photos.join("x")).unwrap();
    fs::rename(photos.join("dog"), photos.join("cat")).unwrap();
    fs::rename(photos.join("x"), photos.join("dog")).unwrap();

    fs::write(photos.join(&first), "no image").unwrap();
    refused(&resume(&workplace, &[]), CHECKPOINT, &[&line_of_first]);
    fs::write(photos.join(&first), &whole).unwrap();

    write_photo(&photos.join("cat/new.png"), 60);
    let told = workplace.call(&["evaluate", "logs/run"]);
    assert!(warnings(&told).iter().any(|line| line.contains("1 new, first photos/cat/new.png")), "{told:#?}");
    let added = resume(&workplace, &[]);
    refused(&added, CHECKPOINT, &["1 new, first photos/cat/new.png"]);
    assert!(!added.stderr.contains(" gone"), "no other image has moved: {added:#?}");
    let permitted = resume(&workplace, &["--allow-change", "data.files"]);
    assert_eq!(permitted.code, Some(0), "{permitted:#?}");
    assert!(permitted.stderr.contains("from here on, other images (allowed by --allow-change): "), "{permitted:#?}");
    // From then on they belong to the run.
    assert_eq!(workplace.call(&["resume", "logs/run", "--set", "run.max_epochs=6"]).code, Some(0));
}

#[test]
fn renamed_files_that_were_trained_on_are_told_by_evaluate_and_refused_by_resume() {
    let workplace = workplace();
    workplace.train("run", &["data.split_by=position"]);
    let photos = workplace.path().join("photos");
    let trained = names(&workplace, false);
    let contents = |name: &str| fs::read(photos.join(name)).unwrap();
    let trained: Vec<Vec<u8>> = trained.iter().map(|name| contents(name)).collect();
    for class in ["cat", "dog"] {
        for number in 0..4 {
            fs::rename(photos.join(format!("{class}/{number}.png")), photos.join(format!("{class}/z{number}.png")))
                .unwrap();
        }
    }
    // Computed by hand: the images now at the same positions.
    let outcome = workplace.call(&["evaluate", "logs/run"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let told = warnings(&outcome);
    assert!(told.iter().any(|line| line.contains("the images differ from those of the run: ")), "{told:?}");
    refused(&resume(&workplace, &[]), CHECKPOINT, &["training: ", " new, first photos/cat/z", " gone, first"]);
    assert_eq!(resume(&workplace, &["--allow-change", "data.files"]).code, Some(0));
    let held = names(&workplace, true);
    let held = held.iter().take_while(|name| photos.join(name).exists());
    let leaked = held.filter(|name| trained.contains(&contents(name))).count();
    assert!(
        leaked > 0
            && told.iter().any(|line| line.contains(&format!("{leaked} of 6 images are training images of the run"))),
        "{told:?}"
    );
    // Images trained on before the change are still known after it.
    let after = workplace.call(&["evaluate", "logs/run"]);
    assert!(
        warnings(&after)
            .iter()
            .any(|line| line.contains(&format!("{leaked} of 6 images are training images of the run"))),
        "{after:#?}"
    );
}

#[test]
fn a_run_of_an_earlier_version_keeps_its_split_and_resumes() {
    let workplace = workplace();
    let run = workplace.train("run", &["data.split_by=position"]);
    let as_before = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains("split_by = \"position\"\n"), "{text}");
        fs::write(path, text.replace("split_by = \"position\"\n", "")).unwrap();
    };
    let held = names(&workplace, true);
    fs::remove_file(run.join("data.jsonl")).unwrap();
    fs::remove_file(run.join("paths.json")).unwrap();
    as_before(&run.join("config.toml"));
    let json = workplace.call(&["evaluate", "logs/run", "--format", "json", "--output", "figures"]);
    assert_eq!((json.code, warnings(&json).len()), (Some(0), 0), "{json:#?}");
    let metrics: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(metrics["per_class"][0]["support"], 3);
    let again = workplace.call(&["train", "logs/run/config.toml", "--run-name", "again"]);
    assert_eq!(again.code, Some(0), "{again:#?}");
    assert_eq!(names_of(&workplace.run_folder("again"), true), held, "its config trains the same run");

    // A manifest seals the files of its checkpoint; this recreates the files of an earlier version.
    let checkpoint = checkpoints(&run).pop().unwrap();
    as_before(&checkpoint.join("config.toml"));
    let host = checkpoint.join("host.json");
    let mut state: Value = serde_json::from_str(&fs::read_to_string(&host).unwrap()).unwrap();
    state["data"].as_object_mut().unwrap().remove("images").unwrap();
    fs::write(&host, state.to_string()).unwrap();
    seal(&checkpoint);
    let outcome =
        workplace.call(&["train", "small.toml", "--run-name", "run", "--resume", "auto", "--set", "run.max_epochs=5"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert_eq!(names(&workplace, true), held, "the split is the old one");
    // The run keeps its record from now on.
    write_photo(&workplace.path().join("photos/cat/0.png"), 90);
    assert_eq!(workplace.call(&["resume", "logs/run", "--set", "run.max_epochs=6"]).code, Some(CHECKPOINT));
}

/// Updates the manifest of a checkpoint to match its files.
fn seal(checkpoint: &Path) {
    let path = checkpoint.join("manifest.json");
    let sealed: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let mut manifest = sealed["manifest"].clone();
    for file in manifest["files"].as_array_mut().unwrap() {
        let bytes = fs::read(checkpoint.join(file["name"].as_str().unwrap())).unwrap();
        file["bytes"] = bytes.len().into();
        file["blake3"] = blake3::hash(&bytes).to_hex().to_string().into();
    }
    let manifest = manifest.to_string();
    let blake3 = blake3::hash(manifest.as_bytes()).to_hex();
    fs::write(&path, format!("{{\"blake3\":\"{blake3}\",\"manifest\":{manifest}}}")).unwrap();
}

#[test]
fn a_run_finds_its_images_from_anywhere_and_where_they_have_moved() {
    let workplace = workplace();
    let run = workplace.train("run", &[]);
    let elsewhere = tempfile::tempdir().unwrap();
    let run = run.to_str().unwrap();
    let from_elsewhere = |arguments: &[&str]| workplace.call_in(elsewhere.path(), arguments);
    for arguments in [&["evaluate", run][..], &["resume", run, "--set", "run.max_epochs=5"]] {
        assert_eq!(from_elsewhere(arguments).code, Some(0), "{:#?}", from_elsewhere(arguments));
    }
    // Files that the session in another folder wrote are found from the first folder too.
    assert_eq!(workplace.call(&["evaluate", "logs/run"]).code, Some(0));

    fs::rename(workplace.path().join("photos"), elsewhere.path().join("moved")).unwrap();
    let advice = ["photos does not exist", "--set data.path=NEW"];
    let outcome = workplace.call(&["evaluate", "logs/run"]);
    refused(&outcome, DATA, &[&advice[..], &["--data PATH"]].concat());
    assert!(!outcome.stderr.contains("setup-data"), "{outcome:#?}");
    refused(&resume(&workplace, &[]), DATA, &advice);
    let moved = format!("data.path={}", elsewhere.path().join("moved").display());
    let outcome = workplace.call(&["evaluate", "logs/run", "--set", &moved]);
    assert!(outcome.code == Some(0) && warnings(&outcome).is_empty(), "{outcome:#?}");
    let more = ["--set", "run.max_epochs=6", "--set", &moved];
    assert_eq!(workplace.call(&[&["resume", "logs/run"], &more[..]].concat()).code, Some(0));
    // The most recent path is kept.
    let outcome = workplace.call(&["evaluate", "logs/run"]);
    assert!(outcome.code == Some(0) && warnings(&outcome).is_empty(), "{outcome:#?}");
    let other = workplace.call(&["evaluate", "logs/run", "--set", "data.image_size=16"]);
    refused(&other, 3, &["data.image_size = 16 (was 8)", "data.path or model.path"]);
}

#[test]
fn a_whole_project_that_has_moved_goes_on_in_its_new_place() {
    let workplace = workplace();
    workplace.train("run", &[]);
    let new = tempfile::tempdir().unwrap();
    for name in ["photos", "logs", "small.toml"] {
        fs::rename(workplace.path().join(name), new.path().join(name)).unwrap();
    }
    for arguments in [&["evaluate", "logs/run"][..], &["resume", "logs/run", "--set", "run.max_epochs=5"]] {
        let outcome = workplace.call_in(new.path(), arguments);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    }
}

#[test]
fn an_image_that_stands_twice_in_both_splits_or_with_two_labels_is_told_before_training() {
    let workplace = workplace();
    let rows: Vec<String> = ["cat", "dog"]
        .iter()
        .flat_map(|class| (0..8).map(move |number| format!("photos/{class}/{number}.png,{class}")))
        .collect();
    let check = |head: &str, rows: Vec<String>| {
        fs::write(workplace.path().join("list.csv"), format!("{head}\n{}\n", rows.join("\n"))).unwrap();
        workplace.call(&["check", "small.toml", "--set", "data.source=csv", "--set", "data.path=list.csv"])
    };
    let clean = check("path,label", rows.clone());
    assert!(warnings(&clean).is_empty(), "{clean:#?}");
    let twice = check("path,label", [&rows[..], &rows[..]].concat());
    assert!(warnings(&twice)[0].contains("duplicate images in a split: 16, first photos/cat/0.png;"), "{twice:#?}");
    let labels = check("path,label", [&rows[..], &["photos/cat/0.png,dog".to_owned()]].concat());
    let line = "images with two labels: 1, first photos/cat/0.png: cat and dog";
    assert!(warnings(&labels).len() == 1 && warnings(&labels)[0].contains(line), "{labels:#?}");
    let split = |rows: &[String], split: &str| rows.iter().map(|row| format!("{row},{split}")).collect::<Vec<_>>();
    let both = check("path,label,split", [split(&rows, "train"), split(&rows[3..5], "val")].concat());
    let line = "2 of 2 validation images are in both splits, first photos/cat/3.png: ";
    assert!(warnings(&both).len() == 1 && warnings(&both)[0].contains(line), "{both:#?}");
}

#[test]
fn the_same_holds_for_images_in_memory() {
    let toml = "run = { max_epochs = 1, threads = 1 }\ndata = { source = \"idx\", path = \"mnist\", batch_size = 4 }\n\
                model = { name = \"mlp\", width = 8, depth = 1 }\nmonitor = { preset = \"off\" }";
    let workplace = Workplace::new(toml);
    let folder = workplace.path().join("mnist");
    fs::create_dir_all(&folder).unwrap();
    let write = |split: &str, images: &[u8], labels: &[u8]| {
        let idx = |sizes: &[u32], bytes: &[u8]| {
            let sizes: Vec<u8> = sizes.iter().flat_map(|size| size.to_be_bytes()).collect();
            [&[0, 0, 8, (sizes.len() / 4) as u8], &sizes[..], bytes].concat()
        };
        let pixels: Vec<u8> = images.iter().flat_map(|image| (0..64).map(move |at| image.wrapping_mul(at))).collect();
        fs::write(folder.join(format!("{split}-images-idx3-ubyte")), idx(&[images.len() as u32, 8, 8], &pixels))
            .unwrap();
        fs::write(folder.join(format!("{split}-labels-idx1-ubyte")), idx(&[labels.len() as u32], labels)).unwrap();
    };
    write("train", &[1, 2, 3, 4, 5, 6], &[0, 1, 2, 0, 1, 2]);
    write("t10k", &[7, 2, 9], &[0, 1, 2]);
    let outcome = workplace.call(&["train", "small.toml", "--run-name", "run"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let line = "1 of 3 validation images are in both splits, first image 1 (the same as training image 1)";
    assert!(warnings(&outcome)[0].contains(line), "{outcome:#?}");
    let resume = || workplace.call(&["resume", "logs/run", "--set", "run.max_epochs=2"]);
    write("train", &[1, 2, 3, 4, 50, 6], &[0, 1, 2, 0, 1, 2]);
    refused(&resume(), CHECKPOINT, &["1 of 6 training images have different contents, first image 4"]);
    write("train", &[1, 2, 3, 4, 5, 6], &[0, 1, 2, 0, 3, 2]);
    refused(&resume(), CHECKPOINT, &["1 of 6 training images have a different class, first image 4 (3, was 1)"]);
    write("train", &[1, 2, 3, 4, 5], &[0, 1, 2, 0, 1]);
    refused(&resume(), CHECKPOINT, &["got 5 + 3 images", "want 6 + 3", "training: 1 gone, first image 5"]);
    write("train", &[1, 2, 3, 4, 5, 6], &[0, 1, 2, 0, 1, 2]);
    assert_eq!(resume().code, Some(0));
    // The run's classes differ from the ten classes of the format.
    let classes = workplace.run_folder("run").join("classes.json");
    let ten = fs::read_to_string(&classes).unwrap();
    fs::write(&classes, ten.replace("\"9\"", "\"9\",\"10\"")).unwrap();
    let outcome = workplace.call(&["evaluate", "logs/run"]);
    assert!(outcome.code != Some(0) && !outcome.stderr.contains("out of bounds"), "{outcome:#?}");
}
