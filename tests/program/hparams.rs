//! The HParams page of a study, as the real TensorBoard serves it.

use std::{collections::BTreeMap, path::Path, process::Command};

use gradwatch_study::{Cell, Column, ColumnKind, HparamsPage, Results, Row, write_hparams};
use serde_json::{Value, json};

use crate::harness::{
    SMALL, Workplace,
    checkpoints::{self, assert_same, begin, resume},
    event_files, limit, scalars,
};

const PAGE: HparamsPage<'_> = HparamsPage {
    description: "Which rate?",
    columns: &["best_validation_accuracy"],
    tags: &["accuracy/validation", "loss/validation"],
};

/// The answers of the three requests of the page, as read_hparams.py prints them.
fn shown(logdir: &Path) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".deps/tensorboard/bin/python");
    assert!(python.exists(), "{} is missing: run `make setup`", python.display());
    let output = limit::output(Command::new(python).arg(root.join("tests/read_hparams.py")).arg(logdir));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// One row per (run, optimizer, learning rate, seed, best accuracy). The last one is of a run that failed.
fn results(workplace: &Workplace, runs: &[(&str, &str, f64, u64, f64)]) -> Results {
    let column = |name: &str, kind| Column { name: name.into(), kind };
    let measures = ["state", "steps", "best_validation_accuracy", "seconds"];
    let columns = [
        vec![column("optimizer", ColumnKind::Axis), column("optimizer.learning_rate", ColumnKind::Axis)],
        vec![column("seed", ColumnKind::Seed)],
        measures.map(|name| column(name, ColumnKind::Measure)).into(),
    ];
    let row = |(index, &(run, optimizer, rate, seed, best)): (usize, &(&str, &str, f64, u64, f64))| {
        let state = if index + 1 < runs.len() { "finished" } else { "failed" };
        let numbers = |numbers: &[f64]| numbers.iter().copied().map(Cell::Number).collect::<Vec<_>>();
        let cells = [
            vec![Cell::Text(optimizer.into())],
            numbers(&[rate, seed as f64]),
            vec![Cell::Text(state.into())],
            numbers(&[18.0, best, 2.5]),
        ];
        Row { run: run.into(), folder: workplace.run_folder(run), cells: cells.concat() }
    };
    Results { columns: columns.concat(), rows: runs.iter().enumerate().map(row).collect() }
}

/// The last value of a run's own series.
fn last(run: &Path, tag: &str) -> (i64, f64) {
    let values = scalars(run);
    let (key, bits) = values.iter().rfind(|((own, _), _)| own == tag).unwrap();
    (key.1, f64::from(f32::from_bits(*bits)))
}

/// Value and step by tag.
fn metrics(session: &Value) -> BTreeMap<String, (f64, i64)> {
    let metric = |metric: &Value| {
        let tag = metric["name"]["tag"].as_str().unwrap().to_owned();
        (tag, (metric["value"].as_f64().unwrap(), metric["trainingStep"].as_i64().unwrap()))
    };
    session["metricValues"].as_array().unwrap().iter().map(metric).collect()
}

#[test]
fn tensorboard_shows_hyperparameters_results_and_the_runs_own_series() {
    let workplace = Workplace::new(SMALL);
    let runs = [("a", "sgd", 0.05, 1, 0.5), ("b", "sgd", 0.05, 2, 0.75), ("c", "adam", 0.001, 1, 0.25)];
    for (run, optimizer, rate, seed, _) in runs {
        let settings = [
            format!("optimizer.name={optimizer}"),
            format!("optimizer.learning_rate={rate}"),
            format!("run.seed={seed}"),
        ];
        workplace.train(run, &settings.each_ref().map(String::as_str));
    }
    let logdir = workplace.path().join("logs");
    let own = ["a", "b", "c"]
        .map(|run| PAGE.tags.iter().map(|tag| last(&workplace.run_folder(run), tag)).collect::<Vec<_>>());
    assert_eq!(write_hparams(&logdir, &results(&workplace, &runs), PAGE).unwrap(), Vec::<String>::new());
    let shown = shown(&logdir);

    let experiment = &shown["experiment"];
    assert_eq!(experiment["description"], "Which rate?");
    let infos: Vec<_> = experiment["hparamInfos"]
        .as_array()
        .unwrap()
        .iter()
        .map(|info| json!([info["name"], info["type"], info["domainDiscrete"], info["differs"]]))
        .collect();
    assert_eq!(
        infos,
        [
            json!(["optimizer", "DATA_TYPE_STRING", ["sgd", "adam"], true]),
            json!(["optimizer.learning_rate", "DATA_TYPE_FLOAT64", [0.05, 0.001], true]),
        ]
    );
    let tags: Vec<_> = experiment["metricInfos"].as_array().unwrap().iter().map(|info| &info["name"]["tag"]).collect();
    assert_eq!(tags, ["study/best_validation_accuracy", "accuracy/validation", "loss/validation"]);

    let groups: BTreeMap<&str, &Value> =
        shown["groups"].as_array().unwrap().iter().map(|group| (group["name"].as_str().unwrap(), group)).collect();
    let names = ["optimizer=adam, optimizer.learning_rate=0.001", "optimizer=sgd, optimizer.learning_rate=0.05"];
    assert_eq!(groups.keys().copied().collect::<Vec<_>>(), names);
    let [adam, sgd] = names.map(|name| groups[name]);
    assert_eq!(sgd["hparams"], json!({"optimizer": "sgd", "optimizer.learning_rate": 0.05}));
    assert_eq!(adam["hparams"], json!({"optimizer": "adam", "optimizer.learning_rate": 0.001}));

    let sessions = [&sgd["sessions"][0], &sgd["sessions"][1], &adam["sessions"][0]];
    for (index, session) in sessions.into_iter().enumerate() {
        let (name, _, _, _, best) = runs[index];
        let status = if name == "c" { "STATUS_FAILURE" } else { "STATUS_SUCCESS" };
        assert_eq!((&session["name"], &session["status"]), (&json!(name), &json!(status)));
        let seconds = session["endTimeSecs"].as_f64().unwrap() - session["startTimeSecs"].as_f64().unwrap();
        assert!((seconds - 2.5).abs() < 1e-6, "{session}");
        let [(step, accuracy), (_, loss)] = own[index][..] else { unreachable!() };
        let want = [
            ("accuracy/validation".to_owned(), (accuracy, step)),
            ("loss/validation".to_owned(), (loss, step)),
            ("study/best_validation_accuracy".to_owned(), (best, 18)),
        ];
        assert_eq!(metrics(session), BTreeMap::from(want));
        // The page draws all values of the run's own series.
        let series = shown["evaluations"][name]["accuracy/validation"].as_array().unwrap();
        let steps: Vec<_> = series.iter().map(|value| value[1].as_i64().unwrap()).collect();
        assert_eq!((steps, series[1][2].as_f64().unwrap()), (vec![9, 18], accuracy));
        assert_eq!(shown["evaluations"][name]["study/best_validation_accuracy"].as_array().unwrap().len(), 1);
    }
    // The line of repetitions has their mean.
    assert_eq!(metrics(sgd)["study/best_validation_accuracy"], (0.625, 18));
    assert_eq!(metrics(sgd)["accuracy/validation"].0, (own[0][0].1 + own[1][0].1) / 2.0);
}

#[test]
fn a_run_that_is_on_the_page_resumes_and_is_diagnosed_as_any_other() {
    let workplace = checkpoints::workplace();
    workplace.train("whole", &[]);
    let run = begin(&workplace, "run", 9);
    let logdir = workplace.path().join("logs");
    let write = || {
        let runs = [("whole", "sgd", 0.05, 1, 0.5), ("run", "sgd", 0.05, 1, 0.5)];
        write_hparams(&logdir, &results(&workplace, &runs), PAGE).unwrap()
    };
    let diagnosed = |name: &str| {
        let outcome = workplace.call(&["diagnose", &format!("logs/{name}"), "--format", "json"]);
        outcome.stdout.replace(&format!("logs/{name}"), "RUN")
    };
    let before = diagnosed("run");
    assert_eq!(write(), Vec::<String>::new());
    assert_eq!((diagnosed("run"), event_files(&run).len()), (before, 2));
    let outcome = resume(&workplace, "run", &[]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
    assert_eq!(write(), Vec::<String>::new());
    // Two sessions and the hyperparameters after them.
    assert_eq!(event_files(&run).len(), 3);
    assert_same(&run, &workplace.run_folder("whole"), "resumed");
    assert_eq!(diagnosed("run"), diagnosed("whole"));
    // The file of the study itself is no run.
    let all = workplace.call(&["diagnose", "logs", "--format", "json"]);
    assert!(all.stdout.contains("logs/run") && all.stdout.contains("logs/whole"), "{all:#?}");
}
