//! One value of all ranks over the steps, and the ranks that are far from the others.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::FACTOR;
use crate::diagnosis::course::median;

/// Logarithm of a deviation over the largest one of any other rank.
const MARGIN: f64 = 1.5;
/// Part of a rank's largest deviation that fades with each tracked step.
const FADING: f64 = 1.0 / 1024.0;
/// Value over the largest one before.
pub(super) const EXTREME: f64 = 100.0;
/// Tracked steps before the first outlier.
const LEAST: u64 = 20;
/// Chance of as many outliers in a row on one of several equal ranks, and tracked steps within which they must appear.
const CHANCE: f64 = 1e-5;
const LEAST_OUTLIERS: usize = 3;
const WITHIN: u64 = 128;
/// Number of usual values to remember.
const REMEMBERED: usize = 64;
/// Factor between the usual values of two ranks from which either one could be off.
const APART: f64 = 2.0;
/// Largest logarithm of a deviation, which a value of 0 has.
const MOST: f64 = 20.0;

/// One value of all ranks over the steps.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Track {
    readings: u64,
    /// Logarithms of usual values: the last medians of the ranks, or the last values of each of two ranks.
    usual: Vec<VecDeque<f64>>,
    /// Largest recent deviation of each rank, fading.
    deviations: Vec<f64>,
    /// Largest value of any rank.
    largest: f64,
    /// Rank of the last outliers, and their tracked steps.
    suspect: Option<(usize, VecDeque<u64>)>,
}

/// A rank that is far from the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spike {
    pub rank: usize,
    pub value: f64,
    /// Value over the usual one.
    pub factor: f64,
    /// Number of outliers in a row, and tracked steps since the first one.
    pub outliers: usize,
    pub steps: u64,
    pub is_extreme: bool,
}

impl Track {
    /// Adds the values of a step; `None` for a rank without images. Returns the rank that is off, if one is.
    pub(super) fn add(&mut self, values: &[Option<f64>], factor: f64) -> Option<Spike> {
        let world = values.len();
        if self.deviations.len() != world {
            let usual = vec![VecDeque::new(); if world == 2 { 2 } else { 1 }];
            *self = Self { usual, deviations: vec![0.0; world], ..Self::default() };
        }
        let known = logarithms(values)?;
        self.readings += 1;
        let center = self.center(&known);
        // An unknown center is no measure.
        let off = |log: f64| if center.is_finite() { (log - center).abs().min(MOST) } else { 0.0 };
        let (rank, log) = known.iter().copied().max_by(|one, other| off(one.1).total_cmp(&off(other.1)))?;
        let others = known.iter().filter(|(other, _)| *other != rank).map(|(_, log)| off(*log)).fold(0.0, f64::max);
        let before = self.deviations.iter().enumerate().filter(|(other, _)| *other != rank);
        let before = before.map(|(_, deviation)| *deviation).fold(others, f64::max);
        let is_far = self.readings > LEAST && off(log) >= factor.ln().max(MARGIN * before);
        let is_outlier = is_far && self.is_usual(center, others);
        let is_extreme = is_outlier && log.exp() > EXTREME * self.largest;
        self.deviations.iter_mut().for_each(|deviation| *deviation *= 1.0 - FADING);
        known.iter().for_each(|(rank, log)| self.deviations[*rank] = self.deviations[*rank].max(off(*log)));
        self.remember(&known, center, is_outlier.then_some(rank));
        if !is_extreme {
            self.largest = known.iter().map(|(_, log)| log.exp()).fold(self.largest, f64::max);
        }
        let (outliers, steps) = if is_outlier { self.suspect(rank) } else { return None };
        let is_told = is_extreme || outliers >= wanted(world);
        is_told.then(|| Spike { rank, value: log.exp(), factor: (log - center).exp(), outliers, steps, is_extreme })
    }

    /// Logarithm with which to compare the ranks: their median in this step, or what is usual for both of two ranks. NaN if
    /// there is none.
    fn center(&self, known: &[(usize, f64)]) -> f64 {
        let [one, other] = &self.usual[..] else { return median(known.iter().map(|(_, log)| *log).collect()) };
        let (one, other) = (middle(one), middle(other));
        if (one - other).abs() <= APART.ln() { f64::midpoint(one, other) } else { f64::NAN }
    }

    /// Whether the step is as usual for the other ranks, of which the farthest has this deviation.
    fn is_usual(&self, center: f64, others: f64) -> bool {
        let shift = match &self.usual[..] {
            [medians] => (center - middle(medians)).abs(),
            _ => others,
        };
        shift <= FACTOR.ln()
    }

    /// Remembers usual values. The outlier of two ranks is none.
    fn remember(&mut self, known: &[(usize, f64)], center: f64, outlier: Option<usize>) {
        match &mut self.usual[..] {
            [medians] => push(medians, center),
            each => {
                let usual = known.iter().filter(|(rank, _)| Some(*rank) != outlier);
                usual.for_each(|(rank, log)| push(&mut each[*rank], *log));
            }
        }
    }

    /// Adds an outlier of a rank. Returns the number of outliers in a row, and the tracked steps since the first one.
    fn suspect(&mut self, rank: usize) -> (usize, u64) {
        let now = self.readings;
        let (suspect, readings) = self.suspect.get_or_insert_default();
        if *suspect != rank {
            (*suspect, *readings) = (rank, VecDeque::new());
        }
        readings.push_back(now);
        readings.retain(|reading| now - reading < WITHIN);
        (readings.len(), now + 1 - readings[0])
    }
}

/// Logarithms of the values, with their ranks. `None` if they cannot be compared: too few, or not finite, or below 0, which
/// other rules find.
fn logarithms(values: &[Option<f64>]) -> Option<Vec<(usize, f64)>> {
    let known: Vec<(usize, f64)> =
        values.iter().enumerate().filter_map(|(rank, value)| Some((rank, (*value)?.ln()))).collect();
    let is_valid = |value: &f64| value.is_finite() && *value >= 0.0;
    (known.len() >= values.len().clamp(2, 3) && values.iter().flatten().all(is_valid)).then_some(known)
}

/// Number of outliers in a row that are no coincidence among so many equal ranks.
pub(super) fn wanted(world: usize) -> usize {
    let repeated = -CHANCE.ln() / (world as f64).ln();
    LEAST_OUTLIERS.max(1 + repeated.ceil() as usize)
}

fn middle(logs: &VecDeque<f64>) -> f64 {
    median(logs.iter().copied().collect())
}

fn push(logs: &mut VecDeque<f64>, log: f64) {
    // 0 has no finite logarithm.
    if log.is_finite() {
        if logs.len() == REMEMBERED {
            logs.pop_front();
        }
        logs.push_back(log);
    }
}
