//! Finds learning rates with range tests, and trains at them.

use std::fs;

use gradwatch::{
    config::Config,
    range_test::{Rates, range_test},
    train::train_at_rates,
};
use serde_json::Value;

use crate::harness::{SMALL, Workplace, exclusive};

const FINDING: i32 = 11;

/// An experiment on synthetic images.
fn toml(model: &str, more: &str) -> String {
    format!(
        "run = {{ max_steps = 1, threads = 1 }}\n\
         data = {{ source = \"synthetic\", samples = 600, image_size = 8, channels = 1, batch_size = 32 }}\n\
         model = {{ {model} }}\n{more}\n"
    )
}

/// Mean loss of the last steps of a short training at a constant learning rate; infinity if it diverges.
fn loss_after(toml: &str, learning_rate: f64) -> f64 {
    const STEPS: usize = 200;
    let mut losses = Vec::new();
    // Too many skipped steps are an error, and leave losses out.
    let _ = train_at_rates(Config::parse(toml, "test").unwrap(), &[learning_rate; STEPS], |step| {
        losses.push(step.loss);
        step.loss.is_finite()
    });
    let tail: Vec<f64> = losses.iter().copied().skip(STEPS - 20).collect();
    let mean = tail.iter().sum::<f64>() / 20.0;
    if tail.len() == 20 && mean.is_finite() { mean } else { f64::INFINITY }
}

#[test]
fn training_at_the_suggestion_beats_rates_thirty_times_lower_and_higher() {
    let _alone = exclusive();
    for (model, optimizer) in [
        ("name = \"mlp\", width = 64", "optimizer.name = \"sgd\""),
        ("name = \"mlp\", width = 64, normalization = \"layer\"", "optimizer.name = \"adamw\""),
        ("name = \"cnn\", width = 8, depth = 2, normalization = \"batch\"", "optimizer.name = \"sgd\""),
        ("name = \"cnn\", width = 8, depth = 2", "optimizer.name = \"lion\""),
    ] {
        let toml = toml(model, optimizer);
        let test =
            range_test(Config::parse(&toml, "test").unwrap(), Rates::new(1e-7, 10.0, 100).unwrap(), |_| {}).unwrap();
        let suggestion = test.suggestion.unwrap();
        let rate = suggestion.learning_rate;
        let [lower, at, higher] = [rate / 30.0, rate, 30.0 * rate].map(|rate| loss_after(&toml, rate));
        assert!(at < 0.9 * lower && at < 0.9 * higher, "{toml}{suggestion:?}: {lower} {at} {higher}");
    }
}

#[test]
fn the_report_gives_the_suggestion_with_its_reason_twice_alike_and_nothing_is_written() {
    let workplace = Workplace::new(SMALL);
    let call = |more: &[&str]| workplace.call(&[&["find-lr", "small.toml", "--steps", "60"], more].concat());
    let text = call(&[]);
    assert_eq!(text.code, Some(0), "{text:#?}");
    assert_eq!(text.stdout, call(&[]).stdout);
    assert!(text.stdout.lines().all(|line| line.len() <= 100), "{text:#?}");
    let unwrapped = text.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for want in ["<- suggestion", " ended at ", "the smoothed loss falls fastest at ", "--set optimizer.learning_rate="]
    {
        assert!(unwrapped.contains(want), "{want}: {text:#?}");
    }
    let json = call(&["--format", "json"]);
    let report: Value = serde_json::from_str(&json.stdout).unwrap();
    let [rate, steepest, tenth] =
        ["learning_rate", "steepest", "tenth_of_lowest"].map(|key| report["suggestion"][key].as_f64().unwrap());
    assert_eq!(rate, steepest.min(tenth));
    let steps = report["steps"].as_array().unwrap();
    assert!(steps.len() <= 60 && steps[0]["learning_rate"] == 1e-7, "{report}");
    assert!(steps.iter().take(40).all(|step| step["total_norm"].as_f64().unwrap() > 0.0), "{report}");
    // The first step of a run has the same loss and gradient.
    workplace.train("run", &["run.max_steps=1", "schedule.name=\"constant\""]);
    let metrics = fs::read_to_string(workplace.run_folder("run").join("metrics.jsonl")).unwrap();
    // The line before it describes the start of the run.
    let first: Value = serde_json::from_str(metrics.lines().nth(1).unwrap()).unwrap();
    assert_eq!((&first["loss"], &first["grad_norm"]), (&steps[0]["loss"], &steps[0]["total_norm"]), "{first}");
    fs::remove_dir_all(workplace.path().join("logs")).unwrap();
    call(&[]);
    let files: Vec<_> = fs::read_dir(workplace.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["small.toml"]);
}

#[test]
fn the_picture_is_written_and_replaces_a_file_only_if_forced() {
    let workplace = Workplace::new(SMALL);
    let call = |more: &[&str]| {
        workplace.call(&[&["find-lr", "small.toml", "--steps", "40", "--output", "curve.png"], more].concat())
    };
    let first = call(&[]);
    assert_eq!(first.code, Some(0), "{first:#?}");
    assert!(first.stdout.contains("curve.png: suggested learning rate "), "{first:#?}");
    let path = workplace.path().join("curve.png");
    let picture = image::open(&path).unwrap();
    assert_eq!((picture.width(), picture.height()), (900, 720));
    fs::write(&path, "precious").unwrap();
    let refused = call(&[]);
    assert_eq!((refused.code, &*refused.stdout), (Some(6), ""), "{refused:#?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    assert_eq!(call(&["--force"]).code, Some(0));
    assert_eq!(image::open(&path).unwrap(), picture);
    let output = workplace
        .command(&["find-lr", "small.toml", "--steps", "40", "--output", "-", "--format", "json"])
        .output()
        .unwrap();
    assert_eq!(image::load_from_memory(&output.stdout).unwrap(), picture);
    assert!(String::from_utf8(output.stderr).unwrap().contains("stdout: suggested learning rate "));
}

#[test]
fn models_that_no_learning_rate_trains_get_the_reason() {
    let sigmoid = "width = 32, depth = 12, activation = \"sigmoid\", initialization = \"xavier_normal\"";
    for (model, arguments, want) in [
        (sigmoid, &["--to", "0.01"][..], "never falls by more than its noise"),
        ("initialization = { method = \"normal\", std = 1e15 }", &[], "not finite before the first update"),
        ("width = 64", &["--from", "1e6", "--to", "1e9"], "lower --from"),
    ] {
        let workplace = Workplace::new(&toml(&format!("name = \"mlp\", {model}"), ""));
        for max_skipped_steps in ["1", "10"] {
            let set = format!("optimizer.max_skipped_steps={max_skipped_steps}");
            let call =
                |more: &[&str]| workplace.call(&[&["find-lr", "small.toml", "--set", &set], arguments, more].concat());
            let text = call(&["--output", "curve.png", "--force"]);
            assert_eq!(text.code, Some(FINDING), "{model}: {text:#?}");
            let unwrapped = text.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(unwrapped.contains("suggestion none: ") && unwrapped.contains(want), "{model}: {text:#?}");
            assert!(!text.stderr.contains("internal error"), "{model}: {text:#?}");
            assert!(image::open(workplace.path().join("curve.png")).is_ok());
            let report: Value = serde_json::from_str(&call(&["--format", "json"]).stdout).unwrap();
            assert!(report["suggestion"].is_null() && report["reason"].as_str().unwrap().contains(want), "{report}");
        }
    }
}

#[test]
fn a_suggestion_for_a_network_that_only_learns_the_class_frequencies_is_doubted() {
    let report = |model: &str| {
        let workplace = Workplace::new(&toml(model, "optimizer = { name = \"sgd\", momentum = 0.9 }"));
        let text = workplace.call(&["find-lr", "small.toml"]);
        assert_eq!(text.code, Some(0), "{text:#?}");
        let json = workplace.call(&["find-lr", "small.toml", "--format", "json"]);
        let report: Value = serde_json::from_str(&json.stdout).unwrap();
        let is_doubted = report["doubt"].as_str().is_some_and(|doubt| doubt.contains("about that of a guess (2.3"));
        assert_eq!(text.stdout.contains("but         the loss only falls to "), is_doubted, "{text:#?}{report:#?}");
        is_doubted
    };
    assert!(!report("name = \"mlp\", width = 64"));
    // The bias of the last layer starts far from the class frequencies, and the gradient vanishes before it.
    let vanishing = "name = \"mlp\", width = 32, depth = 12, activation = \"sigmoid\", initialization = { method = \"normal\", std = 0.3 }";
    assert!(report(vanishing));
}

#[test]
fn every_part_of_a_training_step_takes_part() {
    let workplace = Workplace::new(SMALL);
    let last_loss = |settings: &[&str]| {
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let arguments =
            ["find-lr", "small.toml", "--from", "1e-4", "--to", "1e-2", "--steps", "12", "--format", "json"];
        let outcome = workplace.call(&arguments.into_iter().chain(settings).collect::<Vec<_>>());
        assert!([Some(0), Some(FINDING)].contains(&outcome.code), "{outcome:#?}");
        let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(report["steps"].as_array().unwrap().len(), 12, "{outcome:#?}");
        report["steps"][11]["loss"].as_f64().unwrap()
    };
    let plain = last_loss(&[]);
    for setting in [
        "optimizer.name=\"adam\"",
        "optimizer.name=\"adamw\"",
        "optimizer.name=\"rmsprop\"",
        "optimizer.name=\"nadam\"",
        "optimizer.name=\"radam\"",
        "optimizer.name=\"lamb\"",
        "optimizer.name=\"lion\"",
        "optimizer.momentum=0",
        "optimizer.weight_decay=10",
        "optimizer.accumulation_steps=3",
        "optimizer.layer_decay=0.5",
        "optimizer.groups=[{ parameters = [\"*.weight\"], learning_rate_scale = 0.1 }]",
        "clipping.max_norm=0.01",
        "run.precision=\"bf16\"",
        "run.precision=\"fp16\"",
        "run.seed=1",
    ] {
        assert_ne!(last_loss(&[setting]), plain, "{setting}");
    }
    for setting in [
        "schedule.warmup_steps=100",
        "schedule.name=\"cosine\"",
        "ema.decay=0.9",
        "monitor.preset=\"light\"",
        "optimizer.learning_rate=3",
    ] {
        assert_eq!(last_loss(&[setting]), plain, "{setting}");
    }
}

#[test]
fn invalid_arguments_are_an_error_with_the_code_of_their_kind() {
    let workplace = Workplace::new(SMALL);
    for (arguments, code, want) in [
        (&["small.toml", "--from", "1", "--to", "0.1"][..], 2, "from learning rate 1 to 0.1 in 100 steps"),
        (&["small.toml", "--from", "0"], 2, "want 0 < from < to"),
        (&["small.toml", "--from", "-1e-3"], 2, "from learning rate -0.001 to 10 in 100 steps"),
        (&["small.toml", "--to", "inf"], 2, "want 0 < from < to"),
        (&["small.toml", "--steps", "9"], 2, "at least 10 steps"),
        (&["small.toml", "--output", "none/curve.png"], 6, "its folder does not exist"),
        (&["small.toml", "--set", "model.depht=1"], 3, "did you mean model.depth?"),
        (&["small.toml", "--device", "cuda:63"], 7, "cuda:63"),
    ] {
        let outcome = workplace.call(&[&["find-lr"], arguments].concat());
        assert_eq!((outcome.code, &*outcome.stdout), (Some(code), ""), "{arguments:?}: {outcome:#?}");
        let errors: Vec<&str> = outcome.stderr.lines().filter(|line| line.starts_with("gradwatch: ")).collect();
        assert!(errors.len() == 1 && errors[0].contains(want), "{arguments:?}: {outcome:#?}");
    }
    assert_eq!(workplace.call(&["find-lr", "small.toml", "--force"]).code, Some(2));
}
