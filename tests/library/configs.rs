//! The example configs: each one parses, and the commented config contains every key.

use std::{collections::HashSet, fs, path::Path};

use gradwatch::{
    config::{Config, Source},
    data::ImageShape,
    model,
};
use gradwatch_study::Study;
use tch::Device;
use toml::{Table, Value};

fn configs() -> impl Iterator<Item = std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file())
}

/// Collects every key of a table with its path.
fn keys(table: &Table, path: &str, found: &mut Vec<String>) {
    for (key, value) in table {
        let path = format!("{path}{key}");
        match value {
            Value::Table(inner) => keys(inner, &format!("{path}."), found),
            _ => found.push(path),
        }
    }
}

#[test]
fn every_example_config_is_valid() {
    let mut count = 0;
    for path in configs() {
        Config::load(&path, &[]).unwrap();
        count += 1;
    }
    assert!(count >= 4, "{count}");
}

#[test]
fn every_example_study_is_valid_in_all_its_runs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/studies");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let mut count = 0;
    for path in paths {
        let grid = Study::load(&path).unwrap().grid().unwrap();
        assert!(grid.invalid.is_empty() && !grid.plans.is_empty(), "{}: {:?}", path.display(), grid.invalid);
        let mut built = HashSet::new();
        for (plan, Config { data, model, .. }) in grid.plans.iter().zip(&grid.configs) {
            // Fashion-MNIST and MNIST have a size of their own.
            let [channels, height, width] = match data.source {
                Source::Synthetic => [data.channels, data.image_size.height, data.image_size.width],
                _ => [1, 28, 28],
            };
            if built.insert(format!("{model:?} {height}")) {
                let network = model::build(model, ImageShape { channels, height, width }, 10, Device::Cpu);
                assert!(network.is_ok(), "{}: {}: {:?}", path.display(), plan.name, network.err());
            }
        }
        count += 1;
    }
    assert!(count >= 5, "{count}");
}

#[test]
fn the_commented_config_writes_out_every_key() {
    let path = configs().find(|path| path.ends_with("fashion-mnist-resnet8.toml")).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let (mut resolved, mut written) = (Vec::new(), Vec::new());
    keys(&Config::load(&path, &[]).unwrap().to_toml().parse().unwrap(), "", &mut resolved);
    keys(&text.parse().unwrap(), "", &mut written);
    let missing: Vec<&String> = resolved.iter().filter(|key| !written.contains(key)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Every key of the commented config, including keys in comments, with the value shown. Keys of tables in a list have
/// `[]` after the name of the list.
fn explained_keys(text: &str) -> Vec<(String, Value)> {
    let (mut section, mut found) = (String::new(), Vec::new());
    for line in text.lines() {
        let line = line.trim_start_matches("# ");
        if let Some(name) = line.strip_prefix("[[").and_then(|rest| rest.split_once("]]")) {
            section = format!("{}[].", name.0);
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            section = format!("{}.", name.0);
        } else if let Some((key, value)) = line.split_once(" = ")
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            && let Ok(mut table) = format!("value = {value}").parse::<Table>()
        {
            found.extend(table.remove("value").map(|value| (format!("{section}{key}"), value)));
        }
    }
    found
}

/// A config with this text as the value of `key`, and the other settings that the key requires.
fn with_value(base: &Table, key: &str, value: &str) -> String {
    let mut table = base.clone();
    let (path, last) = key.rsplit_once('.').unwrap();
    let set = |table: &mut Table, key: &str| table.insert(key.to_owned(), Value::String("@value@".into()));
    if let Some(list) = path.strip_suffix("[]") {
        let (outer, inner) = list.split_once('.').unwrap();
        let needs = ["parameters = [\"*\"]", "stop = true", "rule = \"VanishingGradient\""];
        let needs = needs[["groups", "actions", "sagemaker"].iter().position(|name| *name == inner).unwrap()];
        let mut one: Table = needs.parse().unwrap();
        set(&mut one, last);
        let outer = table.get_mut(outer).and_then(Value::as_table_mut).unwrap();
        outer.insert(inner.to_owned(), Value::Array(vec![Value::Table(one)]));
    } else {
        let inner =
            path.split('.').fold(&mut table, |table, name| table.get_mut(name).unwrap().as_table_mut().unwrap());
        set(inner, last);
        if key == "loss.class_weights" {
            inner.insert("class_balance".into(), Value::String("given".into()));
        }
        if key == "model.path" {
            inner.retain(|key, _| key == "name" || key == "path");
            inner.insert("name".into(), Value::String("torchscript".into()));
        }
    }
    toml::to_string(&table).unwrap().replace("\"@value@\"", value)
}

/// Values that are invalid for every key of a type other than string, and numbers that are invalid for all keys except
/// those below.
const WRONG_TYPES: [&str; 5] = ["\"x\"", "\"\"", "{}", "[[]]", "[\"x\", 1]"];
const SENSELESS: [&str; 10] =
    ["-1", "-1e-3", "1e-320", "1e39", "1e308", "-1e308", "nan", "inf", "-inf", "9223372036854775808"];
const SENSELESS_LISTS: [&str; 7] =
    ["[nan]", "[inf]", "[1e308]", "[1e-320]", "[nan, nan]", "[1e308, 1e308]", "[1e-320, 1e-320]"];
/// Numbers of either sign; numbers that may be infinite; and numbers for which 2^63 - 1 is valid.
const SIGNED: [&str; 3] = ["model.initialization.mean", "model.initialization.value", "data.mean"];
const INFINITE: [&str; 2] = ["clipping.norm_type", "clipping.zclip.max_grad_norm"];
const ANY_WHOLE: [&str; 1] = ["run.seed"];
/// Numbers that may be this large: they make a run diverge on purpose.
const DIVERGING: [&str; 4] = [
    "optimizer.learning_rate",
    "schedule.warmup_learning_rate",
    "schedule.min_learning_rate",
    "model.initialization.std",
];
/// Numbers that must not be 0.
const NOT_ZERO: [&str; 46] = [
    "run.max_epochs",
    "run.max_steps",
    "run.max_minutes",
    "data.batch_size",
    "data.validation_fraction",
    "data.image_size",
    "data.channels",
    "data.crop_fraction",
    "data.resize",
    "data.shuffle_buffer",
    "data.augment.repeats",
    "data.augment.auto.num_ops",
    "data.augment.random_erasing.count",
    "data.classes",
    "data.samples",
    "data.prefetch",
    "model.groups",
    "model.patch_size",
    "model.width",
    "model.depth",
    "model.initialization.gain",
    "optimizer.eps",
    "optimizer.layer_decay",
    "optimizer.accumulation_steps",
    "optimizer.max_skipped_steps",
    "optimizer.groups[].max_norm",
    "schedule.decay_epochs",
    "schedule.decay_rate",
    "schedule.restart_factor",
    "schedule.power",
    "schedule.pct_start",
    "schedule.div_factor",
    "schedule.final_div_factor",
    "clipping.max_norm",
    "clipping.norm_type",
    "clipping.clip_value",
    "clipping.agc.clip_factor",
    "clipping.agc.eps",
    "clipping.autoclip.history",
    "clipping.zclip.z_thresh",
    "clipping.zclip.max_grad_norm",
    "clipping.zclip.warmup_steps",
    "clipping.zclip.clip_factor",
    "clipping.adagc.lambda_abs",
    "clipping.adagc.lambda_rel",
    "checkpoint.keep_last",
];

#[test]
fn every_number_has_bounds_and_what_is_beyond_them_is_told_on_one_line() {
    let path = configs().find(|path| path.ends_with("fashion-mnist-resnet8.toml")).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let base: Table = text.parse().unwrap();
    // Keys that are documented in the comments of other keys.
    let more = [("run.max_steps", Value::Integer(1)), ("run.max_minutes", Value::Float(1.0))];
    let keys = explained_keys(&text).into_iter().chain(more.map(|(key, value)| (key.to_owned(), value)));
    let (mut accepted, mut count, mut zeros) = (Vec::new(), 0, 0);
    for (key, default) in keys {
        let mut check = |value: &str, may_be: bool| {
            let toml = with_value(&base, &key, value);
            match Config::parse(&toml, "test") {
                Ok(config) => {
                    assert_eq!(Config::parse(&config.to_toml(), "again").unwrap(), config, "{key} = {value}");
                    accepted.extend((!may_be).then(|| format!("{key} = {value}")));
                }
                Err(error) => {
                    let error = error.to_string();
                    assert_eq!(error.lines().count(), 1, "{error}");
                    let told = [&*key.replace("[]", ""), "got ", "want "].iter().all(|part| error.contains(part));
                    assert!(told || error.contains(" is not valid TOML: line "), "{key} = {value}: {error}");
                }
            }
        };
        let is_in = |list: &[&str]| list.contains(&&*key);
        let is_number = matches!(default, Value::Integer(_) | Value::Float(_));
        let is_list = default.as_array().is_some_and(|list| list.iter().all(|value| !value.is_str()));
        for value in WRONG_TYPES {
            let is_text = default.is_str() || default.as_array().is_some_and(|list| list.iter().all(Value::is_str));
            check(value, is_text);
        }
        if !is_number && !is_list {
            continue;
        }
        count += 1;
        let may_be = |value: &str| {
            let is_negative = ["-1", "-1e-3", "[-1.0]"].contains(&value);
            (is_negative && is_in(&SIGNED)) || (["inf", "[inf]"].contains(&value) && is_in(&INFINITE))
        };
        if is_number {
            SENSELESS.iter().for_each(|value| check(value, may_be(value)));
            ["true", "[]", "[1.0]"].iter().for_each(|value| check(value, false));
            check("9223372036854775807", is_in(&ANY_WHOLE) || is_in(&DIVERGING));
            check("0", !is_in(&NOT_ZERO));
            zeros += usize::from(is_in(&NOT_ZERO));
        } else {
            SENSELESS_LISTS.iter().for_each(|value| check(value, may_be(value)));
            check("[-1.0]", may_be("[-1.0]"));
            ["1", "true"].iter().for_each(|value| check(value, false));
        }
    }
    assert!(accepted.is_empty(), "{accepted:#?}");
    assert!(count > 100, "{count}");
    assert_eq!(zeros, NOT_ZERO.len(), "a key of the list is not explained");
}

#[test]
fn values_that_people_use_lie_in_the_bounds() {
    let base = "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\n";
    for values in [
        "optimizer = { name = \"adamw\", learning_rate = 6e-5, weight_decay = 0.3, betas = [0.9, 0.95], eps = 1e-15 }",
        "optimizer = { name = \"rmsprop\", eps = 1.0, alpha = 0.9, momentum = 0.9 }",
        "optimizer = { learning_rate = 12.8, momentum = 0.999, max_skipped_steps = 1000000, accumulation_steps = 4096 }",
        "optimizer = { learning_rate = 0, layer_decay = 0.65, head_only_epochs = 3 }",
        "run = { max_steps = 1000000000, seed = 9223372036854775807, max_minutes = 0.05 }",
        "schedule = { name = \"cosine\", warmup_steps = 10000, min_learning_rate = 1e-7, restart_epochs = 0.5, restart_factor = 2 }",
        "schedule = { name = \"one_cycle\", div_factor = 1, final_div_factor = 1e8, pct_start = 0.02 }",
        "ema.decay = 0.99999",
        "clipping = { mode = \"norm\", max_norm = 1e9, norm_type = inf }",
        "data = { source = \"synthetic\", batch_size = 65536, samples = 1000000, prefetch = 64, workers = 64 }",
        "data = { source = \"synthetic\", normalize = \"given\", mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] }",
        "loss = { class_balance = \"given\", class_weights = [0.0, 1.0, 1000.0] }",
        "loss.label_smoothing = 0.1",
        "model = { name = \"mlp\", dropout = 0.9, width = 65536, depth = 1000, initialization = { method = \"normal\", std = 1e-9 } }",
        "checkpoint = { keep_last = 1000000, keep_every = 1000, every_minutes = 720.5 }",
        "evaluate = { every_epochs = 0, every_steps = 5000, batch_size = 8192 }",
        "monitor = { every_steps = 0, first_steps = 1000, recent_steps = 1000 }",
        "early_stopping = { patience = 50, min_delta = 1e-5 }",
    ] {
        // A table of the base is replaced by the table of the case.
        let table = values.split(['.', ' ']).next().unwrap();
        let kept: String = base
            .lines()
            .filter(|line| !line.starts_with(&format!("{table}.")))
            .map(|line| format!("{line}\n"))
            .collect();
        if let Err(error) = Config::parse(&format!("{kept}{values}"), "values") {
            panic!("{values}: {error}");
        }
    }
}

#[test]
fn what_goes_by_evaluations_is_refused_where_there_are_none() {
    let parse = |more: &str| {
        let toml = format!(
            "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\nevaluate.every_epochs = 0\n{more}"
        );
        Config::parse(&toml, "test").map_err(|error| error.to_string())
    };
    assert!(!parse("").unwrap().evaluate.is_on());
    assert!(parse("evaluate.every_steps = 3\nearly_stopping.patience = 1").unwrap().evaluate.is_on());
    for (more, key) in [
        ("early_stopping.patience = 1", "early_stopping.patience: got 1 "),
        ("schedule.name = \"plateau\"", "schedule.name: got plateau"),
        ("evaluate.explain_images = 2", "evaluate.explain_images: got 2 "),
    ] {
        let error = parse(more).unwrap_err();
        assert!(error.contains(key) && error.contains("want evaluate.every_epochs"), "{error}");
    }
}

/// Time limit for the worst config of this size, on a busy machine.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

#[test]
fn a_file_of_very_many_or_very_strange_keys_is_refused_in_no_time() {
    let base = "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\n";
    let many: String = (0..90_000).map(|index| format!("k{index:x}=1\n")).collect();
    let long = format!("{} = 1", "x".repeat(900_000));
    let text = format!("run.device = \"{}\"\nmodel.activation = \"{}\"", "d".repeat(400_000), "relu".repeat(100_000));
    let nested = format!("a = {}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let dotted = format!("{}b = 1", "a.".repeat(100_000));
    let tables = format!("a = {}", "{b = ".repeat(50_000));
    let groups = "[[optimizer.groups]]\nparameters = []\n".repeat(20_000);
    for (what, more) in [
        ("many", &many),
        ("long", &long),
        ("text", &text),
        ("nested", &nested),
        ("dotted", &dotted),
        ("tables", &tables),
        ("groups", &groups),
    ] {
        let started = std::time::Instant::now();
        let error = Config::parse(&format!("{base}{more}"), "test").map(drop).unwrap_err().to_string();
        assert!(started.elapsed() < PATIENCE, "{what}: {:?}", started.elapsed());
        // At most 20 problems have a line of their own, between their number and the number of the others.
        assert!(error.lines().count() <= 22 && error.len() < 10_000, "{what}: {} bytes", error.len());
    }
    let error = Config::parse(&format!("{base}{many}"), "test").unwrap_err().to_string();
    assert!(error.ends_with("and 89980 more"), "{error}");
}

#[test]
fn an_override_names_no_table_in_a_table_without_end() {
    let path = configs().next().unwrap();
    let error = Config::load(&path, &[format!("{}b=1", "a.".repeat(30_000))]).unwrap_err().to_string();
    assert!(error.contains("want key=value") && error.len() < 1000, "{error}");
}

#[test]
fn a_config_is_a_regular_file_of_at_most_a_megabyte() {
    let folder = tempfile::tempdir().unwrap();
    let load = |path: &Path| Config::load(path, &[]).unwrap_err().to_string();
    let missing = load(&folder.path().join("none.toml"));
    assert!(missing.ends_with("No such file or directory (os error 2); want the path of a TOML file"), "{missing}");
    assert!(load(Path::new("/dev/zero")).contains("it is a device, not a regular file; want the path of a TOML file"));
    assert!(load(folder.path()).contains("it is a folder, not a regular file"));
    let pipe = folder.path().join("pipe.toml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(load(&pipe).contains("it is a pipe, not a regular file"));
    let large = folder.path().join("large.toml");
    fs::write(&large, "#".repeat((1 << 20) + 1)).unwrap();
    assert!(load(&large).contains("it has 1048577 bytes, and the limit is 1048576"), "{}", load(&large));
}
