//! The writer's output, read back by the real TensorBoard.

use std::{collections::BTreeMap, path::Path, process::Command};

use gradwatch::events::{
    Band, Category, Chart, Histogram, Layout, PrecisionRecall, Step, SummaryWriter, THRESHOLDS, Value, WallTime,
    exact_tag,
};
use serde_json::{Value as Json, json};

use crate::harness::{SMALL, Workplace, event_files, limit};

/// Every value that TensorBoard reads in a folder, as read_events.py prints it.
fn read(logdir: &Path) -> Vec<Json> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".deps/tensorboard/bin/python");
    assert!(python.exists(), "{} is missing: run `make setup`", python.display());
    let output = limit::output(Command::new(python).arg(root.join("tests/read_events.py")).arg(logdir));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Writes values one second apart; returns the stored values and those that the histogram dashboard gets.
fn written_and_read(values: &[(&str, u64, Value)]) -> (Vec<Json>, Vec<Json>) {
    let logdir = tempfile::tempdir().unwrap();
    let writer = SummaryWriter::create(logdir.path()).unwrap();
    for (index, (tag, step, value)) in values.iter().enumerate() {
        writer.value_at(wall_time(index), *tag, *step, value.clone()).unwrap();
    }
    writer.close().unwrap();
    let (stored, shown): (Vec<_>, Vec<_>) =
        read(logdir.path()).into_iter().partition(|seen| seen["kind"] != "dashboard");
    assert_eq!(stored.len(), values.len());
    (stored, shown)
}

fn wall_time(index: usize) -> WallTime {
    WallTime::from_secs(1.7e9 + index as f64 + 0.123_456).unwrap()
}

/// A float in Python's repr, which Rust parses, including NaN and infinities.
fn number(seen: &Json) -> f64 {
    seen.as_str().unwrap().parse().unwrap()
}

fn numbers(seen: &Json) -> Vec<f64> {
    seen.as_array().unwrap().iter().map(number).collect()
}

fn assert_key(seen: &Json, kind: &str, tag: &str, step: u64, index: usize) {
    assert_eq!((&seen["kind"], &seen["tag"], &seen["step"]), (&kind.into(), &tag.into(), &step.into()));
    assert_eq!(number(&seen["wall_time"]), wall_time(index).as_secs(), "{seen}");
}

#[test]
fn a_curve_of_precision_and_recall_is_one_of_the_plugin_s_own() {
    let mut counts = [0u64; THRESHOLDS];
    counts[THRESHOLDS - 1] = 3;
    let curve = PrecisionRecall::new(Box::new(counts), Box::new([1; THRESHOLDS]));
    let (stored, _) = written_and_read(&[("precision_recall/cat", 5, Value::PrecisionRecall(curve))]);
    assert_key(&stored[0], "curve", "precision_recall/cat", 5, 0);
    assert_eq!(stored[0]["thresholds"], THRESHOLDS);
    let rows: Vec<Vec<f64>> = stored[0]["rows"].as_array().unwrap().iter().map(numbers).collect();
    assert_eq!(rows.iter().map(Vec::len).collect::<Vec<_>>(), [THRESHOLDS; 6]);
    // At the last threshold, three images of the class and one other are positive; 200 others are negative.
    let last: Vec<f64> = rows.iter().map(|row| row[THRESHOLDS - 1]).collect();
    assert_eq!(last, [3.0, 1.0, 200.0, 0.0, 0.75, 1.0]);
}

#[test]
fn every_scalar_comes_back_with_its_step_and_wall_time() {
    let numbers = [
        0.0,
        -0.0,
        0.1,
        -1.5,
        1e-40,
        -1e-45,
        1e-60,
        3.4e38,
        1e39,
        16_777_217.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ];
    // More values than TensorBoard keeps by default, at steps up to the largest possible one.
    let largest = i64::MAX as u64;
    let values: Vec<_> = (0..12_000)
        .map(|index: usize| {
            let step = if index == 11_999 { largest } else { (index as u64).pow(4) };
            ("loss/train", step, Value::Scalar(numbers[index % numbers.len()]))
        })
        .collect();
    let (stored, _) = written_and_read(&values);
    for (index, (seen, (tag, step, value))) in stored.iter().zip(&values).enumerate() {
        assert_key(seen, "scalar", tag, *step, index);
        let Value::Scalar(value) = value else { unreachable!() };
        let (got, want) = (number(&seen["value"]), f64::from(*value as f32));
        assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "got {got}, want {want}");
    }
    assert_eq!(Step::from(u64::MAX).get(), largest);
}

#[test]
fn every_bucket_comes_back_and_the_dashboard_gets_finite_edges_and_no_empty_ends() {
    let infinite = f64::INFINITY;
    let made = Histogram::from_buckets(
        [-0.75, 1.5],
        1.25,
        3.5,
        vec![-2.0, -1.0, 0.0, 1.0, 2.0, infinite],
        vec![0.0, 0.0, 3.0, 0.0, 1.0, 0.0],
    );
    let values = [
        ("grad_histogram/fc.weight", 3, Value::Histogram(Histogram::of(&[0.0, 1.0, 2.0, 4.0, f32::NAN], 4))),
        ("grad_histogram/fc.weight", 4, Value::Histogram(made.unwrap())),
        ("grad_histogram/fc.weight", 5, Value::Histogram(Histogram::of(&[0.25; 9], 30))),
        ("grad_histogram/fc.weight", 6, Value::Histogram(Histogram::of(&[], 30))),
    ];
    // Derived by hand: limits, counts, [min, max, num, sum, sum of squares], and rows of left edge, right edge, count.
    type Want<'a> = (&'a [f64], &'a [f64], [f64; 5], &'a [[f64; 3]]);
    let want: [Want; 4] = [
        (
            &[1.0, 2.0, 3.0, 4.0],
            &[1.0, 1.0, 1.0, 1.0],
            [0.0, 4.0, 4.0, 7.0, 21.0],
            &[[0.0, 1.0, 1.0], [1.0, 2.0, 1.0], [2.0, 3.0, 1.0], [3.0, 4.0, 1.0]],
        ),
        (
            &[0.0, 1.0, 1.5],
            &[3.0, 0.0, 1.0],
            [-0.75, 1.5, 4.0, 1.25, 3.5],
            &[[-0.75, 0.0, 3.0], [0.0, 1.0, 0.0], [1.0, 1.5, 1.0]],
        ),
        (&[0.25], &[9.0], [0.25, 0.25, 9.0, 2.25, 0.5625], &[[0.25, 0.25, 9.0]]),
        (&[], &[], [0.0; 5], &[]),
    ];
    let (stored, shown) = written_and_read(&values);
    assert_eq!(shown.len(), 4);
    for (index, (limits, counts, moments, rows)) in want.into_iter().enumerate() {
        let (tag, step, _) = &values[index];
        assert_key(&stored[index], "histogram", tag, *step, index);
        assert_eq!(numbers(&stored[index]["limits"]), limits);
        assert_eq!(numbers(&stored[index]["counts"]), counts);
        assert_eq!(numbers(&stored[index]["moments"]), moments);
        assert_key(&shown[index], "dashboard", tag, *step, index);
        let seen: Vec<_> = shown[index]["rows"].as_array().unwrap().iter().map(numbers).collect();
        assert_eq!(seen, rows);
    }
}

#[test]
fn text_and_images_reach_their_plugins() {
    let png = b"\x89PNG not looked at".to_vec();
    let text = "# a *table*\n\n|ü|\n|-|\n";
    let values = [
        ("curve", 5, Value::Image { png, width: 640, height: 480 }),
        ("config", 0, Value::Text(text.into())),
        ("config", 7, Value::Text(String::new())),
    ];
    let (stored, _) = written_and_read(&values);
    let [image, config, empty] = &stored[..] else { unreachable!() };
    assert_key(image, "image", "curve", 5, 0);
    assert_eq!((&image["width"], &image["height"]), (&640.into(), &480.into()));
    assert_eq!(image["png"], "89504e47206e6f74206c6f6f6b6564206174");
    assert_key(config, "text", "config", 0, 1);
    assert_eq!((&config["text"], &config["plugin"]), (&text.into(), &"text".into()));
    assert_key(empty, "text", "config", 7, 2);
    assert_eq!((&empty["text"], &empty["shape"]), (&"".into(), &Json::Array(vec![])));
}

#[test]
fn a_layout_is_what_the_custom_scalars_plugin_reads() {
    let band = |layer: &str| {
        let tag = |percentile| format!("{layer}/p{percentile}").into();
        Band { value: tag(50), lower: tag(5), upper: tag(95) }
    };
    let lines = Chart::Lines { title: "ü".into(), tags: vec!["norm/.*".into(), exact_tag("norm (all)")] };
    let bands = Chart::Bands { title: "bands".into(), series: vec![band("fc1"), band("fc2")] };
    let layout = Layout {
        categories: vec![
            Category { title: "open".into(), charts: vec![lines, bands], closed: false },
            Category { title: "closed".into(), charts: vec![], closed: true },
        ],
    };
    let logdir = tempfile::tempdir().unwrap();
    let writer = SummaryWriter::create(logdir.path()).unwrap();
    writer.layout(&layout).unwrap();
    writer.close().unwrap();
    let series = |layer: &str| json!({"value": format!("{layer}/p50"), "lower": format!("{layer}/p5"), "upper": format!("{layer}/p95")});
    // The plugin's JSON of a Layout message, which leaves out default values.
    let want = json!({"category": [
        {"title": "open", "chart": [
            {"title": "ü", "multiline": {"tag": ["norm/.*", r"norm \(all\)$"]}},
            {"title": "bands", "margin": {"series": [series("fc1"), series("fc2")]}},
        ]},
        {"title": "closed", "closed": true},
    ]});
    let stored = read(logdir.path());
    assert_eq!(stored.len(), 1, "{stored:?}");
    assert_eq!((&stored[0]["kind"], &stored[0]["tag"]), (&"layout".into(), &Layout::TAG.into()));
    assert_eq!((&stored[0]["plugin_tag"], &stored[0]["layout"]), (&Layout::TAG.into(), &want));
}

/// The steps of everything but the config, in TensorBoard's order.
fn steps_by_tag(run: &Path) -> BTreeMap<String, Vec<u64>> {
    let mut steps: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for seen in read(run).into_iter().filter(|seen| seen["kind"] != "dashboard" && seen["tag"] != "config") {
        steps.entry(seen["tag"].to_string()).or_default().push(seen["step"].as_u64().unwrap());
    }
    steps
}

#[test]
fn a_run_that_was_killed_and_resumed_shows_each_step_once_and_in_order() {
    let workplace = Workplace::new(&format!("{SMALL}checkpoint = {{ every_steps = 4 }}\n"));
    let whole = steps_by_tag(&workplace.train("whole", &[]));
    assert_eq!(whole["\"loss/step\""], (0..18).collect::<Vec<u64>>());
    assert_eq!(whole["\"accuracy/validation\""], [9, 18]);
    // Kills before the first step, in the middle of a write of events, after a checkpoint, and while the logs are
    // truncated; and, if checkpoints are saved only at evaluations, right after one.
    let ways: [(&str, &[&str], &str); 2] = [
        ("often", &["kill lines 1", "kill events 9", "kill renamed 3", "kill cut 1", ""], "checkpoint.every_steps=4"),
        ("epochs", &["kill renamed 2", ""], "checkpoint.every_steps=0"),
    ];
    for (name, faults, setting) in ways {
        for fault in faults {
            let arguments = ["train", "small.toml", "--run-name", name, "--resume", "auto", "--set", setting];
            let output = limit::output(workplace.command(&arguments).env("GRADWATCH_FAULT", fault));
            assert_eq!(
                output.status.success(),
                fault.is_empty(),
                "{fault}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let run = workplace.run_folder(name);
        assert!(event_files(&run).len() > 1);
        assert_eq!(steps_by_tag(&run), whole, "{name}");
    }
}
