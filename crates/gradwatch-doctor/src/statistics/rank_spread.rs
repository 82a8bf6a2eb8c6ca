//! Lowest, middle, and highest value of the ranks.

use super::RankStep;

/// A value over all ranks: its median, and its ends with their ranks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankSpread {
    /// Lowest value.
    pub min: f64,
    /// Median; the upper one of two middle values.
    pub median: f64,
    /// Highest value.
    pub max: f64,
    /// First rank with the lowest value.
    pub min_rank: usize,
    /// First rank with the highest value.
    pub max_rank: usize,
}

impl RankSpread {
    /// Computes the spread of the finite values, which are in rank order; `None` without any.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut finite: Vec<(f64, usize)> =
            values.into_iter().zip(0..).filter(|(value, _)| value.is_finite()).collect();
        // A stable sort keeps equal values in rank order.
        finite.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let (&(min, min_rank), &(max, _)) = (finite.first()?, finite.last()?);
        let max_rank = finite[finite.partition_point(|(value, _)| *value < max)].1;
        Some(Self { min, median: finite[finite.len() / 2].0, max, min_rank, max_rank })
    }

    /// Gives each rank the median, and the two at the ends their values.
    pub(crate) fn fill(&self, ranks: &mut [RankStep], store: impl Fn(&mut RankStep, f64)) {
        for (rank, step) in ranks.iter_mut().enumerate() {
            let value = match rank {
                rank if rank == self.max_rank => self.max,
                rank if rank == self.min_rank => self.min,
                _ => self.median,
            };
            store(step, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_first_ranks_at_its_ends_and_skips_what_is_not_finite() {
        let spread = RankSpread::of([2.0, f64::NAN, 1.0, 5.0, f64::INFINITY, 5.0, 1.0, 3.0]);
        assert_eq!(spread, Some(RankSpread { min: 1.0, median: 3.0, max: 5.0, min_rank: 2, max_rank: 3 }));
        let equal = RankSpread::of([4.0, 4.0]);
        assert_eq!(equal, Some(RankSpread { min: 4.0, median: 4.0, max: 4.0, min_rank: 0, max_rank: 0 }));
        assert_eq!(RankSpread::of([f64::NAN]), None);
    }
}
