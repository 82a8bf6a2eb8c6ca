//! Creates the report of a run from its files, for `diagnose` and for the end of a run.

use std::{ffi::OsString, io::BufReader, path::Path};

use anyhow::Result;
use gradwatch::{
    config::{Config, RuleSetName},
    diagnosis::{Alarm, Diagnosis, Evaluation, Observation, RuleSet, Subject},
    disk::{Folder, read_line},
    printable,
    replay::{Moment, Replay, Role},
    report::{self, ClassRow, Course, Illustration, Report},
    train::{ClassMetrics, EXPLANATIONS},
};
use serde::Deserialize;

/// Longest line of metrics.jsonl to read, in bytes. The confusion matrix of thousands of classes takes about 100 MB.
const MOST_LINE_BYTES: u64 = 1 << 30;
/// Largest picture of an explained image to read, in bytes.
const MOST_PICTURE_BYTES: u64 = 1 << 26;

/// Diagnosis of the files of a run.
pub struct Judged {
    pub report: Report,
    /// Whether part of the files could not be read.
    pub is_damaged: bool,
}

/// Diagnoses a run folder or a single event file, also with the rules of other tools.
pub fn of_files(path: &Path, tags: &[String], tools: &[RuleSetName]) -> Result<Judged> {
    gather(path, tags, tools, None)
}

/// The rules that check a replayed run.
struct Judges {
    diagnosis: Diagnosis,
    rule_sets: Vec<RuleSet>,
    alarms: Vec<Alarm>,
}

impl Judges {
    fn new(tools: &[RuleSetName], config: Option<&Config>) -> Self {
        let changes = config.map_or(&[][..], |config| &config.diagnosis.sagemaker);
        let rule_sets = tools.iter().map(|tool| RuleSet::new(*tool, changes)).collect();
        Self { diagnosis: Diagnosis::default(), rule_sets, alarms: Vec::new() }
    }

    fn judge(&mut self, seen: &Observation<'_>, subject: &Subject<'_>) {
        self.diagnosis.judge(seen, subject);
        self.alarms.extend(self.rule_sets.iter_mut().flat_map(|rules| rules.judge(seen, subject)));
    }

    fn judge_evaluation(&mut self, seen: &Evaluation, subject: &Subject<'_>) {
        self.diagnosis.judge_evaluation(seen, subject);
        self.alarms.extend(self.rule_sets.iter_mut().flat_map(|rules| rules.judge_evaluation(seen, subject)));
    }
}

/// Reads the files of a run. Uses the findings in `known` if given, otherwise runs the rules.
fn gather(folder: &Path, tags: &[String], tools: &[RuleSetName], known: Option<&Diagnosis>) -> Result<Judged> {
    let mut replay = Replay::open(folder, tags)?;
    let (config, facts) = (replay.config.clone(), replay.facts.clone());
    let subject = Subject { config: config.as_ref(), facts: &facts };
    let judges = || known.is_none().then(|| Judges::new(tools, subject.config));
    let (mut judged, mut course, mut steps) = (judges(), Course::default(), 0);
    let mut has_depth = false;
    replay.play(|moment| match moment {
        Moment::Restart => (judged, course, steps) = (judges(), Course::default(), 0),
        Moment::Step(sample) => {
            let seen = sample.observe();
            judged.iter_mut().for_each(|judges| judges.judge(&seen, &subject));
            has_depth |= seen.depth_profile.as_ref().is_some_and(|profile| profile.layers.len() >= 3);
            course.add(&seen);
            steps = sample.step + 1;
        }
        Moment::Evaluation(evaluation) => {
            judged.iter_mut().for_each(|judges| judges.judge_evaluation(&evaluation, &subject));
            course.add_evaluation(&evaluation);
        }
    })?;
    let model = config.as_ref().map(|config| format!("{} on {}", config.model.name, config.data.source));
    let name =
        folder.file_name().map_or_else(|| folder.display().to_string(), |name| name.to_string_lossy().into_owned());
    let is_damaged = replay.is_damaged();
    let mut notes = std::mem::take(&mut replay.notes);
    let classes = classes(folder, &mut notes);
    let report = Report {
        title: model.unwrap_or(name),
        run: folder.display().to_string(),
        config: config.map(|config| config.to_toml()),
        course,
        notes,
        classes,
        illustrations: illustrations(folder),
        steps,
        ..Report::default()
    };
    let report = match (known, judged) {
        // The run measured more than it wrote to its files.
        (Some(diagnosis), _) => report.with_findings(diagnosis),
        (None, None) => report,
        (None, Some(Judges { diagnosis, rule_sets, alarms })) => {
            let not_judged =
                not_judged(&replay, has_depth).into_iter().chain(rule_sets.iter().map(not_judged_by)).collect();
            Report { alarms, not_judged, ..report }.with_findings(&diagnosis)
        }
    };
    Ok(Judged { report, is_damaged })
}

/// The classes of the last evaluation in metrics.jsonl, or the worst ones if there are many; empty without an
/// evaluation.
fn classes(folder: &Path, notes: &mut Vec<String>) -> Vec<ClassRow> {
    #[derive(Deserialize)]
    struct Line {
        validation: Validation,
    }
    #[derive(Deserialize)]
    struct Validation {
        classes: Option<usize>,
        per_class: Vec<ClassMetrics>,
    }
    let Ok(file) = Folder::open(folder).and_then(|folder| folder.open_file("metrics.jsonl")) else { return Vec::new() };
    // Reads line by line, because only a few of very many lines are evaluations.
    let (mut file, mut line, mut last) = (BufReader::new(file), Vec::new(), Vec::new());
    while read_line(&mut file, &mut line, MOST_LINE_BYTES).unwrap_or(false) {
        if line.starts_with(b"{\"kind\":\"evaluation\"") {
            std::mem::swap(&mut line, &mut last);
        }
    }
    let Ok(Line { validation }) = serde_json::from_slice(&last) else { return Vec::new() };
    let row = |ClassMetrics { class, support, precision, recall, f1 }| ClassRow {
        class,
        images: support,
        precision,
        recall,
        f1,
    };
    let rows: Vec<ClassRow> = validation.per_class.into_iter().map(row).collect();
    if let Some(count) = validation.classes {
        let shown = rows.len();
        notes.push(format!(
            "only the {shown} of {count} classes with the lowest F1 are shown; gradwatch evaluate writes all of them"
        ));
    }
    rows
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

/// Writes the report of a run to its folder, with the findings of the run itself. Only logs an error if the report
/// cannot be written.
pub fn write(folder: &Path, diagnosis: &Diagnosis) {
    let path = folder.join("report.html");
    let write = || -> Result<()> {
        let Judged { report, .. } = gather(folder, &[], &[], Some(diagnosis))?;
        Ok(Folder::open(folder)?.replace("report.html", printable::lines(&report::html(&report)).as_bytes())?)
    };
    match write() {
        Ok(()) => tracing::info!("report {}", path.display()),
        Err(error) => tracing::error!("{} cannot be written: {error:#}", path.display()),
    }
}

/// Lists the rules of another tool that gradwatch cannot check because it does not measure their inputs.
fn not_judged_by(rules: &RuleSet) -> String {
    let names: Vec<&str> = rules.not_judged().into_iter().map(|(rule, _)| rule).collect();
    format!("{} of {}: gradwatch does not measure their inputs", names.join(", "), rules.name())
}

/// Lists the rules that could not be checked, and the data missing from the files.
fn not_judged(replay: &Replay, has_depth: bool) -> Vec<String> {
    let has = |role: Role| replay.roles.contains(&role);
    let has_gradients = has(Role::GradNorm) || has(Role::GradHistogram);
    let lacks = [
        (
            has(Role::Loss),
            "initial_loss, learning_rate, loss_plateau, loss_diverging, loss_oscillating",
            "the loss of each step",
        ),
        (
            has(Role::TotalNorm) || has_gradients,
            "exploding, non_finite, gradient_accumulation",
            "the global gradient norm",
        ),
        (has_gradients, "vanishing, zero_gradient, denormal", "the gradient of each parameter"),
        // A network known to have fewer layers has no depth profile to check.
        (
            has_depth || !has_gradients || !replay.facts.parameters.is_empty(),
            "vanishing",
            "bias gradients of at least three layers, needed to compare layers",
        ),
        (has(Role::ActivationNonpositive), "dead_relu, saturated", "activation statistics"),
        (
            has(Role::UpdateRatio),
            "update_ratio, unchanged_parameter, learning_rate",
            "the update ratio of each parameter",
        ),
        (
            has(Role::ValidationLoss) || has(Role::ValidationAccuracy),
            "overfitting, slow_convergence, label_noise",
            "evaluations on validation images",
        ),
        (
            !replay.facts.parameters.is_empty(),
            "lost_images, input_not_normalised, label_imbalance, poor_initialization, batch_norm, missing_gradient",
            "statistics of the data and weights before the first step",
        ),
    ];
    lacks.iter().filter(|(has, ..)| !has).map(|(_, rules, what)| format!("{rules}: the files lack {what}")).collect()
}
