//! Final and best metrics of a run, and its number of steps, from `metrics.jsonl`.

use std::{
    io::{self, BufReader},
    path::Path,
};

use gradwatch_doctor::json::nan_from_null;
use gradwatch_events::disk::{Folder, read_line};
use serde::{Deserialize, Deserializer};

use super::{Values, named};

const FILE: &str = "metrics.jsonl";
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

/// Reads the metrics of a run. Without an evaluation, they are missing.
pub(super) fn read(run: &Path, notes: &mut Vec<String>) -> Values {
    let (evaluations, steps) = match read_lines(run) {
        Ok(lines) => lines,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Values::new(),
        Err(error) => {
            notes.push(format!("{} cannot be read: {error}", run.join(FILE).display()));
            return Values::new();
        }
    };
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
    named([
        ("steps", steps.map(|steps| steps as f64).into()),
        ("final_train_loss", last.map(|last| last.train.loss).into()),
        ("final_train_accuracy", last.and_then(|last| last.train.accuracy).into()),
        ("final_validation_loss", last.map(|last| last.validation.loss).into()),
        ("final_validation_accuracy", last.and_then(|last| last.validation.accuracy).into()),
        ("best_validation_loss", best_loss.map(|(_, loss)| loss).into()),
        ("best_validation_accuracy", best_accuracy.map(|(_, accuracy)| accuracy).into()),
        ("best_step", best_step.into()),
    ])
}

/// The evaluations, and the number of steps taken.
fn read_lines(run: &Path) -> io::Result<(Vec<Evaluation>, Option<u64>)> {
    let mut file = BufReader::new(Folder::open(run)?.open_file(FILE)?);
    let (mut line, mut last_step, mut evaluations) = (Vec::new(), Vec::new(), Vec::<Evaluation>::new());
    while read_line(&mut file, &mut line, MOST_LINE_BYTES)? {
        if line.starts_with(b"{\"kind\":\"evaluation\"") {
            // The last line may be incomplete.
            evaluations.extend(serde_json::from_slice::<Evaluation>(&line).ok());
        } else if line.starts_with(b"{\"kind\":\"step\"") {
            std::mem::swap(&mut line, &mut last_step);
        }
    }
    // A step line has the index of its step, an evaluation the number of steps before it.
    let after_last = serde_json::from_slice::<Step>(&last_step).ok().map(|last| last.step + 1);
    let evaluated = evaluations.last().map(|evaluation| evaluation.step);
    Ok((evaluations, after_last.max(evaluated)))
}
