//! Thousands of classes: output of a run and an evaluation grows linearly with the classes, not quadratically.

use std::{fs, path::Path};

use gradwatch::{
    checkpoint::{FOLDER, Loaded},
    disk::{NamedTensors, TensorFile, read_tensors},
};
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use crate::harness::{
    Workplace,
    checkpoints::{assert_same, begin, checkpoints, resume},
    last_weights,
};

/// Three images per class: a row of the whole confusion matrix would be longer than all other data about its class.
fn experiment(classes: usize) -> String {
    format!(
        r#"
run = {{ max_epochs = 1, threads = 1 }}
data = {{ source = "synthetic", samples = {}, classes = {classes}, image_size = 8, channels = 1, batch_size = 64 }}
model = {{ name = "mlp", width = 8, depth = 1 }}
optimizer = {{ learning_rate = 0.1, momentum = 0.0 }}
checkpoint = {{ every_steps = 2, keep_last = 3 }}
monitor = {{ every_steps = 1 }}
"#,
        3 * classes
    )
}

fn size(path: &Path) -> u64 {
    if path.is_dir() {
        return fs::read_dir(path).unwrap().map(|entry| size(&entry.unwrap().path())).sum();
    }
    fs::metadata(path).unwrap().len()
}

fn lines(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_a_run_of_thousands_of_classes_writes_beside_its_weights_is_short() {
    let classes = 4000;
    let workplace = Workplace::new(&experiment(classes));
    let run = workplace.train("run", &["run.max_steps=1"]);
    // The header, one step, and one evaluation. As a matrix, each of its two confusions would take 32 MB.
    assert!(size(&run.join("metrics.jsonl")) < 50_000, "{}", size(&run.join("metrics.jsonl")));
    let lines = lines(&run);
    assert_eq!(lines[0]["class_counts"], json!([[2, 4000]]));
    let evaluation = lines.iter().find(|line| line["kind"] == "evaluation").unwrap();
    for part in ["train", "validation"] {
        let figures = &evaluation[part];
        assert_eq!((&figures["classes"], figures["per_class"].as_array().unwrap().len()), (&json!(classes), 50));
        assert!(figures.get("confusion").is_none() && figures["accuracy"].is_f64());
    }
    let told = evaluation["validation"]["most_confused"].as_array().unwrap();
    assert!((1..=50).contains(&told.len()) && told.iter().all(|cell| cell[0] != cell[1]), "{told:?}");
    let newest = checkpoints(&run).pop().unwrap();
    let weights = size(&newest.join("model.safetensors"));
    assert!(weights > 4 * 9 * classes as u64);
    // Three numbers of eight bytes in the sums, and a name.
    let beside = size(&newest) - weights;
    assert!(beside < 40 * classes as u64 + 100_000, "{beside}");
    // SGD without momentum has no state.
    assert!(size(&newest.join("optimizer.safetensors")) < 100);
    // No series per class.
    let report = size(&run.join("report.html"));
    // The record of the images has a line for each image.
    let apart = [FOLDER, "weights", "data.jsonl"].map(|name| size(&run.join(name)));
    let all = size(&run) - apart.iter().sum::<u64>();
    assert!(all - report < 60 * classes as u64 + 400_000, "{all} {report}");
    assert!(report < 500_000, "{report}");
}

#[test]
fn an_evaluation_of_thousands_of_classes_can_be_read() {
    let classes = 1500;
    let workplace = Workplace::new(&experiment(classes));
    let run = workplace.train("run", &["run.max_steps=2"]);
    let evaluation = run.join("evaluation");
    fs::create_dir(&evaluation).unwrap();
    // From an evaluation by an earlier version, which drew the first 1024 classes.
    fs::write(evaluation.join("confusion_matrix.png"), "old").unwrap();
    let outcome = workplace.call(&["evaluate", "logs/run"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    let text = outcome.stdout;
    assert!(text.contains("the 20 classes of 1500 with the lowest F1 (--format json prints all):"), "{text}");
    assert!(text.contains("no confusion matrix picture for 1500 classes (metrics.json has all cells)"), "{text}");
    assert!(text.lines().count() < 45, "{text}");
    assert!(!evaluation.join("confusion_matrix.png").exists());
    let figures: Value = serde_json::from_slice(&fs::read(evaluation.join("metrics.json")).unwrap()).unwrap();
    assert_eq!(figures["per_class"].as_array().unwrap().len(), classes);
    let cells: Vec<[u64; 3]> = serde_json::from_value(figures["confusion_cells"].clone()).unwrap();
    // One image of each class is held back.
    let mut support = vec![0; classes];
    cells.iter().for_each(|[label, _, images]| support[*label as usize] += images);
    assert_eq!(support, vec![1; classes]);
    let hits: u64 = cells.iter().filter(|[label, prediction, _]| label == prediction).map(|[.., images]| images).sum();
    assert_eq!(figures["accuracy"], json!(hits as f64 / classes as f64));
    // At most 100 curves of six rows of 201 numbers in four bytes.
    let events = fs::read_dir(&evaluation).unwrap().map(|entry| entry.unwrap().path());
    let events: u64 = events.filter(|path| path.to_string_lossy().contains("tfevents")).map(|path| size(&path)).sum();
    assert!((100 * 6 * 201 * 4..100 * 6 * 201 * 4 + 50_000).contains(&events), "{events}");
}

#[test]
fn a_run_of_many_classes_goes_on_where_it_was_killed() {
    let workplace = Workplace::new(&experiment(600));
    let whole = workplace.train("whole", &[]);
    let run = begin(&workplace, "run", 7);
    assert_eq!(resume(&workplace, "run", &[]).code, Some(0));
    assert_same(&run, &whole, "600 classes");
}

/// A matrix with these row sums, column sums, and diagonal.
fn matrix_of(counts: &Tensor) -> Tensor {
    let counts = Vec::<i64>::try_from(counts).unwrap();
    let classes = counts.len() / 3;
    let (support, rest) = counts.split_at(classes);
    let (predicted, hits) = rest.split_at(classes);
    let mut left: Vec<i64> = predicted.iter().zip(hits).map(|(predicted, hits)| predicted - hits).collect();
    let mut matrix = vec![0i64; classes * classes];
    for label in 0..classes {
        matrix[label * classes + label] = hits[label];
        for _ in hits[label]..support[label] {
            let most =
                (0..classes).filter(|&prediction| prediction != label).max_by_key(|&prediction| left[prediction]);
            let prediction = most.filter(|&prediction| left[prediction] > 0).unwrap();
            left[prediction] -= 1;
            matrix[label * classes + prediction] += 1;
        }
    }
    Tensor::from_slice(&matrix)
}

/// Rewrites a file of a checkpoint, and updates its size and hash in the manifest, which is sealed by the hash of its
/// own text.
fn rewrite(checkpoint: &Path, name: &str, bytes: &[u8]) {
    fs::write(checkpoint.join(name), bytes).unwrap();
    let path = checkpoint.join("manifest.json");
    let sealed: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut manifest = sealed["manifest"].clone();
    let files = manifest["files"].as_array_mut().unwrap();
    let file = files.iter_mut().find(|file| file["name"] == name).unwrap();
    file["bytes"] = json!(bytes.len());
    file["blake3"] = json!(blake3::hash(bytes).to_hex().to_string());
    let text = manifest.to_string();
    let seal = blake3::hash(text.as_bytes()).to_hex();
    fs::write(path, format!("{{\"blake3\":\"{seal}\",\"manifest\":{text}}}")).unwrap();
}

fn rewrite_tensors(checkpoint: &Path, name: &str, tensors: &NamedTensors) {
    let mut file = TensorFile::default();
    file.fill(tensors).unwrap();
    rewrite(checkpoint, name, file.bytes().unwrap());
}

#[test]
fn a_checkpoint_with_the_whole_matrix_and_with_momentum_of_zeros_is_gone_on_from() {
    let workplace = Workplace::new(&experiment(150));
    let whole = workplace.train("whole", &[]);
    // The checkpoint of step 2 is complete before that of step 4 starts.
    let run = begin(&workplace, "run", 4);
    let newest = checkpoints(&run).pop().unwrap();
    let read = |name: &str| read_tensors(&fs::read(newest.join(name)).unwrap()).unwrap();
    let mut training = read("training.safetensors");
    let sums = training.iter_mut().find(|(name, _)| name == "tally.classes").unwrap();
    assert!(sums.1.sum(Kind::Int64).int64_value(&[]) > 0);
    *sums = ("tally.confusion".to_owned(), matrix_of(&sums.1));
    rewrite_tensors(&newest, "training.safetensors", &training);
    let trained = read("model.safetensors").into_iter();
    let momentum = trained.map(|(name, tensor)| (format!("{name}.momentum_buffer"), tensor.zeros_like())).collect();
    rewrite_tensors(&newest, "optimizer.safetensors", &momentum);
    let mut host: Value = serde_json::from_slice(&fs::read(newest.join("host.json")).unwrap()).unwrap();
    let class = json!({ "class": "0", "support": 1, "precision": 0.0, "recall": 0.0, "f1": 0.0 });
    host["last_validation"] = json!({
        "loss": 5.0, "accuracy": 0.0, "top5_accuracy": 0.0, "precision": 0.0, "recall": 0.0, "f1": 0.0,
        "per_class": vec![class; 150], "confusion": vec![vec![0; 150]; 150],
    });
    host["facts"]["class_counts"] = json!(vec![2; 150]);
    rewrite(&newest, "host.json", &serde_json::to_vec(&host).unwrap());
    Loaded::read(&newest).unwrap();
    let outcome = resume(&workplace, "run", &[]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert!(outcome.stderr.contains(&*newest.file_name().unwrap().to_string_lossy()), "{outcome:#?}");
    assert_eq!(last_weights(&run), last_weights(&whole));
    // The training metrics cover all images, before and after the checkpoint.
    let evaluation = |run: &Path| lines(run).into_iter().find(|line| line["kind"] == "evaluation").unwrap();
    let (mut got, mut want) = (evaluation(&run), evaluation(&whole));
    for line in [&mut got, &mut want] {
        line.as_object_mut().unwrap().remove("elapsed_secs");
    }
    assert_eq!(got, want);
}
