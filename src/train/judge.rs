//! Passes tracked steps and evaluations to the rules, and handles their findings.

use super::State;
use crate::{
    config::{Action, Config, DiagnosisConfig, RuleName},
    diagnosis::{Alarm, Diagnosis, Evaluation, Facts, Finding, Observation, RuleSet, Subject},
    evaluation::Metrics,
    gradient::GradientHistory,
    recording::Reading,
};

/// The rules with their input and the actions that their findings request.
pub(super) struct Judge {
    /// Diagnosis of the run; `None` if it is off.
    pub diagnosis: Option<Diagnosis>,
    /// Rule sets of other tools, evaluated as well.
    pub rule_sets: Vec<RuleSet>,
    /// Facts about the run that the rules use in addition to readings.
    pub facts: Facts,
    /// Gradient history of the run so far.
    pub history: GradientHistory,
    /// The rule whose finding stops the run.
    pub stop_for: Option<RuleName>,
    /// Whether a finding requested a checkpoint that is not saved yet.
    pub is_checkpoint_requested: bool,
    /// Whether a finding requested a dump of the last readings.
    pub is_dump_requested: bool,
}

/// Findings that are new or got worse, and alarms of other rule sets.
#[derive(Default)]
struct Verdicts {
    findings: Vec<Finding>,
    alarms: Vec<Alarm>,
}

/// Whether a finding ends the run: `diagnosis.stop_at`, or an action.
fn ends_run(config: &DiagnosisConfig, finding: &Finding) -> bool {
    let answers = |action: &Action| action.stop && action.answers(finding.rule.name(), finding.severity);
    config.stop_at.includes(finding.severity) || config.actions.iter().any(answers)
}

impl Judge {
    /// Creates the rules of `config` without findings.
    pub(super) fn new(config: &DiagnosisConfig, facts: Facts) -> Self {
        let rule_sets = config.rule_sets.iter().filter(|_| config.enabled);
        Self {
            diagnosis: config.enabled.then(Diagnosis::default),
            rule_sets: rule_sets.map(|&name| RuleSet::new(name, &config.sagemaker)).collect(),
            facts,
            history: GradientHistory::default(),
            stop_for: None,
            is_checkpoint_requested: false,
            is_dump_requested: false,
        }
    }

    /// Restores the state of the rules from a checkpoint.
    pub(super) fn restore(
        &mut self,
        diagnosis: Option<Diagnosis>,
        rule_sets: Vec<RuleSet>,
        facts: Facts,
        history: GradientHistory,
    ) {
        // A rule set that is new in this session starts here.
        for earlier in rule_sets {
            if let Some(rules) = self.rule_sets.iter_mut().find(|rules| rules.name() == earlier.name()) {
                *rules = earlier;
            }
        }
        if let (Some(diagnosis), Some(earlier)) = (&mut self.diagnosis, diagnosis) {
            *diagnosis = earlier;
        }
        (self.facts, self.history) = (facts, history);
    }

    /// Stops the run for a finding if that is configured. One from before the first step must hold for
    /// `diagnosis.confirm_steps` first.
    fn stop_for_finding(&mut self, config: &DiagnosisConfig, step: u64, finding: &Finding) {
        let is_confirmed = finding.first_step > 0 || step >= config.confirm_steps;
        if is_confirmed && ends_run(config, finding) {
            self.stop_for.get_or_insert(finding.rule);
        }
    }

    /// Stops the run for a finding from before the first step that training has not refuted. Called at each tracked step.
    fn stop_if_confirmed(&mut self, config: &Config, step: u64) {
        let from = config.diagnosis.confirm_steps;
        // The first tracked step from there on. A resumed run is not stopped for the same finding again.
        let is_time = from > 0 && (from..from + config.monitor.every_steps.max(1)).contains(&step);
        let Some(diagnosis) = self.diagnosis.as_ref().filter(|_| is_time) else { return };
        let is_from_start = |finding: &&Finding| finding.first_step == 0 && ends_run(&config.diagnosis, finding);
        if let Some(finding) = diagnosis.open_findings().find(is_from_start) {
            self.stop_for.get_or_insert(finding.rule);
        }
    }

    fn judge_step(&mut self, config: &Config, step: &Observation<'_>) -> Verdicts {
        let Some(diagnosis) = &mut self.diagnosis else { return Verdicts::default() };
        let subject = Subject { config: Some(config), facts: &self.facts };
        Verdicts {
            findings: diagnosis.judge(step, &subject),
            alarms: self.rule_sets.iter_mut().flat_map(|rules| rules.judge(step, &subject)).collect(),
        }
    }

    fn judge_evaluation(&mut self, config: &Config, evaluation: &Evaluation) -> Verdicts {
        let Some(diagnosis) = &mut self.diagnosis else { return Verdicts::default() };
        let subject = Subject { config: Some(config), facts: &self.facts };
        Verdicts {
            findings: diagnosis.judge_evaluation(evaluation, &subject),
            alarms: self.rule_sets.iter_mut().flat_map(|rules| rules.judge_evaluation(evaluation, &subject)).collect(),
        }
    }
}

impl State {
    /// Checks a tracked step. Writes and logs findings that are new or got worse.
    pub(super) fn diagnose(&mut self, reading: &Reading, learning_rate: f64) {
        let wait_fraction = Some(self.clock.wait_fraction());
        let step = Observation { wait_fraction, ..reading.observe(learning_rate) };
        let verdicts = self.judge.judge_step(&self.config, &step);
        self.report(reading.step, verdicts);
        self.judge.stop_if_confirmed(&self.config, reading.step);
    }

    /// Checks an evaluation. Writes and logs findings that are new or got worse.
    pub(super) fn diagnose_evaluation(
        &mut self,
        train: &Metrics,
        validation: &Metrics,
        batch_statistics_accuracy: Option<f64>,
    ) {
        let step = self.counters.step;
        let lost = self.data.lost_images();
        if lost != self.judge.facts.lost_images {
            if let Some(recorder) = &mut self.output.recorder {
                recorder.lost_images(step, &lost);
            }
            self.judge.facts.lost_images = lost;
        }
        let evaluation = Evaluation {
            step,
            train_loss: train.loss,
            train_accuracy: train.accuracy,
            validation_loss: validation.loss,
            validation_accuracy: validation.accuracy,
            batch_statistics_accuracy,
        };
        let verdicts = self.judge.judge_evaluation(&self.config, &evaluation);
        self.report(step, verdicts);
        self.dump_if_requested();
    }

    /// Writes and logs findings and alarms. Only findings trigger actions.
    fn report(&mut self, step: u64, Verdicts { findings, alarms }: Verdicts) {
        for finding in findings {
            if let Some(recorder) = &mut self.output.recorder {
                recorder.finding(step, &finding);
            }
            if !finding.is_open() {
                tracing::info!("{finding}");
                continue;
            }
            self.judge.stop_for_finding(&self.config.diagnosis, step, &finding);
            self.run_actions(step, &finding);
            self.advise(&finding);
            // `judge_skips` already logs skipped steps.
            if finding.rule != RuleName::NonFinite {
                tracing::warn!("{finding}");
            }
        }
        for alarm in alarms {
            if let Some(recorder) = &mut self.output.recorder {
                recorder.alarm(&alarm);
            }
            tracing::info!("{alarm}");
        }
    }

    /// Writes the last tracked steps if a finding requested it.
    pub(super) fn dump_if_requested(&mut self) {
        if std::mem::take(&mut self.judge.is_dump_requested)
            && let Err(error) = self.output.recent_steps.write()
        {
            self.output.report_failure(&error);
        }
    }

    /// Runs the configured actions for a finding.
    fn run_actions(&mut self, step: u64, finding: &Finding) {
        let run = self.folder().display().to_string();
        let Self { config, judge, output, .. } = self;
        for action in &config.diagnosis.actions {
            if !action.answers(finding.rule.name(), finding.severity) {
                continue;
            }
            judge.is_checkpoint_requested |= action.checkpoint;
            judge.is_dump_requested |= action.dump;
            let message = serde_json::json!({ "run": &run, "step": step, "finding": finding }).to_string();
            output.messenger.send(action, &message);
        }
    }
}
