//! What the writer wrote, read back by the real TensorBoard.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::Command,
};

use gradwatch::events::{EventFile, Histogram, SummaryWriter, WallTime};
use serde_json::Value;

/// Every value that TensorBoard sees in a folder.
fn read(logdir: &Path) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join(".deps/tensorboard/bin/python");
    assert!(python.exists(), "TensorBoard is not set up: run `make setup`");
    let output = Command::new(python).arg(root.join("tests/read_events.py")).arg(logdir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn number(value: &Value) -> f64 {
    // Python's repr says nan and inf as Rust reads them.
    value.as_str().unwrap().parse().unwrap()
}

#[test]
fn every_scalar_comes_back_with_its_step_and_wall_time() {
    let logdir = tempfile::tempdir().unwrap();
    let writer = SummaryWriter::create(logdir.path()).unwrap();
    let values = [0.0, -0.0, 1.5, -3.25e-30, 1e-40, 3.4e38, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.1];
    let cases: Vec<(u64, f64, f64)> = (0..1000u64)
        .map(|index| (index * index * 9_000_000, 1.7e9 + index as f64 / 8.0, values[index as usize % values.len()]))
        .collect();
    for &(step, wall_time, value) in &cases {
        writer.scalar_at(WallTime::from_secs(wall_time), "loss/train", step, value).unwrap();
    }
    writer.close().unwrap();
    let seen = read(logdir.path());
    assert_eq!(seen.len(), cases.len());
    for (seen, (step, wall_time, value)) in seen.iter().zip(cases) {
        assert_eq!(seen["tag"], "loss/train");
        assert_eq!(seen["step"].as_u64().unwrap(), step);
        assert_eq!(number(&seen["wall_time"]), wall_time);
        let (got, want) = (number(&seen["value"]) as f32, value as f32);
        assert!(got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(), "{got} {want}");
    }
}

#[test]
fn every_bucket_of_a_histogram_comes_back() {
    let logdir = tempfile::tempdir().unwrap();
    let writer = SummaryWriter::create(logdir.path()).unwrap();
    writer.histogram("grad_histogram/fc.weight", 3u64, Histogram::of(&[0.0, 1.0, 2.0, 4.0], 4)).unwrap();
    let (limits, counts) = (vec![-1.0, 0.0, 8.0], vec![5.0, 0.0, 2.0]);
    writer.histogram("made", 4u64, Histogram::from_buckets([-2.0, 8.0], 1.0, 70.0, limits, counts)).unwrap();
    writer.close().unwrap();
    let seen = read(logdir.path());
    let list = |value: &Value| value.as_array().unwrap().iter().map(number).collect::<Vec<_>>();
    assert_eq!(seen.len(), 2);
    assert_eq!((&seen[0]["tag"], &seen[0]["step"]), (&"grad_histogram/fc.weight".into(), &3.into()));
    assert_eq!(list(&seen[0]["limits"]), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(list(&seen[0]["counts"]), [1.0; 4]);
    let moments = ["min", "max", "num", "sum", "sum_squares"].map(|name| number(&seen[0][name]));
    assert_eq!(moments, [0.0, 4.0, 4.0, 7.0, 21.0]);
    assert_eq!(list(&seen[1]["limits"]), [-1.0, 0.0, 8.0]);
    assert_eq!(list(&seen[1]["counts"]), [5.0, 0.0, 2.0]);
}

#[test]
fn text_and_images_reach_their_plugins() {
    let logdir = tempfile::tempdir().unwrap();
    let writer = SummaryWriter::create(logdir.path()).unwrap();
    writer.text("config", 0u64, "# a *table*\n|ü|").unwrap();
    writer.image("curve", 5u64, b"\x89PNG not looked at".to_vec(), [640, 480, 3]).unwrap();
    writer.close().unwrap();
    let seen = read(logdir.path());
    let [image, text] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!((&text["text"], &text["plugin"]), (&"# a *table*\n|ü|".into(), &"text".into()));
    assert_eq!((&image["width"], &image["height"], &image["step"]), (&640.into(), &480.into(), &5.into()));
    assert_eq!(image["bytes"], "89504e47206e6f74206c6f6f6b6564206174");
}

#[test]
fn what_was_queued_is_on_disk_after_a_panic_and_after_a_flush() {
    let logdir = tempfile::tempdir().unwrap();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let writer = SummaryWriter::create(logdir.path().join("panic")).unwrap();
        (0..1000u64).for_each(|step| writer.scalar("a", step, 1.0).unwrap());
        panic!("the loop fails");
    }));
    assert!(outcome.is_err());
    assert_eq!(read(&logdir.path().join("panic")).len(), 1000);

    let writer = SummaryWriter::create(logdir.path().join("flush")).unwrap();
    (0..1000u64).for_each(|step| writer.scalar("a", step, 1.0).unwrap());
    writer.flush().unwrap();
    assert_eq!(EventFile::open(writer.path()).unwrap().filter(Result::is_ok).count(), 1001);
}

#[test]
fn entries_of_several_threads_are_all_there() {
    let logdir = tempfile::tempdir().unwrap();
    let writer = SummaryWriter::create(logdir.path()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let writer = &writer;
            scope.spawn(move || {
                (0..5000u64).for_each(|step| writer.scalar(format!("t{thread}"), step, step as f64).unwrap());
            });
        }
    });
    let path = writer.path().to_owned();
    writer.close().unwrap();
    let events = EventFile::open(&path).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(events.len(), 1 + 4 * 5000);
}
