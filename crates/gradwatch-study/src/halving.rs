//! Successive halving: all configurations train for a few steps, and the best part of them continues.
//!
//! Jamieson & Talwalkar 2016 (arXiv:1502.07943); the inner loop of Hyperband (arXiv:1603.06560).

use crate::definition::Goal;

/// Chooses the configurations that continue: the best 1/`factor` of them, rounded up. `scores` has one list per
/// configuration, with the score of each of its seeds; the mean decides. A configuration with a missing or non-finite
/// score does not continue. Returns indices in ascending order; of equal scores, the first one continues.
pub fn survivors(scores: &[Vec<Option<f64>>], factor: u64, goal: Goal) -> Vec<usize> {
    let mean = |scores: &Vec<Option<f64>>| {
        let sum = scores.iter().try_fold(0.0, |sum, score| score.map(|score| sum + score));
        sum.map(|sum| sum / scores.len() as f64).filter(|mean| mean.is_finite())
    };
    let means: Vec<Option<f64>> = scores.iter().map(mean).collect();
    let mut scored: Vec<(usize, f64)> =
        means.into_iter().enumerate().filter_map(|(index, mean)| Some((index, mean?))).collect();
    scored.sort_by(|(_, one), (_, other)| match goal {
        Goal::Max => other.total_cmp(one),
        Goal::Min => one.total_cmp(other),
    });
    let mut order: Vec<usize> = scored.into_iter().map(|(index, _)| index).collect();
    order.truncate((scores.len() as u64).div_ceil(factor) as usize);
    order.sort_unstable();
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(scores: &[f64]) -> Vec<Vec<Option<f64>>> {
        scores.iter().map(|score| vec![Some(*score)]).collect()
    }

    #[test]
    fn the_best_part_continues_in_the_order_of_the_grid() {
        let five = scores(&[0.1, 0.5, 0.3, 0.4, 0.2]);
        assert_eq!(survivors(&five, 2, Goal::Max), [1, 2, 3]);
        assert_eq!(survivors(&five, 2, Goal::Min), [0, 2, 4]);
        assert_eq!(survivors(&five, 100, Goal::Max), [1]);
        assert_eq!(survivors(&[], 2, Goal::Max), [0; 0]);
        assert_eq!(survivors(&scores(&[0.5, 0.5, 0.5, 0.5]), 2, Goal::Max), [0, 1]);
    }

    #[test]
    fn a_configuration_with_a_seed_that_diverged_does_not_continue() {
        let of = |pairs: &[[Option<f64>; 2]]| pairs.iter().map(|pair| pair.to_vec()).collect::<Vec<_>>();
        let three =
            of(&[[Some(0.9), None], [Some(0.1), Some(0.2)], [Some(f64::NAN), Some(1.0)], [Some(0.2), Some(0.0)]]);
        for goal in [Goal::Max, Goal::Min] {
            assert_eq!(survivors(&three, 2, goal), [1, 3]);
            assert_eq!(survivors(&three[2..3], 2, goal), [0; 0]);
        }
    }
}
