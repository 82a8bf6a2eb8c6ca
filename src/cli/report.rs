//! From the files of a run to its report: what `diagnose` prints and what the end of a run leaves behind.

use std::path::Path;

use anyhow::Result;
use gradwatch::{
    diagnosis::{Diagnosis, Finding, Subject},
    disk,
    replay::{Moment, Replay, Role},
    report::{self, Course, Report},
};

/// What the files of a run say, judged.
pub fn of_files(folder: &Path, tags: &[String]) -> Result<Report> {
    let mut replay = Replay::open(folder, tags)?;
    let (mut diagnosis, mut course, mut steps) = (Diagnosis::default(), Course::default(), 0);
    let (config, facts) = (replay.config.clone(), replay.facts.clone());
    let subject = Subject { config: config.as_ref(), facts: &facts };
    replay.play(|moment| match moment {
        Moment::Restart => (diagnosis, course, steps) = (Diagnosis::default(), Course::default(), 0),
        Moment::Step(sample) => {
            let seen = sample.observe();
            diagnosis.judge(&seen, &subject);
            course.add(&seen);
            steps = sample.step + 1;
        }
        Moment::Evaluation(evaluation) => {
            diagnosis.judge_evaluation(&evaluation, &subject);
            course.add_evaluation(&evaluation);
        }
    })?;
    let (findings, root_cause) = findings_of(&diagnosis);
    let model = config.as_ref().map(|config| format!("{} on {}", config.model.name, config.data.source));
    let name =
        folder.file_name().map_or_else(|| folder.display().to_string(), |name| name.to_string_lossy().into_owned());
    Ok(Report {
        title: model.unwrap_or_else(|| name.clone()),
        run: folder.display().to_string(),
        config: config.map(|config| config.to_toml()),
        findings,
        root_cause,
        course,
        not_judged: not_judged(&replay),
        notes: replay.notes,
        steps,
        ..Report::default()
    })
}

/// Leaves the report of a run in its folder, with the findings of the run itself, which has seen more than it wrote. A run is not
/// the worse for a report that cannot be written.
pub fn write(folder: &Path, diagnosis: &Diagnosis) {
    let path = folder.join("report.html");
    let write = || -> Result<()> {
        let (findings, root_cause) = findings_of(diagnosis);
        let report = Report { findings, root_cause, not_judged: Vec::new(), ..of_files(folder, &[])? };
        Ok(disk::replace(&path, report::html(&report).as_bytes())?)
    };
    match write() {
        Ok(()) => tracing::info!("report {}", path.display()),
        Err(error) => tracing::error!("{} cannot be written: {error:#}", path.display()),
    }
}

fn findings_of(diagnosis: &Diagnosis) -> (Vec<Finding>, Option<usize>) {
    let findings = diagnosis.findings();
    let root_cause = diagnosis.root_cause().and_then(|root| findings.iter().position(|finding| finding == root));
    (findings.to_vec(), root_cause)
}

/// What rules would have needed and the files do not have.
fn not_judged(replay: &Replay) -> Vec<String> {
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
            "the norm of all gradients",
        ),
        (has_gradients, "vanishing, zero_gradient, denormal", "the gradient of each parameter"),
        (has(Role::ActivationNonpositive), "dead_relu, saturated", "what goes through the activations"),
        (
            has(Role::UpdateRatio),
            "update_ratio, unchanged_parameter, learning_rate",
            "how far a step moves each parameter",
        ),
        (
            has(Role::ValidationLoss) || has(Role::ValidationAccuracy),
            "overfitting, slow_convergence, label_noise",
            "evaluations on validation images",
        ),
        (
            !replay.facts.parameters.is_empty(),
            "input_not_normalised, label_imbalance, poor_initialization, batch_norm, missing_gradient",
            "data and weights before the first step",
        ),
    ];
    lacks
        .iter()
        .filter(|(has, ..)| !has)
        .map(|(_, rules, what)| format!("{rules}: the files do not have {what}"))
        .collect()
}
