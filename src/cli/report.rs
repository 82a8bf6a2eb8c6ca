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
    gather(folder, tags, None)
}

/// What the files of a run say, with the findings that are `known`; judged where none are.
fn gather(folder: &Path, tags: &[String], known: Option<&Diagnosis>) -> Result<Report> {
    let mut replay = Replay::open(folder, tags)?;
    let (mut diagnosis, mut course, mut steps) = (Diagnosis::default(), Course::default(), 0);
    let is_judged = known.is_none();
    let (config, facts) = (replay.config.clone(), replay.facts.clone());
    let subject = Subject { config: config.as_ref(), facts: &facts };
    replay.play(|moment| match moment {
        Moment::Restart => (diagnosis, course, steps) = (Diagnosis::default(), Course::default(), 0),
        Moment::Step(sample) => {
            let seen = sample.observe();
            if is_judged {
                diagnosis.judge(&seen, &subject);
            }
            course.add(&seen);
            steps = sample.step + 1;
        }
        Moment::Evaluation(evaluation) => {
            if is_judged {
                diagnosis.judge_evaluation(&evaluation, &subject);
            }
            course.add_evaluation(&evaluation);
        }
    })?;
    let (findings, root_cause) = findings_of(known.unwrap_or(&diagnosis));
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
        // The run itself has seen more than it wrote.
        not_judged: if is_judged { not_judged(&replay) } else { Vec::new() },
        notes: replay.notes,
        steps,
        ..Report::default()
    })
}

/// Leaves the report of a run in its folder, with the findings of the run itself. A run is not the worse for a report that cannot
/// be written.
pub fn write(folder: &Path, diagnosis: &Diagnosis) {
    let path = folder.join("report.html");
    let write = || -> Result<()> {
        let report = gather(folder, &[], Some(diagnosis))?;
        Ok(disk::replace(&path, report::html(&report).as_bytes())?)
    };
    match write() {
        Ok(()) => tracing::info!("report {}", path.display()),
        Err(error) => tracing::error!("{} cannot be written: {error:#}", path.display()),
    }
}

fn findings_of(diagnosis: &Diagnosis) -> (Vec<Finding>, Option<usize>) {
    let findings = diagnosis.findings();
    // By the rule, of which there is one finding: figures that are NaN equal nothing.
    let is_it = |root: &Finding| findings.iter().position(|finding| finding.rule == root.rule);
    let root_cause = diagnosis.root_cause().and_then(is_it);
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

#[cfg(test)]
mod tests {
    use gradwatch::diagnosis::{Facts, Observation};

    use super::*;

    #[test]
    fn a_root_cause_with_a_figure_that_is_nan_is_still_the_root_cause() {
        let (facts, mut diagnosis) = (Facts { classes: 10, ..Facts::default() }, Diagnosis::default());
        let subject = Subject { config: None, facts: &facts };
        for (step, loss) in [(0, 2.3), (1, f64::NAN), (2, f64::NAN)] {
            diagnosis.judge(&Observation { step, loss, total_norm: 1.0, ..Observation::default() }, &subject);
        }
        let (findings, root_cause) = findings_of(&diagnosis);
        assert!(findings[0].figures.iter().any(|figure| figure.seen.is_nan()));
        assert_eq!(root_cause, Some(0));
    }
}
