//! Runs on part of the training images: the same part for every seed, in `check`, and after a resume.

use std::{fs, path::Path};

use serde_json::Value;

use crate::harness::{
    Outcome, Workplace,
    checkpoints::{assert_same, begin, resume},
    write_images,
};

const DATA: i32 = 4;
const CHECKPOINT: i32 = 10;

/// 30 of 90 images: 4 steps per epoch.
const TOML: &str = r#"
run = { max_epochs = 3, threads = 1 }
model = { name = "mlp", width = 8, depth = 1 }
monitor = { parameters_every_steps = 1 }
checkpoint = { every_epochs = 0, every_steps = 1 }

[data]
source = "idx"
path = "images"
train_images = 30
label_shuffle_epochs = [1]
batch_size = 8
workers = 2
augment = { random_crop = 2 }
"#;

fn workplace() -> Workplace {
    let workplace = Workplace::new(TOML);
    write_images(&workplace.path().join("images"), 90);
    workplace
}

fn refused(outcome: &Outcome, code: i32, words: &[&str]) {
    assert_eq!(outcome.code, Some(code), "{outcome:#?}");
    let errors: Vec<&str> = outcome.stderr.lines().filter(|line| line.starts_with("gradwatch: ")).collect();
    assert!(errors.len() == 1 && words.iter().all(|word| outcome.stderr.contains(word)), "{words:?} in {outcome:#?}");
}

/// The lines of the training images in the record of a run.
fn trained(run: &Path) -> Vec<String> {
    let record = fs::read_to_string(run.join("data.jsonl")).unwrap();
    let mut lines = record.lines().map(str::to_owned);
    let header: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    assert_eq!(header["validation"], 40);
    lines.take(header["training"].as_u64().unwrap() as usize).collect()
}

#[test]
fn runs_of_any_seed_train_on_the_same_images_and_on_more_if_asked() {
    let workplace = workplace();
    let checked = workplace.call(&["check", "small.toml"]);
    assert!(checked.stdout.contains("training    30 images in 10 classes, "), "{checked:#?}");
    assert!(checked.stdout.contains("4 batches per epoch"), "{checked:#?}");
    assert!(checked.stdout.contains("validation  40 images in 10 classes"), "{checked:#?}");

    let first = workplace.train("first", &["data.label_shuffle_epochs=[]"]);
    let images = trained(&first);
    assert_eq!(images.len(), 30);
    assert_eq!(trained(&workplace.train("other", &["run.seed=7"])), images);
    let more = trained(&workplace.train("more", &["data.train_images=60"]));
    assert!(more.len() == 60 && images.iter().all(|image| more.contains(image)), "{images:?} {more:?}");
    assert_eq!(trained(&workplace.train("all", &["data.train_images=0"])).len(), 90);

    // The evaluation uses all validation images.
    let evaluated = workplace.call(&["evaluate", "logs/first"]);
    assert!(evaluated.code == Some(0) && evaluated.stdout.contains("40 images from "), "{evaluated:#?}");
    assert!(!evaluated.stderr.contains("differ"), "{evaluated:#?}");
}

#[test]
fn a_run_that_is_killed_resumes_on_the_same_images_to_the_last_bit() {
    let workplace = workplace();
    let whole = workplace.train("whole", &[]);
    // In the second epoch, after the labels are shuffled.
    let run = begin(&workplace, "run", 6);
    let resumed = resume(&workplace, "run", &[]);
    assert_eq!(resumed.code, Some(0), "{resumed:#?}");
    assert_same(&run, &whole, "resumed");
    assert_eq!(trained(&run), trained(&whole));
}

#[test]
fn too_many_images_and_a_resume_with_another_number_are_refused() {
    let workplace = workplace();
    let many = ["train", "small.toml", "--set", "data.train_images=91"];
    refused(
        &workplace.call(&many),
        DATA,
        &["train-images-idx3-ubyte has 90 training images, but data.train_images = 91: lower it, or set it to 0"],
    );
    assert!(!workplace.path().join("logs").exists());

    workplace.train("run", &["run.max_epochs=1"]);
    let other = ["--set", "run.max_epochs=2", "--set", "data.train_images=20"];
    let resume = |more: &[&str]| resume(&workplace, "run", &[&other[..], more].concat());
    refused(&resume(&[]), CHECKPOINT, &["data.train_images = 20 (was 30)"]);
    let key = ["--allow-change", "data.train_images"];
    refused(&resume(&key), CHECKPOINT, &["got 20 + 40 images", "want 30 + 40", "--allow-change data.files"]);
    let permitted = resume(&[&key[..], &["--allow-change", "data.files"]].concat());
    assert_eq!(permitted.code, Some(0), "{permitted:#?}");
}
