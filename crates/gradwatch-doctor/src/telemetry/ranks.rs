//! Series of the ranks of a data-parallel run: one per rank, or those of the spread if there are many ranks.

use gradwatch_events::{EventsError, SummaryWriter};

use super::tags::{self, GroupTag};
use crate::statistics::{RankSpread, RankStatistics, RankStep};

/// A value of a rank, if it has one, and its tag.
type Value = (GroupTag, fn(&RankStep) -> Option<f64>);

/// All values of a rank. Without images, it has no norm and no loss.
const VALUES: [Value; 6] = [
    (tags::RANK_IMAGES, |rank| Some(rank.images as f64)),
    (tags::RANK_GRAD_NORM, |rank| (rank.images > 0).then_some(rank.norm)),
    (tags::RANK_LOSS, |rank| (rank.images > 0).then_some(rank.loss)),
    (tags::RANK_BUSY_SECS, |rank| Some(rank.busy_secs)),
    (tags::RANK_LOADING_SECS, |rank| Some(rank.loading_secs)),
    (tags::RANK_WAIT_SECS, |rank| Some(rank.wait_secs)),
];

/// A series of a value of the ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RankColumn {
    /// The value of a rank, below [`RankStatistics::LISTED`].
    Rank(usize),
    Min,
    Median,
    Max,
    /// The rank with the lowest or the highest value.
    MinRank,
    MaxRank,
}

impl RankColumn {
    const OF_SPREAD: [(&'static str, Self); 5] = [
        ("min", Self::Min),
        ("median", Self::Median),
        ("max", Self::Max),
        ("min_rank", Self::MinRank),
        ("max_rank", Self::MaxRank),
    ];

    /// The series with this name in its tag.
    pub(crate) fn find(name: &str) -> Option<Self> {
        let of_spread = Self::OF_SPREAD.iter().find(|(column, _)| *column == name).map(|(_, column)| *column);
        let rank = || name.parse().ok().filter(|rank| *rank < RankStatistics::LISTED).map(Self::Rank);
        of_spread.or_else(rank)
    }

    /// A number of its own for each series.
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Rank(rank) => rank,
            column => {
                let place = Self::OF_SPREAD.iter().position(|(_, other)| *other == column);
                RankStatistics::LISTED + place.unwrap_or_default()
            }
        }
    }
}

/// Writes `rank_images/`, `rank_grad_norm/`, `rank_loss/`, `rank_busy_secs/`, `rank_loading_secs/`, and
/// `rank_wait_secs/` of each rank (`rank_loss/0`), `ranks/cosine`, and `ranks/weight_mismatch`: the number of parameters
/// that differ between ranks, if any does. With more than 64 ranks, `min`, `median`, `max`, `min_rank`, and `max_rank`
/// take the place of the ranks. Writes nothing for one rank.
///
/// # Errors
/// If an earlier entry could not be written.
pub fn write_ranks(writer: &SummaryWriter, step: u64, statistics: &RankStatistics) -> Result<(), EventsError> {
    let RankStatistics { ranks, cosine, mismatch, .. } = statistics;
    if ranks.len() < 2 {
        return Ok(());
    }
    let of_one = |(tag, value): Value| {
        if ranks.len() > RankStatistics::LISTED {
            let spread = statistics.spread(|rank| value(rank).unwrap_or(f64::NAN));
            return spread.map(|spread| of_spread(tag, spread).to_vec()).unwrap_or_default();
        }
        let known = ranks.iter().enumerate().filter_map(|(rank, step)| Some((tag.of(rank), value(step)?)));
        known.collect::<Vec<_>>()
    };
    let of_all = [
        cosine.map(|cosine| (tags::RANK_COSINE.to_string(), cosine)),
        mismatch.as_ref().map(|mismatch| (tags::WEIGHT_MISMATCH.to_string(), mismatch.parameters as f64)),
    ];
    writer.scalars(step, VALUES.into_iter().flat_map(of_one).chain(of_all.into_iter().flatten()))
}

fn of_spread(tag: GroupTag, spread: RankSpread) -> [(String, f64); 5] {
    let RankSpread { min, median, max, min_rank, max_rank } = spread;
    let values = [min, median, max, min_rank as f64, max_rank as f64];
    std::array::from_fn(|index| (tag.of(RankColumn::OF_SPREAD[index].0), values[index]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_series_has_a_name_and_a_number_of_its_own() {
        let names = ["0", "63", "min", "median", "max", "min_rank", "max_rank"];
        let indices = names.map(|name| RankColumn::find(name).map(RankColumn::index));
        assert_eq!(indices, [0, 63, 64, 65, 66, 67, 68].map(Some));
        assert_eq!(["64", "-1", "", "val", "+"].map(RankColumn::find), [None; 5]);
    }
}
