//! Images of several classes, or none: trained, resumed, evaluated, and predicted.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde_json::Value;

use crate::harness::{Workplace, scalars, shapes, write_shapes};

const TOML: &str = r#"
run = { max_epochs = 10, threads = 1 }
data = { source = "csv", path = "shapes/labels.csv", multi_label = true, image_size = 24, batch_size = 20 }
model = { name = "cnn", width = 8, depth = 2, normalization = "batch" }
loss = { name = "bce" }
optimizer = { name = "adam", learning_rate = 0.01 }
evaluate = { explain_images = 2 }
"#;

const CONFIG: i32 = 3;
const DATA: i32 = 4;

fn workplace() -> Workplace {
    let workplace = Workplace::new(TOML);
    write_shapes(&workplace.path().join("shapes"), 240, 80);
    workplace
}

fn succeeds(workplace: &Workplace, arguments: &[&str]) -> String {
    let outcome = workplace.call(arguments);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    outcome.stdout
}

#[test]
fn a_run_finds_all_shapes_of_an_image_and_says_so_everywhere() {
    let workplace = workplace();
    let checked = succeeds(&workplace, &["check", "small.toml", "--show-batch", "batch.png"]);
    // 240 images: every second has a square, two of five a disc, and every seventh a bar.
    assert!(checked.contains("240 images in 3 classes, 35 to 120 per class, 62 without a class"), "{checked}");
    let run = workplace.train("run", &[]);
    let lines = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    let (training, validation) = (&last["train"], &last["validation"]);
    assert!(validation["mean_average_precision"].as_f64().unwrap() > 0.95, "{validation}");
    assert!(validation["exact_match"].as_f64().unwrap() > 0.8, "{validation}");
    assert!(["accuracy", "top5_accuracy", "confusion"].iter().all(|key| validation.get(key).is_none()), "{validation}");
    assert!(training.get("mean_average_precision").is_none() && training["micro_f1"].is_f64(), "{training}");

    let tags: BTreeSet<String> = scalars(&run).into_keys().map(|(tag, _)| tag).collect();
    for tag in ["mean_average_precision/validation", "micro_f1/train", "average_precision_per_class/disc"] {
        assert!(tags.contains(tag), "{tag} {tags:#?}");
    }
    assert!(!tags.iter().any(|tag| tag.contains("accuracy")), "{tags:#?}");
    let classes = fs::read_to_string(run.join("classes.json")).unwrap();
    assert_eq!(classes, r#"{"multi_label":["bar","disc","square"]}"#);
    assert!(fs::read_to_string(run.join("data.jsonl")).unwrap().contains("[\"images/000.png\",[0,1,2],"));
    let report = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(report.contains("<th scope=\"row\">disc</th>"), "no figures of classes");
    assert!(["NaN%", ">NaN", "<h3>Accuracy"].iter().all(|text| !report.contains(text)), "an accuracy");

    evaluates_predicts_and_exports(&workplace);
}

fn evaluates_predicts_and_exports(workplace: &Workplace) {
    let text = succeeds(workplace, &["evaluate", "logs/run", "--weights", "last"]);
    assert!(text.contains("mean_average_precision ") && text.contains("average_precision\n"), "{text}");
    assert!(!workplace.path().join("logs/run/evaluation/confusion_matrix.png").exists());
    let arguments = ["predict", "logs/run", "shapes/images", "--format", "json", "--top", "2", "--weights", "last"];
    let json = succeeds(workplace, &arguments);
    let all: Vec<Value> = serde_json::from_str(&json).unwrap();
    let mut exact = 0;
    for (number, of_image) in (0..).zip(&all) {
        let predictions = of_image["predictions"].as_array().unwrap();
        let shares: Vec<f64> = predictions.iter().map(|one| one["probability"].as_f64().unwrap()).collect();
        assert!(shares.len() == 2 && shares[0] >= shares[1], "{of_image}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let classes: BTreeSet<String> = of_image["classes"].as_array().unwrap().iter().map(text).collect();
        for (one, share) in predictions.iter().zip(shares) {
            assert_eq!(classes.contains(&text(&one["class"])), share >= 0.5, "{of_image}");
        }
        let want: BTreeSet<String> = shapes(number).1.into_iter().map(String::from).collect();
        exact += u32::from(classes == want);
    }
    assert!(all.len() == 320 && exact > 250, "{exact} of {}", all.len());
    // Image 3 has no shape.
    let text = succeeds(workplace, &["predict", "logs/run", "shapes/images/003.png", "--weights", "last"]);
    assert_eq!(text, "shapes/images/003.png  no class\n");
    succeeds(workplace, &["export", "logs/run", "--format", "torchscript", "--output", "net.pt"]);
    let images = ["shapes/images/004.png", "shapes/images/006.png"];
    let of_run = succeeds(workplace, &[&["predict", "logs/run"][..], &images].concat());
    let of_file = succeeds(workplace, &[&["predict", "net.pt"][..], &images].concat());
    assert_eq!(of_run, of_file);
}

#[test]
fn a_run_refuses_to_resume_with_other_labels() {
    let workplace = workplace();
    workplace.train("run", &["run.max_epochs=1", "evaluate.explain_images=0"]);
    let manifest = workplace.path().join("shapes/labels.csv");
    let rows = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, rows.replace("images/004.png,square,", "images/004.png,square|bar,")).unwrap();
    let refused = workplace.call(&["resume", "logs/run", "--set", "run.max_epochs=2"]);
    assert_eq!(refused.code, Some(10), "{refused:#?}");
    let told = "1 of 240 training images have a different class, first shapes/images/004.png (bar|square, was square)";
    assert!(refused.stderr.contains(told), "{refused:#?}");
}

#[test]
fn settings_and_labels_that_do_not_fit_are_told_in_one_line() {
    let workplace = workplace();
    let tell = |settings: &[&str]| {
        let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        let outcome = workplace.call(&[&["check", "small.toml"][..], &settings].concat());
        (outcome.code, outcome.stderr.lines().last().unwrap_or_default().to_owned())
    };
    let cases = BTreeMap::from([
        ("loss.name=cross_entropy", "loss.name: got cross_entropy, want \"bce\" with data.multi_label = true"),
        ("data.source=folder", "data.multi_label: got true with folder, want it only with csv"),
        ("data.split_by=position", "data.split_by: got position, want name with data.multi_label = true"),
        ("loss.label_smoothing=0.1", "loss.label_smoothing: got 0.1, want 0 with data.multi_label = true"),
        ("evaluate.metric=accuracy", "evaluate.metric: got accuracy, want one of exact_match, f1, loss, mean_average_"),
    ]);
    for (setting, want) in cases {
        let (code, told) = tell(&[setting]);
        assert!(code == Some(CONFIG) && told.contains(want), "{setting}: {told}");
    }
    // Off, an empty label is an error, and a label with a separator is a class with a hint.
    let (code, told) = tell(&["data.multi_label=false"]);
    assert!(code == Some(DATA) && told.contains("label is empty; data.multi_label = true allows"), "{told}");
    let manifest = workplace.path().join("shapes/labels.csv");
    let rows = fs::read_to_string(&manifest).unwrap().replace(",,", ",none,");
    fs::write(&manifest, rows).unwrap();
    let outcome = workplace.call(&["check", "small.toml", "--set", "data.multi_label=false"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(outcome.stderr.contains("if it separates classes, set data.multi_label = true"), "{outcome:#?}");
}
