//! Stochastic depth: drops blocks at random (Huang et al. 2016).

use tch::{TchError, Tensor};

use crate::model::{Pass, parameter::Path};

/// Drops the branch of a block for some images of a batch, and scales it up for the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct StochasticDepth {
    probability: f64,
}

impl StochasticDepth {
    /// Creates stochastic depth for block `index` of `count`. The probability grows linearly from 0 for the first block
    /// to `model.stochastic_depth` for the last.
    pub(crate) fn of_block(path: &Path<'_>, index: usize, count: usize) -> Self {
        let share = index as f64 / count.saturating_sub(1).max(1) as f64;
        Self { probability: share * path.config().stochastic_depth }
    }

    /// Drops branches in a training pass. In evaluation or at probability 0, it is the identity and does not use the
    /// random generator.
    pub(crate) fn forward(self, branch: Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        if !pass.train || self.probability == 0.0 {
            return Ok(branch);
        }
        let mut shape = vec![1; branch.dim()];
        shape[0] = branch.size()[0];
        let kept = 1.0 - self.probability;
        let scale = Tensor::f_empty(shape, (branch.kind(), branch.device()))?.f_bernoulli_float_(kept)?;
        branch.f_mul(&scale.f_div_scalar(kept)?)
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::{
        config::{Architecture, ModelConfig},
        model::{fixture, parameter::Builder},
    };

    #[test]
    fn the_first_block_stays_and_the_last_is_dropped_for_whole_images_with_its_mean_kept() {
        let config = ModelConfig { stochastic_depth: 0.2, ..fixture::config(Architecture::Cnn) };
        let builder = Builder::new(&config, Device::Cpu);
        let of = |index| StochasticDepth::of_block(&builder.root(), index, 5);
        assert_eq!([0, 2, 4].map(|index| of(index).probability), [0.0, 0.1, 0.2]);
        let branch = || Tensor::ones([10_000, 2, 3, 1], (Kind::Float, Device::Cpu));
        assert_eq!(of(4).forward(branch(), &Pass::evaluation()).unwrap(), branch());
        let dropped = of(4).forward(branch(), &Pass::training()).unwrap().flatten(1, -1);
        // Each image is entirely 0 or 1/0.8; five standard errors of the mean: 5 sqrt(0.25 / 1e4).
        let (least, _) = dropped.min_dim(1, false);
        let (most, _) = dropped.max_dim(1, false);
        assert_eq!(least, most);
        let mean = dropped.mean(Kind::Double).double_value(&[]);
        assert!((mean - 1.0).abs() < 0.025 && (most.max().double_value(&[]) - 1.25).abs() < 1e-6, "{mean}");
    }
}
