//! Every family in a run: hooks on every parameter, full measurement, adaptive clipping, bf16, a checkpoint, and a
//! bit-identical resume.

use std::fs;

use gradwatch::config::Architecture;

use crate::harness::{MEMBERS, Outcome, Workplace, checkpoints::assert_same, limit, scalars};

const FAMILIES: &str = r#"
run = { max_steps = 4, threads = 1, precision = "bf16" }
data = { source = "synthetic", samples = 32, classes = 4, image_size = 32, channels = 3, batch_size = 8 }
model = { name = "mlp" }
optimizer = { learning_rate = 0.01 }
clipping = { mode = "agc" }
monitor = { parameters_every_steps = 1, histograms_every_steps = 1, layers_every_steps = 1, weights_every_steps = 1 }
checkpoint = { every_epochs = 0, every_steps = 1 }
evaluate = { every_epochs = 1 }
"#;

fn succeeds(outcome: &Outcome, what: &str) {
    assert_eq!(outcome.code, Some(0), "{what}: {outcome:#?}");
}

#[test]
fn every_family_trains_watched_and_clipped_in_bf16_and_resumes_to_the_last_bit() {
    let workplace = Workplace::new(FAMILIES);
    for (name, width) in MEMBERS {
        let [model, width] = [format!("model.name={name}"), format!("model.width={width}")];
        let settings = [model.as_str(), &width];
        let whole = workplace.train(&format!("{name}-whole"), &settings);
        let run = format!("{name}-resumed");
        let start = ["train", "small.toml", "--run-name", &run, "--set", settings[0], "--set", settings[1]];
        let killed = limit::output(workplace.command(&start).env("GRADWATCH_FAULT", "kill step 2"));
        assert_eq!(killed.status.code(), None, "{killed:#?}");
        succeeds(&workplace.call(&["resume", &format!("logs/{run}")]), &run);
        assert_same(&workplace.run_folder(&run), &whole, name.name());

        let start = fs::read_to_string(whole.join("metrics.jsonl")).unwrap();
        let start: serde_json::Value = serde_json::from_str(start.lines().next().unwrap()).unwrap();
        let parameters = start["parameters"].as_array().unwrap();
        let seen = scalars(&whole);
        for parameter in parameters {
            let tag = format!("grad_norm/{}", parameter["name"].as_str().unwrap());
            assert!((0..4).all(|step| seen.contains_key(&(tag.clone(), step))), "{name}: {tag}");
        }
        assert!(seen.keys().any(|(tag, _)| tag.starts_with("layer_grad_rms/")), "{name} has no depth profile");
    }
}

#[test]
fn transformers_need_patches_that_fit_and_say_which_do() {
    let workplace = Workplace::new(FAMILIES);
    let outcome =
        workplace.call(&["train", "small.toml", "--set", "model.name=vit_tiny", "--set", "data.image_size=28"]);
    assert_eq!(outcome.code, Some(5), "{outcome:#?}");
    let want = "model.patch_size: got 16, which does not divide images of 28x28 (height x width); use 14";
    assert!(outcome.stderr.contains(want), "{outcome:#?}");
}

#[test]
fn models_are_listed_with_what_they_cost() {
    let workplace = Workplace::new(FAMILIES);
    let list = workplace.call(&["models"]);
    succeeds(&list, "models");
    let line = list.stdout.lines().find(|line| line.starts_with("mobilenet_v2 ")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words, ["mobilenet_v2", "3.50", "M", "301", "M", "3x224x224", "relu6", "batch"]);
    assert_eq!(list.stdout.lines().count(), Architecture::ALL.len() + 1);

    let layers = workplace.call(&["models", "lenet5", "--classes", "10"]);
    succeeds(&layers, "models lenet5");
    let rows: Vec<Vec<&str>> = layers.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[2], ["conv2", "16x10x10", "2416", "240000"]);
    assert_eq!(layers.stdout.lines().count(), 7);

    let json = workplace.call(&["models", "vit_tiny", "--format", "json", "--set", "model.width=64"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["name"], json["layers"][0]["name"].as_str()), (&"vit_tiny".into(), Some("patch_embed.proj")));
    let wrong = workplace.call(&["models", "resnet19"]);
    assert_eq!(wrong.code, Some(3), "{wrong:#?}");
}
