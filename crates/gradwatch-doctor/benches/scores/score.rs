//! Verdicts of a rule set on each run, and their accuracy.

use std::{
    collections::{HashMap, HashSet},
    thread,
};

use gradwatch_doctor::{
    config::{Config, RuleName, RuleSetName, Severity},
    diagnosis::{Change, Diagnosis, Facts, Finding, RuleSet, Subject, Thresholds},
    replay::{Replay, ReplayEvent},
};

use crate::{case::Case, names};

/// A run in memory.
pub(crate) struct Trace {
    pub case: Case,
    /// `None` for custom loops.
    pub config: Option<Config>,
    pub facts: Facts,
    pub moments: Vec<ReplayEvent>,
    /// Accuracy on the way from a guess to the best run of the same task; `None` in the small grid.
    pub skill: Option<f64>,
}

impl Trace {
    pub(crate) fn read(case: &Case) -> Self {
        let folder = &case.folder;
        let fail = |error: &dyn std::error::Error| -> ! { panic!("{}: {error}", folder.display()) };
        let mut replay = Replay::open(folder, &[]).unwrap_or_else(|error| fail(&error));
        let mut moments = Vec::new();
        replay.play(|moment| moments.push(moment)).unwrap_or_else(|error| fail(&error));
        let Replay { config, facts, .. } = replay;
        Self { case: case.clone(), config, facts, moments, skill: None }
    }

    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject { config: self.config.as_ref(), facts: &self.facts }
    }

    /// The last validation accuracy; `None` if the run was never evaluated.
    pub(crate) fn accuracy(&self) -> Option<f64> {
        let mut evaluations = self.moments.iter().filter_map(|moment| match moment {
            ReplayEvent::Evaluation(evaluation) => Some(evaluation.validation_accuracy),
            _ => None,
        });
        evaluations.next_back().filter(|accuracy| accuracy.is_finite())
    }

    /// Accuracy of each evaluation, the last first: the better one of training and validation images, because running
    /// statistics of a batch normalization may lag behind in a short run.
    fn accuracies(&self) -> impl Iterator<Item = f64> {
        self.moments.iter().rev().filter_map(|moment| match moment {
            ReplayEvent::Evaluation(evaluation) => Some(evaluation.validation_accuracy.max(evaluation.train_accuracy)),
            _ => None,
        })
    }

    /// The lower and the higher accuracy of the last two evaluations.
    pub(crate) fn reached(&self) -> [f64; 2] {
        let last: Vec<f64> = self.accuracies().take(2).map(|accuracy| accuracy.max(0.0)).collect();
        let end = |pick: fn(f64, f64) -> f64| last.iter().copied().reduce(pick).unwrap_or(0.0);
        [end(f64::min), end(f64::max)]
    }

    /// Whether the last evaluation is better than all others by two points.
    pub(crate) fn is_rising(&self) -> bool {
        const GAIN: f64 = 0.02;
        let mut accuracies = self.accuracies();
        let last = accuracies.next().unwrap_or(f64::NAN);
        last > accuracies.fold(0.0, f64::max) + GAIN
    }

    /// Training accuracy minus validation accuracy at the last evaluation.
    pub(crate) fn gap(&self) -> Option<f64> {
        let last = self.moments.iter().rev().find_map(|moment| match moment {
            ReplayEvent::Evaluation(evaluation) => Some(evaluation.train_accuracy - evaluation.validation_accuracy),
            _ => None,
        });
        last.filter(|gap| gap.is_finite())
    }

    /// Verdict of gradwatch's rules.
    pub(crate) fn diagnose(&self, thresholds: &Thresholds) -> Verdict {
        let (mut diagnosis, subject) = (Diagnosis::with_thresholds(thresholds.clone()), self.subject());
        for moment in &self.moments {
            match moment {
                ReplayEvent::Restart => {}
                ReplayEvent::Step(sample) => _ = diagnosis.judge(&sample.observe(), &subject),
                ReplayEvent::Evaluation(evaluation) => _ = diagnosis.judge_evaluation(evaluation, &subject),
            }
        }
        let is_alarm = |finding: &&Finding| finding.severity >= Severity::Warning;
        let alarms = diagnosis.open_findings().filter(is_alarm);
        let alarms = alarms.map(|finding| (finding.rule.to_string(), Some(finding.rule), finding.first_step)).collect();
        let symptoms = |finding: &Finding| finding.symptoms.iter().map(|(rule, _)| *rule).collect::<Vec<_>>();
        let spoke = diagnosis.findings().iter().flat_map(|finding| [vec![finding.rule], symptoms(finding)].concat());
        let rules = spoke.map(|rule| rule.to_string()).collect();
        let root_cause = diagnosis.root_cause();
        Verdict {
            alarms,
            rules,
            is_critical: diagnosis.open_findings().any(|finding| finding.severity >= Severity::Critical),
            root_cause: root_cause.map(|finding| finding.rule),
            remedies: root_cause
                .map_or_else(Vec::new, |finding| finding.remedies.iter().map(|remedy| remedy.change.clone()).collect()),
        }
    }

    /// Verdict of another tool's rules.
    pub(crate) fn ask(&self, name: RuleSetName) -> Verdict {
        let (mut rules, subject, mut alarms) = (RuleSet::new(name, &[]), self.subject(), Vec::new());
        for moment in &self.moments {
            match moment {
                ReplayEvent::Restart => {}
                ReplayEvent::Step(sample) => alarms.extend(rules.judge(&sample.observe(), &subject)),
                ReplayEvent::Evaluation(evaluation) => alarms.extend(rules.judge_evaluation(evaluation, &subject)),
            }
        }
        let alarms = alarms.into_iter().map(|alarm| {
            let name = names::of(&alarm.rule, &self.case.fault);
            (alarm.rule, name, alarm.step)
        });
        let alarms: Vec<_> = alarms.collect();
        let root_cause = alarms.first().and_then(|(_, name, _)| *name);
        let rules = alarms.iter().map(|(rule, ..)| rule.clone()).collect();
        Verdict { alarms, rules, root_cause, ..Verdict::default() }
    }
}

/// Evaluates a rule set on every run, on two threads.
pub(crate) fn judge_all(traces: &[Trace], judge: impl Fn(&Trace) -> Verdict + Sync) -> Vec<Verdict> {
    let (front, back) = traces.split_at(traces.len() / 2);
    thread::scope(|scope| {
        let front = scope.spawn(|| front.iter().map(&judge).collect::<Vec<_>>());
        let back: Vec<Verdict> = back.iter().map(&judge).collect();
        front.join().expect("a judge does not panic").into_iter().chain(back).collect()
    })
}

/// Verdict on a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Verdict {
    /// Alarms, which are findings of severity warning or higher: the rule, its gradwatch name, and the step.
    pub alarms: Vec<(String, Option<RuleName>, u64)>,
    /// All rules with findings, including symptoms of others.
    pub rules: Vec<String>,
    /// Whether an alarm is critical.
    pub is_critical: bool,
    /// The root cause, as a gradwatch rule name.
    pub root_cause: Option<RuleName>,
    /// Its remedies.
    pub remedies: Vec<Change>,
}

impl Verdict {
    /// The step of the first alarm.
    pub(crate) fn first(&self) -> Option<u64> {
        self.alarms.iter().map(|(_, _, step)| *step).min()
    }

    /// The step of the first alarm that identifies the fault of a case.
    pub(crate) fn first_that_names(&self, case: &Case) -> Option<u64> {
        let names_it = |name: &Option<RuleName>| name.is_some_and(|name| case.is_named_by(name));
        self.alarms.iter().filter(|(_, name, _)| names_it(name)).map(|(_, _, step)| *step).min()
    }

    /// The step of the first alarm by a rule outside this set.
    pub(crate) fn first_but_for(&self, rules: &HashSet<&str>) -> Option<u64> {
        self.alarms.iter().filter(|(rule, ..)| !rules.contains(&**rule)).map(|(_, _, step)| *step).min()
    }
}

/// Rules that raise an alarm on more than one in ten healthy runs; their alarms carry no information.
pub(crate) fn noisy_rules<'a>(traces: &[Trace], verdicts: &'a [Verdict]) -> HashSet<&'a str> {
    const MOST: f64 = 0.1;
    let healthy: Vec<&Verdict> =
        traces.iter().zip(verdicts).filter(|(trace, _)| !trace.case.is_faulty()).map(|(_, verdict)| verdict).collect();
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let rules = |verdict: &&'a Verdict| verdict.alarms.iter().map(|(rule, ..)| &**rule).collect::<HashSet<_>>();
    healthy.iter().flat_map(rules).for_each(|rule| *counts.entry(rule).or_default() += 1);
    counts.retain(|_, count| *count as f64 > MOST * healthy.len() as f64);
    counts.into_keys().collect()
}

/// Accuracy of a rule set over some runs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Score {
    pub faulty: usize,
    pub found: usize,
    pub named: usize,
    pub healthy: usize,
    pub false_alarms: usize,
    /// False alarms that are critical.
    pub critical: usize,
    /// Over the faulty runs that were found.
    pub median_first: Option<u64>,
}

impl Score {
    pub(crate) fn of<'a>(verdicts: impl Iterator<Item = (&'a Trace, &'a Verdict)>) -> Self {
        let mut score = Self::default();
        let mut firsts = Vec::new();
        for (trace, verdict) in verdicts {
            if !trace.case.is_faulty() {
                score.healthy += 1;
                score.false_alarms += usize::from(verdict.first().is_some());
                score.critical += usize::from(verdict.is_critical);
                continue;
            }
            score.faulty += 1;
            firsts.extend(verdict.first());
            score.named += usize::from(verdict.root_cause.is_some_and(|rule| trace.case.is_named_by(rule)));
        }
        firsts.sort_unstable();
        Self { found: firsts.len(), median_first: firsts.get(firsts.len() / 2).copied(), ..score }
    }

    pub(crate) fn recall(&self) -> Option<f64> {
        share(self.found, self.faulty)
    }

    pub(crate) fn false_alarm_rate(&self) -> Option<f64> {
        share(self.false_alarms, self.healthy)
    }

    pub(crate) fn balanced_accuracy(&self) -> Option<f64> {
        Some(0.5 * (self.recall()? + 1.0 - self.false_alarm_rate()?))
    }

    pub(crate) fn top1(&self) -> Option<f64> {
        share(self.named, self.faulty)
    }
}

/// `None` if there are no runs of a kind, which `ONLY` can cause.
fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
