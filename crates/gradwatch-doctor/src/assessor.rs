//! The report of a run, collected step by step.

use std::path::Path;

#[cfg(feature = "rule-sets")]
use crate::diagnosis::RuleSet;
use crate::{
    AssessOptions,
    config::Config,
    diagnosis::{Alarm, Diagnosis, Evaluation, Facts, Need, Observation, RuleName, Subject, rules_without_data},
    replay::{Replay, ReplayEvent, Role},
    report::{Course, Report},
};

/// Rules and history of a run up to a step. Memory does not grow with the number of steps.
#[derive(Clone)]
pub(crate) struct Assessor {
    judges: Option<Judges>,
    course: Course,
    steps: u64,
    has_depth: bool,
}

impl Assessor {
    /// Checks the rules, and those of other tools that the options name.
    pub(crate) fn new(options: &AssessOptions, config: Option<&Config>) -> Self {
        Self { judges: Some(Judges::new(options, config)), ..Self::without_rules() }
    }

    /// Checks no rules.
    pub(crate) fn without_rules() -> Self {
        Self { judges: None, course: Course::default(), steps: 0, has_depth: false }
    }

    /// Adds a step or an evaluation. At a restart, the caller starts with a new assessor.
    pub(crate) fn add(&mut self, event: &ReplayEvent, subject: &Subject<'_>) {
        match event {
            ReplayEvent::Restart => {}
            ReplayEvent::Step(sample) => {
                let seen = sample.observe();
                self.judges.iter_mut().for_each(|judges| judges.judge(&seen, subject));
                self.has_depth |= seen.depth_profile.as_ref().is_some_and(|profile| profile.layers.len() >= 3);
                self.course.add(&seen);
                self.steps = sample.step + 1;
            }
            ReplayEvent::Evaluation(evaluation) => {
                self.judges.iter_mut().for_each(|judges| judges.judge_evaluation(evaluation, subject));
                self.course.add_evaluation(evaluation);
            }
        }
    }

    /// The report of the run at `path` so far, without notes and without the contents of other files.
    pub(crate) fn report(self, replay: &Replay, path: &Path) -> Report {
        let Self { judges, course, steps, has_depth } = self;
        let config = replay.config.as_ref();
        let model = config.map(|config| format!("{} on {}", config.model.name, config.data.source));
        let name =
            path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
        let report = Report {
            title: model.unwrap_or(name),
            run: path.display().to_string(),
            config: config.map(Config::to_toml),
            course,
            ranks: replay.facts.ranks.clone(),
            steps,
            ..Report::default()
        };
        let Some(judges) = judges else { return report };
        let not_judged = not_judged(replay, has_depth).into_iter().chain(judges.not_judged()).collect();
        Report { alarms: judges.alarms, not_judged, ..report }.with_findings(&judges.diagnosis)
    }
}

/// The rules that check a replayed run.
#[derive(Clone)]
struct Judges {
    diagnosis: Diagnosis,
    #[cfg(feature = "rule-sets")]
    rule_sets: Vec<RuleSet>,
    alarms: Vec<Alarm>,
}

impl Judges {
    #[cfg_attr(not(feature = "rule-sets"), expect(unused_variables))]
    fn new(options: &AssessOptions, config: Option<&Config>) -> Self {
        #[cfg(feature = "rule-sets")]
        let rule_sets = {
            let changes = config.map_or(&[][..], |config| &config.diagnosis.sagemaker);
            options.rule_sets.iter().map(|tool| RuleSet::new(*tool, changes)).collect()
        };
        Self {
            diagnosis: Diagnosis::default(),
            #[cfg(feature = "rule-sets")]
            rule_sets,
            alarms: Vec::new(),
        }
    }

    fn judge(&mut self, seen: &Observation<'_>, subject: &Subject<'_>) {
        self.diagnosis.judge(seen, subject);
        #[cfg(feature = "rule-sets")]
        self.alarms.extend(self.rule_sets.iter_mut().flat_map(|rules| rules.judge(seen, subject)));
    }

    fn judge_evaluation(&mut self, seen: &Evaluation, subject: &Subject<'_>) {
        self.diagnosis.judge_evaluation(seen, subject);
        #[cfg(feature = "rule-sets")]
        self.alarms.extend(self.rule_sets.iter_mut().flat_map(|rules| rules.judge_evaluation(seen, subject)));
    }

    /// Rules of other tools that were not checked.
    fn not_judged(&self) -> Vec<String> {
        #[cfg(feature = "rule-sets")]
        return self.rule_sets.iter().map(not_judged_by).collect();
        #[cfg(not(feature = "rule-sets"))]
        Vec::new()
    }
}

/// Lists the rules of another tool that gradwatch cannot check because it does not measure their inputs.
#[cfg(feature = "rule-sets")]
fn not_judged_by(rules: &RuleSet) -> String {
    let names: Vec<&str> = rules.not_judged().into_iter().map(|(rule, _)| rule).collect();
    format!("{} of {}: gradwatch does not measure their inputs", names.join(", "), rules.name())
}

/// Lists the rules that could not be checked, and the data missing from the files.
fn not_judged(replay: &Replay, has_depth: bool) -> Vec<String> {
    let line = |(need, rules): (Need, Vec<RuleName>)| {
        let names: Vec<&str> = rules.into_iter().map(RuleName::name).collect();
        format!("{}: the files lack {need}", names.join(", "))
    };
    rules_without_data(|need| has_data(need, replay, has_depth)).into_iter().map(line).collect()
}

/// Whether the files contain data.
fn has_data(need: Need, replay: &Replay, has_depth: bool) -> bool {
    let has = |role: Role| replay.roles.contains(&role);
    let has_gradients = has(Role::GradNorm) || has(Role::GradHistogram);
    let Facts { classes, parameters, ranks, .. } = &replay.facts;
    match need {
        Need::StepLoss => has(Role::Loss),
        Need::TotalNorm => has(Role::TotalNorm) || has_gradients,
        Need::Gradients => has_gradients,
        // A network known to have fewer layers has no depth profile to check.
        Need::DepthProfile => has_depth || has_gradients && !parameters.is_empty(),
        Need::Activations => has(Role::ActivationNonpositive),
        Need::Updates => has(Role::UpdateRatio),
        Need::Evaluations => has(Role::ValidationLoss) || has(Role::ValidationAccuracy),
        Need::InitialFacts => !parameters.is_empty(),
        Need::LearningRate => has(Role::LearningRate),
        Need::Classes => *classes > 0,
        Need::ModelConfig => replay.config.as_ref().is_some_and(|config| config.model.known().is_some()),
        // Only a run itself can check it: no file contains it, so a complete one does not lack it.
        Need::WaitTime => true,
        // A run with one process has no ranks, and does not lack them.
        Need::Ranks => ranks.len() < 2 || has(Role::RankImages),
    }
}
