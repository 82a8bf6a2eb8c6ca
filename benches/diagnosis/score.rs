//! What a judge says of each run, and how right it is.

use std::{path::Path, thread};

use gradwatch::{
    config::{Config, RuleName, RuleSetName, Severity},
    diagnosis::{Alarm, Diagnosis, Facts, Finding, RuleSet, Subject, Thresholds},
    replay::{Moment, Replay},
};

use crate::{cases::Case, names};

/// A run in memory.
pub struct Trace {
    pub case: Case,
    /// `None` of loops of one's own.
    pub config: Option<Config>,
    pub facts: Facts,
    pub moments: Vec<Moment>,
}

impl Trace {
    pub fn read(case: &Case, folder: &Path) -> Self {
        let fail = |error: &dyn std::error::Error| -> ! { panic!("{}: {error}", folder.display()) };
        let mut replay = Replay::open(folder, &[]).unwrap_or_else(|error| fail(&error));
        let mut moments = Vec::new();
        replay.play(|moment| moments.push(moment)).unwrap_or_else(|error| fail(&error));
        let Replay { config, facts, .. } = replay;
        Self { case: case.clone(), config, facts, moments }
    }

    pub fn subject(&self) -> Subject<'_> {
        Subject { config: self.config.as_ref(), facts: &self.facts }
    }

    /// The last validation accuracy.
    pub fn accuracy(&self) -> f64 {
        let mut evaluations = self.moments.iter().filter_map(|moment| match moment {
            Moment::Evaluation(evaluation) => Some(evaluation.validation_accuracy),
            _ => None,
        });
        evaluations.next_back().unwrap_or(f64::NAN)
    }

    /// What our rules say.
    pub fn diagnose(&self, thresholds: &Thresholds) -> Verdict {
        let (mut diagnosis, subject) = (Diagnosis::with_thresholds(thresholds.clone()), self.subject());
        for moment in &self.moments {
            match moment {
                Moment::Restart => {}
                Moment::Step(sample) => _ = diagnosis.judge(&sample.observe(), &subject),
                Moment::Evaluation(evaluation) => _ = diagnosis.judge_evaluation(evaluation, &subject),
            }
        }
        let is_alarm = |finding: &&Finding| finding.severity >= Severity::Warning;
        let alarms = || diagnosis.findings().iter().filter(is_alarm);
        let first = alarms().map(|finding| finding.first_step).min();
        let named =
            alarms().filter(|finding| self.case.is_named_by(finding.rule)).map(|finding| finding.first_step).min();
        let symptoms = |finding: &Finding| finding.symptoms.iter().map(|(rule, _)| *rule).collect::<Vec<_>>();
        let spoke = diagnosis.findings().iter().flat_map(|finding| [vec![finding.rule], symptoms(finding)].concat());
        let rules = spoke.map(|rule| rule.to_string()).collect();
        Verdict { first, named, rules, root_cause: diagnosis.root_cause().map(|finding| finding.rule) }
    }

    /// What another tool says.
    pub fn ask(&self, name: RuleSetName) -> Verdict {
        let (mut rules, subject, mut alarms) = (RuleSet::new(name, &[]), self.subject(), Vec::new());
        for moment in &self.moments {
            match moment {
                Moment::Restart => {}
                Moment::Step(sample) => alarms.extend(rules.judge(&sample.observe(), &subject)),
                Moment::Evaluation(evaluation) => alarms.extend(rules.judge_evaluation(evaluation, &subject)),
            }
        }
        let first = alarms.first().map(|alarm| alarm.step);
        let name_of = |alarm: &Alarm| names::of(&alarm.rule, self.case.fault);
        let root_cause = alarms.first().and_then(name_of);
        let is_right = |alarm: &&Alarm| name_of(alarm).is_some_and(|rule| self.case.is_named_by(rule));
        let named = alarms.iter().find(is_right).map(|alarm| alarm.step);
        Verdict { first, named, rules: alarms.into_iter().map(|alarm| alarm.rule).collect(), root_cause }
    }
}

/// Asks a judge about every run, on two threads.
pub fn judge_all(traces: &[Trace], judge: impl Fn(&Trace) -> Verdict + Sync) -> Vec<Verdict> {
    let (front, back) = traces.split_at(traces.len() / 2);
    thread::scope(|scope| {
        let front = scope.spawn(|| front.iter().map(&judge).collect::<Vec<_>>());
        let back: Vec<Verdict> = back.iter().map(&judge).collect();
        front.join().expect("a judge does not panic").into_iter().chain(back).collect()
    })
}

/// What was said of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The step of the first alarm, a finding from warnings on; `None` where there was none.
    pub first: Option<u64>,
    /// The step of the first one that names the fault.
    pub named: Option<u64>,
    /// Every rule that spoke.
    pub rules: Vec<String>,
    /// What is to be mended, in our names of rules.
    pub root_cause: Option<RuleName>,
}

/// How right a judge was over some runs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Score {
    pub faulty: usize,
    pub found: usize,
    pub named: usize,
    pub healthy: usize,
    pub false_alarms: usize,
    /// Of the faulty runs that were found.
    pub median_first: Option<u64>,
}

impl Score {
    pub fn of<'a>(verdicts: impl Iterator<Item = (&'a Trace, &'a Verdict)>) -> Self {
        let mut score = Self::default();
        let mut firsts = Vec::new();
        for (trace, verdict) in verdicts {
            if trace.case.fault.is_none() {
                score.healthy += 1;
                score.false_alarms += usize::from(verdict.first.is_some());
                continue;
            }
            score.faulty += 1;
            firsts.extend(verdict.first);
            score.named += usize::from(verdict.root_cause.is_some_and(|rule| trace.case.is_named_by(rule)));
        }
        firsts.sort_unstable();
        Self { found: firsts.len(), median_first: firsts.get(firsts.len() / 2).copied(), ..score }
    }

    pub fn recall(&self) -> f64 {
        self.found as f64 / self.faulty as f64
    }

    pub fn false_alarm_rate(&self) -> f64 {
        self.false_alarms as f64 / self.healthy as f64
    }

    pub fn balanced_accuracy(&self) -> f64 {
        0.5 * (self.recall() + 1.0 - self.false_alarm_rate())
    }

    pub fn top1(&self) -> f64 {
        self.named as f64 / self.faulty as f64
    }
}
