//! Statistics of the ranks of a step, from what each of them told about its own gradient.

use std::{collections::BTreeMap, sync::Arc};

use crate::gradient::{MicroBatchNorms, RankPlace, RankStatistics, RankStep, WeightMismatch};

/// What all ranks told about a step, on the host.
pub(super) struct RankFigures<'a> {
    /// Busy, loading, and waiting seconds of each rank.
    pub seconds: &'a [[f64; 3]],
    /// Images of each micro-batch of the step.
    pub images: &'a [u64],
    /// Divisor of the losses of each micro-batch.
    pub weights: &'a [f64],
    /// Sum of the losses of each micro-batch.
    pub losses: &'a [f64],
    /// Ranks x parameters: sums of squares of the elements of each rank's part of the gradient.
    pub squares: &'a [f64],
    /// Whether `squares` adds up those of single micro-batches, as under the exact reduction.
    pub is_by_micro_batch: bool,
    /// L2 norm of the sum over all ranks.
    pub total_norm: f64,
}

/// The part of a rank.
struct Part {
    images: u64,
    micro_batches: f64,
    /// Fraction of the weight of all images.
    share: f64,
    /// Sum of squares of its part of the gradient.
    squares: f64,
}

impl RankFigures<'_> {
    fn world(&self) -> usize {
        self.seconds.len()
    }

    fn of_rank<'b, T: Copy>(&self, values: &'b [T], rank: usize) -> impl Iterator<Item = T> + use<'b, T> {
        values.iter().skip(rank).step_by(self.world()).copied()
    }

    fn parameters(&self, rank: usize) -> &[f64] {
        let count = self.squares.len() / self.world().max(1);
        &self.squares[rank * count..(rank + 1) * count]
    }

    fn part(&self, rank: usize) -> Part {
        let all: f64 = self.weights.iter().sum();
        Part {
            images: self.of_rank(self.images, rank).sum(),
            micro_batches: self.of_rank(self.images, rank).filter(|images| *images > 0).count() as f64,
            share: self.of_rank(self.weights, rank).sum::<f64>() / all,
            squares: self.parameters(rank).iter().sum(),
        }
    }

    /// The statistics, without those of a check of the weights. `names` are those of the parameters; `images_of` returns
    /// the indices of the images of a micro-batch.
    pub(super) fn statistics(&self, names: &[Arc<str>], images_of: impl Fn(usize) -> Vec<u32>) -> RankStatistics {
        let step = |rank: usize| {
            let part = self.part(rank);
            let [busy_secs, loading_secs, wait_secs] = self.seconds[rank];
            let (weight, loss) =
                (self.of_rank(self.weights, rank).sum::<f64>(), self.of_rank(self.losses, rank).sum::<f64>());
            let has_images = part.images > 0;
            RankStep {
                images: part.images,
                norm: if has_images { self.mean_square(&part).sqrt() } else { f64::NAN },
                loss: if has_images { loss / weight } else { f64::NAN },
                busy_secs,
                loading_secs,
                wait_secs,
            }
        };
        RankStatistics {
            ranks: (0..self.world()).map(step).collect(),
            cosine: self.cosine(),
            non_finite: self.non_finite(names, images_of),
            mismatch: None,
        }
    }

    /// Squared norm of the mean gradient over the rank's own images; with sums of micro-batches, the mean over those.
    fn mean_square(&self, part: &Part) -> f64 {
        let plain = part.squares / part.share.powi(2);
        if self.is_by_micro_batch { plain * part.micro_batches } else { plain }
    }

    /// Mean cosine between the parts of all pairs of ranks, or of micro-batches: the squared norm of the sum consists of
    /// the squares of the parts and the products of the pairs.
    fn cosine(&self) -> Option<f64> {
        let parts: Vec<Part> = (0..self.world()).map(|rank| self.part(rank)).filter(|part| part.images > 0).collect();
        let squares: f64 = parts.iter().map(|part| part.squares).sum();
        let norms: f64 = match self.is_by_micro_batch {
            false => parts.iter().map(|part| part.squares.sqrt()).sum(),
            true => parts.iter().map(|part| (part.squares * part.micro_batches).sqrt()).sum(),
        };
        let cosine = (self.total_norm.powi(2) - squares) / (norms.powi(2) - squares);
        (parts.len() > 1 && cosine.is_finite()).then(|| cosine.clamp(-1.0, 1.0))
    }

    /// The norms from which the noise scale is estimated, if all parts have the same number of images.
    pub(super) fn noise(&self) -> Option<MicroBatchNorms> {
        let parts: Vec<Part> = (0..self.world()).map(|rank| self.part(rank)).collect();
        let count: f64 = parts.iter().map(|part| if self.is_by_micro_batch { part.micro_batches } else { 1.0 }).sum();
        let batch_size = self.images.iter().sum::<u64>() as f64 / count;
        let units = parts.iter().flat_map(|part| {
            let units = if self.is_by_micro_batch { part.micro_batches as usize } else { 1 };
            std::iter::repeat_n(self.mean_square(part), units)
        });
        let is_even = match self.is_by_micro_batch {
            true => self.images.iter().filter(|images| **images > 0).all(|images| *images as f64 == batch_size),
            false => parts.iter().all(|part| part.images as f64 == batch_size),
        };
        is_even.then(|| MicroBatchNorms {
            batch_size: batch_size as u64,
            micro: units.collect(),
            running: vec![(self.total_norm * count).powi(2)],
        })
    }

    /// Where a non-finite gradient began. `None` if every rank has one: then the weights are the cause.
    fn non_finite(&self, names: &[Arc<str>], images_of: impl Fn(usize) -> Vec<u32>) -> Option<RankPlace> {
        let with_images: Vec<usize> = (0..self.world()).filter(|rank| self.part(*rank).images > 0).collect();
        let is_bad = |rank: &usize| !self.part(*rank).squares.is_finite();
        let rank = with_images.iter().copied().find(is_bad)?;
        if with_images.iter().all(is_bad) {
            return None;
        }
        // Backward reaches the last parameters first.
        let parameter = self.parameters(rank).iter().rposition(|squares| !squares.is_finite())?;
        let own = (rank..self.images.len()).step_by(self.world()).filter(|number| self.images[*number] > 0);
        let bad: Vec<usize> = own.clone().filter(|number| !self.losses[*number].is_finite()).collect();
        // A finite loss does not say which of the rank's micro-batches it was.
        let micro_batches = if bad.is_empty() { own.collect() } else { bad };
        let images = micro_batches.iter().flat_map(|number| images_of(*number)).collect();
        Some(RankPlace { rank, parameter: Arc::clone(names.get(parameter)?), micro_batches, images })
    }
}

/// Compares checksums of the weights, ranks x tensors. `None` if all ranks have the same ones. `largest` returns the
/// largest magnitude of a tensor on each rank; it is called only if two ranks differ without a majority.
pub(super) fn mismatch<E>(
    names: &[Arc<str>],
    checksums: &[Vec<f64>],
    largest: impl FnOnce(usize) -> Result<Vec<f64>, E>,
) -> Result<Option<WeightMismatch>, E> {
    let mut camps: BTreeMap<Vec<u64>, Vec<usize>> = BTreeMap::new();
    for (rank, sums) in checksums.iter().enumerate() {
        camps.entry(sums.iter().map(|sum| sum.to_bits()).collect()).or_default().push(rank);
    }
    if camps.len() < 2 {
        return Ok(None);
    }
    let differs = |tensor: &usize| checksums.iter().any(|sums| sums[*tensor] != checksums[0][*tensor]);
    let tensors: Vec<usize> = (0..names.len()).filter(differs).collect();
    let Some(&first) = tensors.first() else { return Ok(None) };
    let majority = camps.values().find(|ranks| 2 * ranks.len() > checksums.len());
    let others = |ranks: &[usize]| (0..checksums.len()).filter(|rank| !ranks.contains(rank)).collect();
    let ranks = match majority {
        Some(majority) => others(majority),
        None => suspects(&largest(first)?),
    };
    let mismatch = WeightMismatch {
        parameter: Arc::clone(&names[first]),
        ranks,
        is_certain: majority.is_some(),
        parameters: tensors.len(),
    };
    Ok(Some(mismatch))
}

/// Factor from which a weight is out of the range of the others: a flipped bit of an exponent changes it at least by 2,
/// and mostly by far more.
const OUT_OF_RANGE: f64 = 8.0;

/// The ranks with a far larger weight than the smallest of the ranks has; all of them if there are none.
fn suspects(largest: &[f64]) -> Vec<usize> {
    let least = largest.iter().copied().fold(f64::INFINITY, f64::min);
    let is_far = |value: f64| !value.is_finite() || value > OUT_OF_RANGE * least;
    let far: Vec<usize> = (0..largest.len()).filter(|rank| is_far(largest[*rank])).collect();
    if far.is_empty() { (0..largest.len()).collect() } else { far }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<Arc<str>> {
        ["conv.weight", "fc.weight"].map(Arc::from).to_vec()
    }

    /// Two ranks with one micro-batch each: gradients (3, 0) and (0, 4) of the means over their own images, so that
    /// their parts of the mean over all are half of that.
    fn figures<'a>(squares: &'a [f64], losses: &'a [f64]) -> RankFigures<'a> {
        RankFigures {
            seconds: &[[0.5, 0.1, 0.0], [0.25, 0.0, 0.25]],
            images: &[8, 8],
            weights: &[8.0, 8.0],
            losses,
            squares,
            is_by_micro_batch: false,
            total_norm: 2.5,
        }
    }

    #[test]
    fn each_rank_has_the_norm_and_loss_of_its_own_images() {
        let figures = figures(&[2.25, 0.0, 0.0, 4.0], &[16.0, 24.0]);
        let statistics = figures.statistics(&names(), |_| Vec::new());
        let seen: Vec<_> = statistics.ranks.iter().map(|rank| (rank.images, rank.norm, rank.loss)).collect();
        assert_eq!(seen, [(8, 3.0, 2.0), (8, 4.0, 3.0)]);
        assert_eq!((statistics.ranks[0].busy_secs, statistics.ranks[1].wait_secs), (0.5, 0.25));
        // The two gradients are orthogonal.
        assert_eq!((statistics.cosine, statistics.non_finite), (Some(0.0), None));
        // |(3, 4)|^2 = 25 is the square of the sum of the means.
        let noise = figures.noise().unwrap();
        assert_eq!((noise.batch_size, noise.micro, noise.running), (8, vec![9.0, 16.0], vec![25.0]));
    }

    #[test]
    fn sums_of_micro_batches_give_their_root_mean_square() {
        // Rank 0 has two of three micro-batches; each has the gradient 6 of its own mean, a third of which is its part.
        let figures = RankFigures {
            images: &[4, 4, 4],
            weights: &[4.0, 4.0, 4.0],
            losses: &[4.0, 8.0, 12.0],
            squares: &[8.0, 4.0],
            is_by_micro_batch: true,
            total_norm: 6.0,
            ..figures(&[], &[])
        };
        let statistics = figures.statistics(&names(), |_| Vec::new());
        let seen: Vec<_> = statistics.ranks.iter().map(|rank| (rank.images, rank.norm.round(), rank.loss)).collect();
        assert_eq!(seen, [(8, 6.0, 2.0), (4, 6.0, 2.0)]);
        assert!((statistics.cosine.unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(figures.noise().unwrap().micro.len(), 3);
        let uneven = RankFigures { images: &[4, 4, 2], ..figures };
        assert_eq!(uneven.noise(), None);
    }

    #[test]
    fn a_rank_without_images_has_no_norm() {
        let figures = RankFigures {
            images: &[8],
            weights: &[8.0],
            losses: &[8.0],
            total_norm: 3.0,
            ..figures(&[9.0, 0.0, 0.0, 0.0], &[])
        };
        let statistics = figures.statistics(&names(), |_| Vec::new());
        assert_eq!((statistics.ranks[0].norm, statistics.ranks[1].norm.is_nan()), (3.0, true));
        assert_eq!((statistics.cosine, figures.noise()), (None, None));
    }

    #[test]
    fn a_non_finite_gradient_is_traced_to_its_rank_parameter_and_images() {
        let bad = figures(&[1.0, 1.0, f64::NAN, f64::INFINITY], &[1.0, f64::NAN]);
        let place = bad.statistics(&names(), |number| vec![number as u32 * 10]).non_finite.unwrap();
        let want = RankPlace { rank: 1, parameter: "fc.weight".into(), micro_batches: vec![1], images: vec![10] };
        assert_eq!(place, want);
        let everywhere = figures(&[f64::NAN; 4], &[f64::NAN; 2]);
        assert_eq!(everywhere.statistics(&names(), |_| Vec::new()).non_finite, None);
    }

    fn check(checksums: &[Vec<f64>], largest: &[f64]) -> Option<WeightMismatch> {
        mismatch(&names(), checksums, |_| Ok::<_, ()>(largest.to_vec())).unwrap()
    }

    #[test]
    fn a_rank_with_other_weights_is_named_by_the_majority() {
        assert_eq!(check(&[vec![1.0, 2.0], vec![1.0, 2.0]], &[]), None);
        let found = check(&[vec![1.0, 2.0], vec![1.0, 3.0], vec![1.0, 2.0]], &[]).unwrap();
        assert_eq!(
            (&*found.parameter, found.ranks, found.is_certain, found.parameters),
            ("fc.weight", vec![1], true, 1)
        );
    }

    #[test]
    fn of_two_ranks_the_one_with_the_far_larger_weight_is_suspect() {
        let sums = [vec![1.0, 2.0], vec![4.0, 3.0]];
        let found = check(&sums, &[0.5, 1e30]).unwrap();
        assert_eq!(
            (&*found.parameter, found.ranks, found.is_certain, found.parameters),
            ("conv.weight", vec![1], false, 2)
        );
        assert_eq!(check(&sums, &[f64::NAN, 0.5]).unwrap().ranks, [0]);
        assert_eq!(check(&sums, &[0.5, 0.5]).unwrap().ranks, [0, 1]);
    }
}
