//! Statistics of the ranks of a step, from the values of their series.

use super::Role;
use crate::{
    diagnosis::Facts,
    statistics::{RankSpread, RankStatistics, RankStep},
    telemetry::RankColumn,
};

/// A value of a rank: its role, and the place to store it.
type Field = (Role, fn(&mut RankStep, f64));

const FIELDS: [Field; 6] = [
    (Role::RankImages, |rank, value| rank.images = value as u64),
    (Role::RankGradNorm, |rank, value| rank.norm = value),
    (Role::RankLoss, |rank, value| rank.loss = value),
    (Role::RankBusySecs, |rank, value| rank.busy_secs = value),
    (Role::RankLoadingSecs, |rank, value| rank.loading_secs = value),
    (Role::RankWaitSecs, |rank, value| rank.wait_secs = value),
];

/// Assembles the statistics; `None` for a step without series of ranks. `number` returns the value of a role and column.
pub(super) fn rank_statistics(number: impl Fn(Role, usize) -> Option<f64>, facts: &Facts) -> Option<RankStatistics> {
    let value = |role, column: RankColumn| number(role, column.index());
    let listed = (0..RankStatistics::LISTED).rev();
    let has_rank = |rank: &usize| FIELDS.iter().any(|(role, _)| value(*role, RankColumn::Rank(*rank)).is_some());
    let ranks = match listed.clone().find(has_rank) {
        Some(last) => each(last + 1, value),
        None => spreads(facts.ranks.len().max(RankStatistics::LISTED + 1), value)?,
    };
    Some(RankStatistics { ranks, cosine: number(Role::RankCosine, 0), non_finite: None, mismatch: None })
}

fn each(count: usize, value: impl Fn(Role, RankColumn) -> Option<f64>) -> Vec<RankStep> {
    let rank = |rank: usize| {
        let mut step = RankStep::default();
        for (role, store) in FIELDS {
            if let Some(value) = value(role, RankColumn::Rank(rank)) {
                store(&mut step, value);
            }
        }
        step
    };
    (0..count).map(rank).collect()
}

/// The ranks as [`RankStatistics::recorded`] returns them; `None` without a spread.
fn spreads(count: usize, value: impl Fn(Role, RankColumn) -> Option<f64>) -> Option<Vec<RankStep>> {
    let mut ranks = vec![RankStep::default(); count];
    let mut is_found = false;
    for (role, store) in FIELDS {
        let value = |column| value(role, column);
        let spread = || {
            Some(RankSpread {
                min: value(RankColumn::Min)?,
                median: value(RankColumn::Median)?,
                max: value(RankColumn::Max)?,
                min_rank: value(RankColumn::MinRank)? as usize,
                max_rank: value(RankColumn::MaxRank)? as usize,
            })
        };
        if let Some(spread) = spread() {
            spread.fill(&mut ranks, store);
            is_found = true;
        }
    }
    is_found.then_some(ranks)
}
