//! Healthy runs are silent: every architecture at its defaults, and every example config.

use std::{fs, path::Path};

use gradwatch::config::Architecture;
use serde_json::Value;

use crate::harness::{MEMBERS, Outcome, Workplace};

const HEALTHY: &str = r#"
run = { max_steps = 50, threads = 1 }
data = { source = "synthetic", samples = 400, classes = 4, image_size = 32, channels = 3, batch_size = 8, normalize = "computed" }
model = { name = "mlp" }
optimizer = { name = "adamw", learning_rate = 0.001 }
checkpoint = { every_epochs = 0 }
evaluate = { every_epochs = 0, every_steps = 25 }
"#;

/// Findings of a run that hold at its end, and those from before its first step.
fn findings(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string(folder.join("findings.jsonl")).unwrap_or_default();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let is_told = |(index, line): &(usize, &Value)| {
        let is_last = lines[index + 1..].iter().all(|later| later["rule"] != line["rule"]);
        line["first_step"] == 0 || is_last && line["state"].get("withdrawn").is_none()
    };
    let told = lines.iter().enumerate().filter(is_told);
    told.map(|(_, line)| format!("{} ({}): {}", line["rule"], line["severity"], line["cause"])).collect()
}

fn assert_healthy(outcome: &Outcome, folder: &Path, what: &str) {
    assert_eq!(outcome.code, Some(0), "{what}: {outcome:#?}");
    assert_eq!(findings(folder), Vec::<String>::new(), "{what}");
}

/// Trains the members of the families with these numbers.
fn trains_in_silence(part: usize, parts: usize) {
    let workplace = Workplace::new(HEALTHY);
    for (name, width) in MEMBERS.iter().skip(part).step_by(parts) {
        let settings = [format!("model.name={name}"), format!("model.width={width}")];
        let arguments =
            ["train", "small.toml", "--run-name", name.name(), "--set", &settings[0], "--set", &settings[1]];
        let outcome = workplace.call(&arguments);
        assert_healthy(&outcome, &workplace.run_folder(name.name()), name.name());
    }
}

#[test]
fn the_first_half_of_the_families_trains_without_a_finding() {
    trains_in_silence(0, 2);
}

#[test]
fn the_second_half_of_the_families_trains_without_a_finding() {
    trains_in_silence(1, 2);
}

#[test]
fn no_architecture_has_a_finding_before_its_first_step() {
    let workplace = Workplace::new(HEALTHY);
    for name in Architecture::ALL.iter().filter(|name| **name != Architecture::Torchscript) {
        let width = if name.name().contains("nfnet") { 16 } else { 8 };
        let settings = [format!("model.name={name}"), format!("model.width={width}")];
        let arguments = ["inspect", "small.toml", "--format", "json", "--set", &settings[0], "--set", &settings[1]];
        let outcome = workplace.call(&arguments);
        assert_eq!(outcome.code, Some(0), "{name}: {outcome:#?}");
        let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(report["findings"], serde_json::json!([]), "{name}");
    }
}

/// The config that shows what a vanishing gradient looks like.
const VANISHES: &str = "vanishing-sigmoid-mlp.toml";

#[test]
fn every_example_config_trains_without_a_finding_but_for_the_one_that_shows_a_fault() {
    let workplace = Workplace::new(HEALTHY);
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("configs")).unwrap();
    for path in entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        let file = path.file_name().unwrap().to_str().unwrap();
        let has_gray_images = ["fashion-mnist", "logistic", "vanishing"].iter().any(|start| file.starts_with(start));
        let sides = if has_gray_images {
            "data={source=\"synthetic\",image_size=28,channels=1,samples=2000,batch_size=32,normalize=\"computed\"}"
        } else {
            "data={source=\"synthetic\",image_size=64,channels=3,samples=400,batch_size=8,normalize=\"computed\"}"
        };
        let settings = [
            "evaluate.explain_images=0",
            // The run is shorter than the warm-up of some configs.
            "schedule.warmup_epochs=0.0",
            "evaluate.explain_classes=[]",
            "run.max_steps=50",
            "run.threads=1",
            "run.logdir=logs",
            "checkpoint.every_epochs=0",
            sides,
        ];
        let mut arguments = vec!["train", path.to_str().unwrap(), "--run-name", file];
        settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
        let outcome = workplace.call(&arguments);
        let folder = workplace.run_folder(file);
        if file == VANISHES {
            assert!(findings(&folder)[0].contains("vanishing"), "{:?}", findings(&folder));
        } else {
            assert_healthy(&outcome, &folder, file);
        }
    }
}
