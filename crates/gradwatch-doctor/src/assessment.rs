//! Assesses a run from its files: replays them, runs the rules, and collects the report.

use std::{
    ffi::OsString,
    io::BufReader,
    path::{Path, PathBuf},
};

use gradwatch_events::disk::{Folder, OutputError, read_line};
use serde::Deserialize;

#[cfg(feature = "rule-sets")]
use crate::config::RuleSetName;
use crate::{
    assessor::Assessor,
    diagnosis::{Diagnosis, Subject},
    printable,
    replay::{Replay, ReplayError, ReplayEvent},
    report::{self, ClassRow, Illustration, Repairs, Report},
};

/// Folder in a run folder with the explained images of its evaluations.
pub const EXPLANATIONS: &str = "explanations";
/// Longest line of metrics.jsonl to read, in bytes. The confusion matrix of thousands of classes takes about 100 MB.
const MOST_LINE_BYTES: u64 = 1 << 30;
/// Largest picture of an explained image to read, in bytes.
const MOST_PICTURE_BYTES: u64 = 1 << 26;

/// Result of [`assess`].
#[derive(Debug, Clone)]
pub struct Assessment {
    /// Findings, curves, and tables, ready to render with [`report`].
    pub report: Report,
    /// Whether part of the files could not be read.
    pub is_damaged: bool,
}

/// Options of [`assess_with`].
#[derive(Debug, Clone, Default)]
pub struct AssessOptions {
    /// Patterns of the form `role=pattern` for unknown tags, such as `loss=objective`; see [`TagPatterns`].
    ///
    /// [`TagPatterns`]: crate::replay::TagPatterns
    pub tags: Vec<String>,
    /// Rules of other tools to check as well.
    #[cfg(feature = "rule-sets")]
    pub rule_sets: Vec<RuleSetName>,
}

/// Diagnoses one run: a run folder of gradwatch, a folder with the event files of another program, or one event file.
///
/// ```
/// use gradwatch_doctor::{assess, diagnosis::RuleName};
/// use gradwatch_events::SummaryWriter;
///
/// let logdir = tempfile::tempdir()?;
/// let writer = SummaryWriter::create(logdir.path())?;
/// for step in 0..100 {
///     // The loss grows from 2 to 12.
///     writer.scalar("Loss/train", step, 2.0 + 0.001 * (step * step) as f64)?;
/// }
/// writer.close()?;
/// let assessment = assess(logdir.path())?;
/// assert_eq!(assessment.report.findings[0].rule, RuleName::LossDiverging);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If there is nothing to read, or no tag is known.
pub fn assess(path: &Path) -> Result<Assessment, ReplayError> {
    assess_with(path, &AssessOptions::default())
}

/// Like [`assess`], with options.
///
/// # Errors
/// As for [`assess`], or if a tag pattern is invalid.
pub fn assess_with(path: &Path, options: &AssessOptions) -> Result<Assessment, ReplayError> {
    gather(path, options, None)
}

/// Writes `report.html` to the folder of a finished run, with the findings of the run itself, which measured more than
/// it wrote to its files. Returns the path.
///
/// # Errors
/// If the files cannot be read, or the page cannot be written.
pub fn write_report(folder: &Path, diagnosis: &Diagnosis) -> Result<PathBuf, WriteReportError> {
    const NAME: &str = "report.html";
    let path = folder.join(NAME);
    let Assessment { report, .. } = gather(folder, &AssessOptions::default(), Some(diagnosis))?;
    let page = report::html(&report);
    let written = Folder::open(folder).and_then(|folder| folder.replace(NAME, printable::lines(&page).as_bytes()));
    written.map_err(|cause| OutputError::of(&path, cause))?;
    Ok(path)
}

/// Reason why [`write_report`] failed.
#[derive(Debug, thiserror::Error)]
pub enum WriteReportError {
    /// The files of the run cannot be read.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The page cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// Reads the files of a run. Uses the findings in `known` if given, otherwise runs the rules.
fn gather(path: &Path, options: &AssessOptions, known: Option<&Diagnosis>) -> Result<Assessment, ReplayError> {
    let mut replay = Replay::open(path, &options.tags)?;
    let (config, facts) = (replay.config.clone(), replay.facts.clone());
    let subject = Subject { config: config.as_ref(), facts: &facts };
    let new = || match known {
        // The run measured more than it wrote to its files.
        Some(_) => Assessor::without_rules(),
        None => Assessor::new(options, config.as_ref()),
    };
    let mut assessor = new();
    replay.play(|event| match event {
        ReplayEvent::Restart => assessor = new(),
        event => assessor.add(&event, &subject),
    })?;
    let mut notes = std::mem::take(&mut replay.notes);
    let (classes, facts) = last_evaluation(path, &mut notes);
    let report = assessor.report(&replay, path);
    let repairs = Repairs::read(path, &mut notes);
    let report = Report { notes, classes, facts, illustrations: illustrations(path), ..report };
    let report = match known {
        Some(diagnosis) => report.with_findings(diagnosis),
        None => report,
    };
    let report = report.with_repairs(repairs);
    Ok(Assessment { report, is_damaged: replay.is_damaged() })
}

/// The classes of the last evaluation in metrics.jsonl, or the worst ones if there are many, and the metrics that only
/// multi-label data has, with their names; empty without an evaluation.
fn last_evaluation(folder: &Path, notes: &mut Vec<String>) -> (Vec<ClassRow>, Vec<(String, String)>) {
    #[derive(Deserialize)]
    struct Line {
        validation: Validation,
    }
    #[derive(Deserialize)]
    struct Validation {
        mean_average_precision: Option<f64>,
        exact_match: Option<f64>,
        classes: Option<usize>,
        per_class: Vec<ClassMetrics>,
    }
    #[derive(Deserialize)]
    struct ClassMetrics {
        class: String,
        support: u64,
        precision: f64,
        recall: f64,
        f1: f64,
        average_precision: Option<f64>,
    }
    let Ok(file) = Folder::open(folder).and_then(|folder| folder.open_file("metrics.jsonl")) else {
        return Default::default();
    };
    // Reads line by line, because only a few of very many lines are evaluations.
    let (mut file, mut line, mut last) = (BufReader::new(file), Vec::new(), Vec::new());
    while read_line(&mut file, &mut line, MOST_LINE_BYTES).unwrap_or(false) {
        if line.starts_with(b"{\"kind\":\"evaluation\"") {
            std::mem::swap(&mut line, &mut last);
        }
    }
    let Ok(Line { validation }) = serde_json::from_slice(&last) else { return Default::default() };
    let row = |ClassMetrics { class, support: images, precision, recall, f1, average_precision }| ClassRow {
        class,
        images,
        precision,
        recall,
        f1,
        average_precision,
    };
    let rows: Vec<ClassRow> = validation.per_class.into_iter().map(row).collect();
    if let Some(count) = validation.classes {
        let shown = rows.len();
        notes.push(format!(
            "only the {shown} of {count} classes with the lowest F1 are shown; gradwatch evaluate writes all of them"
        ));
    }
    let figures = [
        ("mean average precision", validation.mean_average_precision),
        ("exact matches of all classes", validation.exact_match),
    ];
    let fact = |(name, share): (&str, Option<f64>)| Some((name.to_owned(), format!("{:.1}%", 100.0 * share?)));
    (rows, figures.into_iter().filter_map(fact).collect())
}

/// The explained images of the last evaluation, with their file names.
fn illustrations(folder: &Path) -> Vec<Illustration> {
    let Ok(folder) = Folder::open(folder).and_then(|folder| folder.folder(EXPLANATIONS)) else { return Vec::new() };
    let read = |file: OsString| {
        let path = Path::new(&file);
        let name = path.extension().filter(|end| *end == "png").and(path.file_stem())?;
        let png = folder.read(&file, MOST_PICTURE_BYTES).ok()?;
        Some(Illustration { name: name.to_string_lossy().into_owned(), png })
    };
    folder.names().unwrap_or_default().into_iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use gradwatch_events::SummaryWriter;

    use super::*;

    #[test]
    fn a_loss_curve_alone_leaves_most_rules_without_data() {
        let folder = tempfile::tempdir().unwrap();
        let writer = SummaryWriter::create(folder.path()).unwrap();
        (0..20).for_each(|step| writer.scalar("loss", step, 1.0 / (1.0 + step as f64)).unwrap());
        writer.close().unwrap();
        let not_judged = assess(folder.path()).unwrap().report.not_judged;
        let want = [
            "gradient_accumulation, exploding: the files lack the global gradient norm",
            "missing_gradient, unchanged_parameter, zero_gradient, denormal: the files lack the gradient of each parameter",
            "vanishing: the files lack bias gradients of at least three layers, needed to compare layers",
            "unchanged_parameter, learning_rate, update_ratio: the files lack the update ratio of each parameter",
            "lost_images, distribution_shift, label_noise, slow_convergence, overfitting: the files lack evaluations on \
             validation images",
            "lost_images, input_not_normalized, label_imbalance, poor_initialization, missing_gradient, \
             distribution_shift: the files lack statistics of the data and weights before the first step",
            "unchanged_parameter: the files lack the learning rate of each step",
            "initial_loss, label_noise, slow_convergence: the files lack the number of classes",
            "augmentation, batch_norm, label_smoothing, class_weights, schedule, frozen_parameters, \
             running_statistics, weight_decay, clipping, epsilon, momentum, dropout, dead_relu, saturated: the files \
             lack the config of the model",
        ];
        assert_eq!(not_judged, want);
    }
}
