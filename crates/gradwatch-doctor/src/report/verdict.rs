//! Summary of a run in one sentence.

use std::cmp::Reverse;

use serde::Serialize;

use super::Report;
use crate::diagnosis::{Finding, RuleName, Severity};
use crate::{number::count, repair::RepairRecord};

/// Update ratio in healthy training.
const HEALTHY_RATIO: f64 = 1e-3;

/// Summary of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Severity of the worst finding, or of the one that repair gave up on; `None` without any.
    pub severity: Option<Severity>,
    /// The summary sentence.
    pub sentence: String,
}

impl Verdict {
    pub(super) fn of(report: &Report) -> Self {
        let findings = report.ranked();
        // A run that trained on since then is judged by its findings.
        let history = &report.repairs.history;
        if let Some(RepairRecord::GaveUp { trial, rule, reason, step, from_step }) = history.gave_up()
            && report.steps <= from_step.unwrap_or(*step)
        {
            let severity = history.trial(*trial).map_or(Severity::Critical, |trial| trial.found.severity);
            let sentence = format!("Repair gave up on {rule}: {reason}.");
            return Self { severity: Some(severity), sentence };
        }
        let Some(first) = findings.first() else {
            return Self { severity: None, sentence: without_findings(report) };
        };
        let severity = findings.iter().map(|finding| finding.severity).max();
        let more = match findings.len() - 1 {
            0 => String::new(),
            others => format!(", and {}", count(others, "more finding")),
        };
        let judgement = match severity {
            Some(Severity::Fatal) => "The run cannot continue",
            Some(Severity::Critical) => "The run cannot succeed with these settings",
            Some(Severity::Warning) => "The run could do better",
            _ => "Healthy, with a note",
        };
        let (phrase, since) = (phrase_of(first), first.first_step);
        Self { severity, sentence: format!("{judgement}: {phrase}{}, since step {since}{more}.", first.place()) }
    }
}

fn without_findings(report: &Report) -> String {
    let evaluations = report.course.evaluations();
    // Event files of other programs may contain only evaluations.
    let (seen, unit) = if report.steps == 0 { (evaluations, "evaluation") } else { (report.steps, "step") };
    let steps = count(usize::try_from(seen).unwrap_or(usize::MAX), unit);
    match (seen, report.not_judged.len()) {
        (0, _) => "No steps were taken, so there is nothing to check.".into(),
        (_, 0) => format!("Healthy: no problems found in {steps}."),
        _ => format!("No problems found in {steps}, but some rules could not be checked."),
    }
}

impl Report {
    /// Summarizes the run in one sentence.
    pub fn verdict(&self) -> Verdict {
        Verdict::of(self)
    }

    /// The findings: the root cause first, then by severity, then by first step.
    pub fn ranked(&self) -> Vec<&Finding> {
        let mut findings: Vec<(usize, &Finding)> = self.findings.iter().enumerate().collect();
        findings.sort_by_key(|(index, finding)| {
            (self.root_cause != Some(*index), Reverse(finding.severity), finding.first_step)
        });
        findings.into_iter().map(|(_, finding)| finding).collect()
    }

    /// Number on the page of the finding with this index.
    pub(super) fn number_of(&self, index: usize) -> Option<usize> {
        let finding = self.findings.get(index)?;
        Some(self.ranked().iter().position(|ranked| std::ptr::eq(*ranked, finding))? + 1)
    }

    /// Whether the finding is the root cause.
    pub(crate) fn is_root_cause(&self, finding: &Finding) -> bool {
        let root = self.root_cause.and_then(|index| self.findings.get(index));
        root.is_some_and(|root| root.rule == finding.rule)
    }
}

/// Describes the problem of a finding, as part of a sentence.
pub(crate) fn phrase_of(finding: &Finding) -> &'static str {
    let ratio = finding.figures.first().map(|figure| figure.seen);
    match (finding.rule, ratio) {
        // The first figure is the update ratio. A loss that jumps also tells a rate that is too high, without a ratio.
        (RuleName::LearningRate, Some(ratio)) if ratio < HEALTHY_RATIO => "the learning rate is too low",
        (RuleName::LearningRate, Some(_)) => "the learning rate is too high",
        (RuleName::NonFinite, _) if finding.cause.starts_with("the loss ") => "the loss is not finite",
        (rule, _) => phrase(rule),
    }
}

/// Describes the problem that a rule finds, as part of a sentence.
pub(super) fn phrase(rule: RuleName) -> &'static str {
    use RuleName as R;
    match rule {
        R::Vanishing => "the gradient vanishes on its way to the input",
        R::Exploding => "the gradient explodes",
        R::NonFinite => "gradients are not finite",
        R::DeadRelu => "ReLUs output 0 for nearly every input",
        R::Saturated => "activations are saturated",
        R::InitialLoss => "the first loss is far from that of a random guess",
        R::UpdateRatio => "steps are too large for the weights",
        R::MissingGradient => "parameters get no gradient",
        R::InputNotNormalized => "images are not normalized",
        R::LostImages => "images do not decode and are skipped",
        R::LabelImbalance => "some classes are much more frequent than others",
        R::LabelNoise => "labels do not match the images",
        R::BatchNorm => "batches are too small for batch normalization",
        R::PoorInitialization => "the initial weights are unsuitable",
        R::UnchangedParameter => "parameters have a gradient but do not move",
        R::GradientAccumulation => "gradients accumulate and are never cleared",
        R::WrongLoss => "the loss does not match the network's output",
        R::ZeroGradient => "gradients are exactly 0",
        R::Denormal => "gradients are below the smallest normal number",
        R::LearningRate => "the learning rate is too high or too low",
        R::LossDiverging => "the loss rises above its minimum",
        R::LossOscillating => "the loss oscillates",
        R::LossPlateau => "the loss stays at that of a random guess",
        R::SlowConvergence => "accuracy hardly improves",
        R::Overfitting => "the validation loss rises while the training loss falls",
        R::WeightDecay => "weight decay outweighs the gradient",
        R::Clipping => "clipping leaves next to nothing of the gradient",
        R::Momentum => "momentum sums gradients over too many steps",
        R::Epsilon => "optimizer.eps outweighs the gradient",
        R::Dropout => "dropout leaves too little of the signal",
        R::Schedule => "the schedule does not fit the length of the run",
        R::FrozenParameters => "most of the model is frozen",
        R::LabelSmoothing => "label smoothing leaves little of the labels",
        R::ClassWeights => "class weights let a few classes decide the loss",
        R::Augmentation => "augmentation leaves too little of the images",
        R::RunningStatistics => "running statistics of batch normalization do not fit the network",
        R::DistributionShift => "validation images differ from training images",
        R::Starvation => "training waits for images",
        R::WeightMismatch => "the weights differ between ranks",
        R::RankDisagreement => "the gradients of the ranks contradict each other",
        R::RankSpike => "the gradient or loss of one rank is far from those of the others",
        R::Straggler => "all ranks wait for a slower one",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{
        Course,
        fixture::{evaluation, finding, report},
    };

    fn sentence(report: &Report) -> String {
        report.verdict().sentence
    }

    #[test]
    fn a_run_without_findings_is_healthy_where_all_was_judged_and_steps_were_taken() {
        assert_eq!(
            report(20, vec![]).verdict(),
            Verdict { severity: None, sentence: "Healthy: no problems found in 20 steps.".into() }
        );
        assert_eq!(sentence(&report(1, vec![])), "Healthy: no problems found in 1 step.");
        assert_eq!(sentence(&report(0, vec![])), "No steps were taken, so there is nothing to check.");
        let mut course = Course::default();
        (0..6).for_each(|epoch| course.add_evaluation(&evaluation(epoch, 0.5)));
        let evaluations = Report { course, ..Report::default() };
        assert_eq!(sentence(&evaluations), "Healthy: no problems found in 6 evaluations.");
        let unknown = Report { not_judged: vec!["the input".into()], ..report(20, vec![]) };
        assert_eq!(sentence(&unknown), "No problems found in 20 steps, but some rules could not be checked.");
    }

    #[test]
    fn the_root_cause_is_told_before_what_is_worse() {
        let findings = vec![
            finding(RuleName::Overfitting, Severity::Warning, 3),
            finding(RuleName::NonFinite, Severity::Fatal, 9),
            finding(RuleName::Vanishing, Severity::Critical, 5),
        ];
        let wrong = report(20, findings);
        assert_eq!(
            sentence(&wrong),
            "The run cannot continue: gradients are not finite in conv1 to fc, since step 9, and 2 more findings."
        );
        let rooted = Report { root_cause: Some(0), ..wrong };
        assert_eq!(rooted.verdict().severity, Some(Severity::Fatal));
        let rules: Vec<RuleName> = rooted.ranked().iter().map(|finding| finding.rule).collect();
        assert_eq!(rules, [RuleName::Overfitting, RuleName::NonFinite, RuleName::Vanishing]);
        // An index out of range means no root cause.
        assert_eq!(Report { root_cause: Some(7), ..rooted }.ranked()[0].rule, RuleName::NonFinite);
    }

    #[test]
    fn a_learning_rate_is_told_to_be_too_high_or_too_low() {
        let sentence = |ratio: f64| {
            let mut finding = finding(RuleName::LearningRate, Severity::Warning, 3);
            finding.figures[0].seen = ratio;
            sentence(&report(20, vec![finding]))
        };
        assert!(sentence(1e-6).contains("the learning rate is too low"));
        assert!(sentence(0.9).contains("the learning rate is too high"));
        assert!(sentence(f64::NAN).contains("the learning rate is too high"));
    }
}
