//! Uses of trained models: predict, explain, evaluate, and export.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use gradwatch::{
    events::EventFile,
    inference::{TrainedModel, WeightsOf},
};
use image::{Rgb, RgbImage};
use serde_json::Value;
use tch::Device;

use crate::harness::{Outcome, Workplace, error, exclusive};

const CONFIG: i32 = 3;
const DATA: i32 = 4;
const MODEL: i32 = 5;
const RUN: i32 = 6;
const PARTIAL: i32 = 9;

/// Squares of one color somewhere on a gray background: red ones, green ones.
const TOML: &str = r#"
run = { max_epochs = 12, threads = 1 }
data = { source = "folder", path = "photos", image_size = 16, batch_size = 16, validation_fraction = 0.25, split_by = "position" }
model = { name = "cnn", width = 8, depth = 2, normalization = "batch" }
optimizer = { learning_rate = 0.05 }
evaluate = { explain_images = 3, explain_classes = ["red"] }
"#;

/// A 6 x 6 square of one color, at a position derived from the number.
fn photo(colour: [u8; 3], number: u32) -> RgbImage {
    let (left, top) = (number * 7 % 10, number * 3 % 10);
    RgbImage::from_fn(16, 16, |x, y| {
        let is_inside = (left..left + 6).contains(&x) && (top..top + 6).contains(&y);
        Rgb(if is_inside { colour } else { [100; 3] })
    })
}

fn workplace() -> Workplace {
    let workplace = Workplace::new(TOML);
    for (class, colour) in [("red", [230, 20, 20]), ("green", [20, 230, 20])] {
        let folder = workplace.path().join("photos").join(class);
        fs::create_dir_all(&folder).unwrap();
        (0..40).for_each(|number| photo(colour, number).save(folder.join(format!("{number}.png"))).unwrap());
    }
    workplace
}

fn succeeds(workplace: &Workplace, arguments: &[&str]) -> String {
    let outcome = workplace.call(arguments);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    outcome.stdout
}

fn refused(outcome: &Outcome, code: i32, words: &[&str]) {
    assert_eq!(outcome.code, Some(code), "{outcome:#?}");
    let last = outcome.stderr.lines().last().unwrap_or_default();
    assert!(words.iter().all(|word| last.contains(word)), "{last}");
}

#[test]
fn a_run_tells_squares_apart_points_at_them_and_goes_to_files_that_answer_alike() {
    let workplace = workplace();
    let run = workplace.train("run", &[]);
    let explained: BTreeSet<_> =
        fs::read_dir(run.join("explanations")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(explained.into_iter().collect::<Vec<_>>(), ["00-red.png", "01-red.png", "02-red.png"]);
    assert!(tags(&run).contains("explanations/00-red"));
    let report = fs::read_to_string(run.join("report.html")).unwrap();
    assert_eq!(report.matches("data:image/png;base64,").count(), 3);
    assert!(report.contains("<th scope=\"row\">red</th><td>10</td>"), "no figures of classes");

    let json = succeeds(
        &workplace,
        &["predict", "logs/run", "photos", "--format", "json", "--top", "1", "--batch-size", "7", "--weights", "last"],
    );
    let guesses: Vec<Value> = serde_json::from_str(&json).unwrap();
    let right = guesses
        .iter()
        .filter(|guess| guess["image"].as_str().unwrap().contains(guess["predictions"][0]["class"].as_str().unwrap()));
    assert_eq!((guesses.len(), right.count()), (80, 80));
    let text = succeeds(&workplace, &["predict", "logs/run", "photos/red/3.png", "--weights", "last"]);
    assert!(text.starts_with("photos/red/3.png  red 9"), "{text}");

    points_at_the_square(&run);
    let told = succeeds(
        &workplace,
        &["explain", "logs/run", "photos/red/1.png", "photos/green", "--class", "red", "--output", "why"],
    );
    assert_eq!(told.lines().count(), 41);
    assert!(
        image::open(workplace.path().join("why/1.png")).is_ok()
            && image::open(workplace.path().join("why/1-2.png")).is_ok()
    );

    exports_answer_alike(&workplace, &run);
}

/// The heat for red is at the red square, image by image.
fn points_at_the_square(run: &Path) {
    let _alone = exclusive();
    let model = TrainedModel::open(run, &WeightsOf::Best, Device::Cpu).unwrap();
    let red = model.class("red").unwrap();
    let mut inside = 0.0;
    for number in 0..10 {
        let image = photo([230, 20, 20], number);
        let pixels: Vec<u8> = (0..3).flat_map(|channel| image.pixels().map(move |pixel| pixel[channel])).collect();
        let seen = model.explain(&[pixels.into()], Some(red)).unwrap().remove(0);
        let [rows, columns] = seen.grid;
        assert!(rows > 1 && columns > 1 && seen.heat.len() == rows * columns);
        let total: f32 = seen.heat.iter().sum();
        let square = seen.heat.iter().enumerate().filter(|(place, _)| {
            let at = |place: usize, sides: usize| ((place as f64 + 0.5) * 16.0 / sides as f64) as u32;
            let (x, y) = (at(place % columns, columns), at(place / columns, rows));
            image.get_pixel(x, y)[0] == 230
        });
        inside += f64::from(square.map(|(_, heat)| heat).sum::<f32>() / total.max(f32::MIN_POSITIVE));
    }
    // A square covers 36 of 256 pixels: heat that ignores the position has 14 % of its sum there.
    assert!(inside / 10.0 > 0.42, "{} of the heat is inside the square", inside / 10.0);
}

fn exports_answer_alike(workplace: &Workplace, run: &Path) {
    succeeds(workplace, &["export", "logs/run", "--format", "safetensors", "--output", "net.safetensors"]);
    assert_eq!(
        fs::read(workplace.path().join("net.safetensors")).unwrap(),
        fs::read(run.join("weights/best.safetensors")).unwrap()
    );
    let told = succeeds(workplace, &["export", "logs/run", "--format", "torchscript", "--output", "net.pt"]);
    assert!(told.starts_with("net.pt: 14 tensors"), "{told}");
    let of_run = succeeds(workplace, &["predict", "logs/run", "photos", "--format", "json"]);
    // Uses the file's own classes and preprocessing, with another batch size than in the trace.
    let of_file = succeeds(workplace, &["predict", "net.pt", "photos", "--format", "json"]);
    let shares = |text: &str| {
        let all: Vec<Value> = serde_json::from_str(text).unwrap();
        all.iter().map(|one| one["predictions"][0]["probability"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    assert!(error(&shares(&of_file), &shares(&of_run)) < 1e-6);
    // The exported program trains further, and is exported again as a program.
    let settings =
        ["model = { name = \"torchscript\", path = \"net.pt\" }", "evaluate.explain_images=0", "run.max_steps=3"];
    let more = fs::read_to_string(workplace.path().join("small.toml")).unwrap();
    let toml: String = more
        .lines()
        .filter(|line| !line.starts_with("model") && !line.starts_with("evaluate"))
        .fold(String::new(), |text, line| text + line + "\n");
    fs::write(workplace.path().join("small.toml"), toml + settings[0] + "\n").unwrap();
    workplace.train("again", &["run.max_steps=3"]);
    succeeds(workplace, &["export", "logs/again", "--format", "torchscript", "--output", "again.pt"]);
    let of_run = succeeds(workplace, &["predict", "logs/again", "photos", "--format", "json"]);
    let of_file = succeeds(workplace, &["predict", "again.pt", "photos", "--format", "json"]);
    assert_eq!(of_file, of_run);
    refused(&workplace.call(&["explain", "logs/again", "photos"]), MODEL, &["torchscript has no feature maps"]);
}

#[test]
fn an_evaluation_leaves_figures_pictures_and_curves_and_takes_other_images() {
    let workplace = workplace();
    let run = workplace.train("run", &["evaluate.explain_images=0"]);
    let text = succeeds(&workplace, &["evaluate", "logs/run"]);
    assert!(text.starts_with("20 images from photos, weights logs/run/weights/best.safetensors"), "{text}");
    let last = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let best: Vec<Value> = last.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let best = best.iter().filter(|line| line["kind"] == "evaluation").map(|line| line["validation"].clone());
    let best =
        best.max_by(|one, other| one["accuracy"].as_f64().unwrap().total_cmp(&other["accuracy"].as_f64().unwrap()));
    let metrics = fs::read_to_string(run.join("evaluation/metrics.json")).unwrap();
    let metrics: Value = serde_json::from_str(&metrics).unwrap();
    assert_eq!(metrics["accuracy"], best.unwrap()["accuracy"]);
    assert!(image::open(run.join("evaluation/confusion_matrix.png")).is_ok());
    let tags = tags(&run.join("evaluation"));
    for tag in
        ["accuracy/evaluation", "f1/evaluation", "confusion_matrix", "precision_recall/green", "precision_recall/red"]
    {
        assert!(tags.contains(tag), "{tag} of {tags:?}");
    }

    // Two green images, and one that does not decode; the classes have names.
    let other = workplace.path().join("other/green");
    fs::create_dir_all(&other).unwrap();
    for number in [50, 51] {
        photo([20, 230, 20], number).save(other.join(format!("{number}.png"))).unwrap();
    }
    let json =
        succeeds(&workplace, &["evaluate", "logs/run", "--data", "other", "--format", "json", "--output", "figures"]);
    let metrics: Value = serde_json::from_str(&json).unwrap();
    let support: Vec<_> =
        metrics["per_class"].as_array().unwrap().iter().map(|class| class["support"].clone()).collect();
    assert_eq!(support, [2, 0]);
    assert!(workplace.path().join("figures/metrics.json").is_file());
    succeeds(&workplace, &["evaluate", "logs/run"]);
    let events = fs::read_dir(run.join("evaluation"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("tfevents"));
    assert_eq!(events.count(), 1, "those of the evaluation before are gone");
    fs::rename(&other, workplace.path().join("other/blue")).unwrap();
    refused(&workplace.call(&["evaluate", "logs/run", "--data", "other"]), DATA, &["other", "blue"]);
}

fn tags(folder: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let path = files.into_iter().find(|path| path.to_string_lossy().contains("tfevents")).unwrap();
    let events = EventFile::open(&path).unwrap().map(Result::unwrap);
    events
        .flat_map(|event| event.what)
        .flat_map(|what| match what {
            gradwatch::events::proto::What::Summary(summary) => summary.value,
            _ => Vec::new(),
        })
        .map(|value| value.tag)
        .collect()
}

#[test]
fn what_cannot_be_used_is_refused_with_a_way_out() {
    let workplace = workplace();
    let run = workplace.train("run", &["evaluate.explain_images=0", "run.max_steps=2"]);
    let predict = |run: &str, image: &str| workplace.call(&["predict", run, image]);
    refused(&predict("logs/none", "photos"), RUN, &["logs/none is not a run folder", "config.toml"]);
    refused(&predict("logs/run", "absent.png"), DATA, &["absent.png", "No such file"]);
    fs::create_dir(workplace.path().join("empty")).unwrap();
    refused(&predict("logs/run", "empty"), DATA, &["empty contains no image in a supported format"]);
    fs::write(workplace.path().join("page.pt"), "<html>").unwrap();
    refused(&predict("page.pt", "photos"), MODEL, &["an HTML page"]);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/torchscript_cnn.pt");
    refused(&predict(golden.to_str().unwrap(), "photos"), MODEL, &["without classes.json", "gradwatch export"]);
    let ema = workplace.call(&["predict", "logs/run", "photos", "--weights", "ema"]);
    refused(&ema, MODEL, &["last_ema.safetensors does not exist", "ema.decay"]);
    let class = workplace.call(&["explain", "logs/run", "photos", "--class", "blue"]);
    refused(&class, CONFIG, &["no class \"blue\"", "green, red"]);

    fs::write(workplace.path().join("photos/red/bad.png"), b"\x89PNG\r\n\x1a\nrubbish").unwrap();
    let some = predict("logs/run", "photos/red");
    assert_eq!((some.code, some.stdout.lines().count()), (Some(PARTIAL), 40), "{some:#?}");
    assert!(some.stderr.contains("photos/red/bad.png cannot be decoded and is skipped"), "{some:#?}");

    fs::remove_file(workplace.path().join("photos/red/bad.png")).unwrap();
    fs::remove_file(run.join("preprocessing.json")).unwrap();
    refused(&predict("logs/run", "photos"), RUN, &["preprocessing.json", "gradwatch resume"]);
    let settings = ["evaluate.explain_classes=[\"blue\"]", "evaluate.explain_images=1"].map(|set| ["--set", set]);
    let unknown = workplace.call(&[&["train", "small.toml"][..], &settings.concat()].concat());
    refused(&unknown, CONFIG, &["evaluate.explain_classes: got \"blue\"", "green, red"]);
    let flat = workplace.call(&["train", "small.toml", "--set", "model.name=mlp"]);
    refused(&flat, CONFIG, &["evaluate.explain_images: mlp has no feature maps"]);
}

#[test]
fn explaining_changes_nothing_of_a_run() {
    let workplace = workplace();
    let settings = ["run.max_steps=6", "evaluate.every_steps=2", "model.dropout=0.2"];
    let with = workplace.train("with", &settings);
    let without = workplace.train("without", &[&settings[..], &["evaluate.explain_images=0"]].concat());
    let weights = |run: &PathBuf| fs::read(run.join("weights/last.safetensors")).unwrap();
    assert_eq!(weights(&with), weights(&without));
}
