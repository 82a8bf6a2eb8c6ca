//! Final and best metrics of a run, and its number of steps, from `metrics.jsonl`.

use gradwatch_doctor::json::nan_from_null;
use serde::{Deserialize, Deserializer};

use super::{Values, named, unread::Unread};

pub(super) const FILE: &str = "metrics.jsonl";
/// Longest line to read, in bytes. The confusion matrix of thousands of classes takes about 100 MB.
const MOST_LINE_BYTES: u64 = 1 << 30;

#[derive(Deserialize)]
struct Evaluation {
    step: u64,
    train: Metrics,
    validation: Metrics,
}

#[derive(Deserialize)]
struct Metrics {
    #[serde(deserialize_with = "nan_from_null")]
    loss: f64,
    /// Multi-label data has none.
    #[serde(default, deserialize_with = "some_or_nan")]
    accuracy: Option<f64>,
}

#[derive(Deserialize)]
struct Step {
    step: u64,
}

fn some_or_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    nan_from_null(deserializer).map(Some)
}

/// Metrics of a run, and how far they go.
pub(super) struct MetricsFile {
    pub values: Values,
    /// Number of steps.
    pub steps: Option<u64>,
    /// Step of the last evaluation.
    pub evaluated_at: Option<u64>,
}

/// Reads the metrics of a run. Without an evaluation, they are missing; `None` if the file cannot be read.
pub(super) fn read(unread: &mut Unread<'_>) -> Option<MetricsFile> {
    let (evaluations, steps) = read_lines(unread)?;
    let last = evaluations.last();
    let best = |is_better: fn(&f64, &f64) -> bool, figure: fn(&Metrics) -> Option<f64>| {
        let figures =
            evaluations.iter().filter_map(|evaluation| Some((evaluation.step, figure(&evaluation.validation)?)));
        // The first of equal ones. Any number is better than NaN.
        figures.reduce(|best, next| if is_better(&next.1, &best.1) || best.1.is_nan() { next } else { best })
    };
    let best_loss = best(f64::lt, |metrics| Some(metrics.loss));
    let best_accuracy = best(f64::gt, |metrics| metrics.accuracy);
    let best_step = best_accuracy.or(best_loss).filter(|(_, value)| !value.is_nan()).map(|(step, _)| step as f64);
    let values = named([
        ("steps", steps.map(|steps| steps as f64).into()),
        ("final_train_loss", last.map(|last| last.train.loss).into()),
        ("final_train_accuracy", last.and_then(|last| last.train.accuracy).into()),
        ("final_validation_loss", last.map(|last| last.validation.loss).into()),
        ("final_validation_accuracy", last.and_then(|last| last.validation.accuracy).into()),
        ("best_validation_loss", best_loss.map(|(_, loss)| loss).into()),
        ("best_validation_accuracy", best_accuracy.map(|(_, accuracy)| accuracy).into()),
        ("best_step", best_step.into()),
    ]);
    Some(MetricsFile { values, steps, evaluated_at: last.map(|last| last.step) })
}

impl MetricsFile {
    /// Whether it goes as far as the event files, which the run writes at the same time: `last_step` is the highest step
    /// in them, and `evaluated_at` that of the last evaluation.
    pub(super) fn reaches(&self, last_step: Option<u64>, evaluated_at: Option<u64>) -> bool {
        self.steps >= last_step && self.evaluated_at >= evaluated_at
    }
}

/// The evaluations, and the number of steps taken; `None` if the file was not read to its end.
fn read_lines(unread: &mut Unread<'_>) -> Option<(Vec<Evaluation>, Option<u64>)> {
    let (mut last_step, mut evaluations) = (Vec::new(), Vec::<Evaluation>::new());
    let damaged = unread.read_lines(FILE, MOST_LINE_BYTES, |line| {
        // Parsing every step would take most of the time.
        let is_object = line.starts_with(b"{\"kind\":\"") && line.ends_with(b"}\n");
        if line.starts_with(b"{\"kind\":\"evaluation\"") {
            let evaluation = serde_json::from_slice::<Evaluation>(line).ok();
            let is_valid = evaluation.is_some();
            evaluations.extend(evaluation);
            return is_valid;
        }
        if is_object && line.starts_with(b"{\"kind\":\"step\"") {
            std::mem::swap(line, &mut last_step);
        }
        is_object
    });
    // A step line has the index of its step, an evaluation the number of steps before it.
    let after_last = serde_json::from_slice::<Step>(&last_step).ok().map(|last| last.step + 1);
    let evaluated = evaluations.last().map(|evaluation| evaluation.step);
    damaged.map(|_| (evaluations, after_last.max(evaluated)))
}
