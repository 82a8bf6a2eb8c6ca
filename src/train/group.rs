//! The micro-batches of a step.

use std::ops::Range;

use tch::{TchError, Tensor};

use crate::data::Batch;

/// The micro-batches of a step, with those of other ranks in numbers only.
pub(super) struct Group {
    /// The micro-batches of this rank, each with its number in the step.
    pub batches: Vec<(usize, Batch)>,
    /// Number of images of each micro-batch of the step; 0 if none of them decodes.
    pub images: Vec<u64>,
    /// Divisor of the losses of each micro-batch.
    pub weights: Vec<f64>,
    /// Divisor of the sum of the losses of all images.
    pub weight: f64,
    /// The same, but 0 if every label has weight 0.
    pub loss_weight: f64,
    /// Numbers of the micro-batches in the epoch.
    pub numbers: Range<usize>,
}

/// What a rank says about a micro-batch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Size {
    pub images: u64,
    pub weight: f64,
}

impl Group {
    /// `sizes` are those of all micro-batches, in order.
    pub(super) fn new(batches: Vec<(usize, Batch)>, sizes: &[Size], numbers: Range<usize>) -> Self {
        let weight: f64 = sizes.iter().map(|size| size.weight).sum();
        Self {
            batches,
            images: sizes.iter().map(|size| size.images).collect(),
            weights: sizes.iter().map(|size| size.weight).collect(),
            // Weights of 0 for every label make a loss of 0, not 0 / 0.
            weight: if weight > 0.0 { weight } else { 1.0 },
            loss_weight: weight,
            numbers,
        }
    }

    /// Whether a micro-batch of this rank has images. Otherwise it is a pass for the sake of other ranks.
    pub(super) fn has_images(&self, number: usize) -> bool {
        self.images.get(number).is_some_and(|images| *images > 0)
    }

    /// Whether a micro-batch is the first one with images in its round of one micro-batch per rank.
    pub(super) fn is_first_of_round(&self, number: usize, world: usize) -> bool {
        let start = number - number % world;
        self.has_images(number) && (start..number).all(|earlier| !self.has_images(earlier))
    }

    /// The share of a micro-batch in the mean loss of the step.
    pub(super) fn share_of(&self, number: usize, loss_sum: &Tensor) -> Result<Tensor, TchError> {
        let share = loss_sum.f_div_scalar(self.weight)?;
        if self.has_images(number) { Ok(share) } else { share.f_mul_scalar(0.0) }
    }

    /// Number of images on all ranks.
    pub(super) fn all_images(&self) -> u64 {
        self.images.iter().sum()
    }

    /// The ranks that have a micro-batch, for each round of one micro-batch per rank.
    pub(super) fn rounds(&self, world: usize) -> Vec<Vec<usize>> {
        let ranks = |round: &[u64]| (0..round.len()).filter(|rank| round[*rank] > 0).collect();
        self.images.chunks(world).map(ranks).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_leave_out_ranks_without_images() {
        let sizes = [4, 0, 4, 2, 3].map(|images| Size { images, weight: images as f64 });
        let group = Group::new(Vec::new(), &sizes, 10..15);
        assert_eq!((group.all_images(), group.weight), (13, 13.0));
        assert_eq!(group.rounds(2), [vec![0], vec![0, 1], vec![0]]);
        assert_eq!(group.rounds(1), [vec![0], vec![], vec![0], vec![0], vec![0]]);
        assert_eq!(
            [0, 1, 2, 3, 4, 5].map(|number| group.is_first_of_round(number, 2)),
            [true, false, true, false, true, false]
        );
        let loss_sum = Tensor::from(26.0f32);
        assert_eq!(
            [0, 1, 5].map(|number| group.share_of(number, &loss_sum).unwrap().double_value(&[])),
            [2.0, 0.0, 0.0]
        );
        assert_eq!(Group::new(Vec::new(), &[Size::default()], 0..1).weight, 1.0);
    }
}
