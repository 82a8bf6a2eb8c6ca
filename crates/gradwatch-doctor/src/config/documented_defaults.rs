//! Tests that a missing key, `Default`, and the documentation agree on every default.

use std::{fs, path::Path};

use super::*;

fn document(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(path)).unwrap()
}

#[test]
fn a_missing_key_has_the_default_of_its_table() {
    let parsed = Config::parse(
        "run.max_steps = 7\ndata = { source = \"folder\", path = \"images\" }\nmodel.name = \"resnet8\"",
        "test",
    );
    let run = RunConfig { max_steps: Some(7), ..RunConfig::default() };
    let data = DataConfig { source: Source::Folder, path: "images".into(), ..DataConfig::default() };
    let model = ModelConfig::as_published(Architecture::Resnet8);
    assert_eq!(parsed.unwrap(), Config { run, data, model, ..Config::default() });
}

#[test]
fn the_default_config_lacks_only_an_end() {
    let text = Config::default().to_toml();
    assert!(Config::parse(&text, "test").unwrap_err().to_string().starts_with("config test: run.max_epochs: missing"));
    let max_epochs = ["run.max_epochs=1".to_owned()];
    let run = RunConfig { max_epochs: Some(1), ..RunConfig::default() };
    assert_eq!(Config::parse_with(&text, "test", &max_epochs).unwrap(), Config { run, ..Config::default() });
}

#[test]
fn a_default_that_depends_on_a_name_is_that_of_the_constructor() {
    let parse = |more: &str| {
        Config::parse(&format!("run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\n{more}"), "test")
            .unwrap()
    };
    for name in OptimizerName::ALL {
        assert_eq!(parse(&format!("optimizer.name = \"{name}\"")).optimizer, OptimizerConfig::new(*name));
    }
    for preset in MonitorPreset::ALL {
        assert_eq!(parse(&format!("monitor.preset = \"{preset}\"")).monitor, MonitorConfig::new(*preset));
    }
    let metric = Metric::Loss;
    let checkpoint = parse("evaluate.metric = \"loss\"").checkpoint;
    assert_eq!(checkpoint, CheckpointConfig { metric, ..CheckpointConfig::default() });
    let config = parse("[[optimizer.groups]]\nparameters = [\"fc.*\"]\n[[diagnosis.actions]]\nstop = true");
    let group = GroupConfig { parameters: vec!["fc.*".into()], ..GroupConfig::default() };
    assert_eq!(config.optimizer.groups, [group]);
    assert_eq!(config.diagnosis.actions, [Action { stop: true, ..Action::default() }]);
}

/// Keys of the commented config whose value is not the default.
const OF_THE_EXPERIMENT: [&str; 9] = [
    "data.mean",
    "data.normalize",
    "data.path",
    "data.source",
    "data.std",
    "model.name",
    "optimizer.weight_decay",
    "run.max_epochs",
    "schedule.name",
];

#[test]
fn the_commented_config_lists_every_key_with_its_default() {
    let commented = Config::parse(&document("configs/fashion-mnist-resnet8.toml"), "commented").unwrap();
    let model = ModelConfig::as_published(commented.model.name);
    let differing = |default: &Config| differences(default, &commented).into_iter().map(|difference| difference.key);
    let with_model = Config { model, ..Config::default() };
    let mut keys: Vec<String> = differing(&with_model).collect();
    keys.extend(differing(&Config::default()).filter(|key| key == "model.name"));
    keys.sort_unstable();
    assert_eq!(keys, OF_THE_EXPERIMENT);
}

#[test]
fn the_table_of_optimizers_has_the_defaults_of_the_code() {
    let page = document("docs/configuration.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let mut names = Vec::new();
    for (name, rest) in rows {
        let (Ok(name), Some((learning_rate, rest))) = (name.parse::<OptimizerName>(), rest.split_once(" | ")) else {
            continue;
        };
        let weight_decay = rest.split_once(" | ").unwrap().0;
        let OptimizerConfig { learning_rate: rate, weight_decay: decay, .. } = OptimizerConfig::new(name);
        assert_eq!((learning_rate.parse(), weight_decay.parse()), (Ok(rate), Ok(decay)), "{name}");
        names.push(name);
    }
    assert_eq!(names, OptimizerName::ALL);
}
