//! Gradient noise: the simple noise scale, and the cosine between the gradients of micro-batches.
//!
//! McCandlish, Kaplan, and Amodei 2018, "An Empirical Model of Large-Batch Training" (arXiv:1812.06162), appendix A.1.
//! Two batch sizes are enough; per-image gradients are not needed.

use serde::{Deserialize, Serialize};

/// Squared gradient norms of equally sized micro-batches and of their running sums.
#[derive(Debug, Clone, PartialEq)]
pub struct MicroBatchNorms {
    /// Number of images per micro-batch.
    pub batch_size: u64,
    /// ||g_k||^2, where g_k is the mean gradient of micro-batch k.
    pub micro: Vec<f64>,
    /// ||g_1 + ... + g_k||^2 for k = 1, 2, ...
    pub running: Vec<f64>,
}

impl MicroBatchNorms {
    /// Mean cosine between each micro-batch's gradient and the sum of the gradients before it: 1 if all agree, 0 if
    /// they are pure noise, below 0 if they oppose each other. `None` if there are fewer than two micro-batches, or if
    /// a gradient is 0 or not finite.
    pub fn cosine(&self) -> Option<f64> {
        let mut sum = 0.0;
        for k in 1..self.micro.len() {
            let product = (self.running[k] - self.running[k - 1] - self.micro[k]) / 2.0;
            sum += product / (self.micro[k] * self.running[k - 1]).sqrt();
        }
        let cosine = sum / self.micro.len().saturating_sub(1) as f64;
        cosine.is_finite().then(|| cosine.clamp(-1.0, 1.0))
    }

    /// Unbiased estimates of ||G||^2, where G is the gradient over all data, and of tr(S), where S is the covariance of
    /// the per-image gradient.
    fn estimates(&self) -> Option<(f64, f64)> {
        let count = self.micro.len() as f64;
        let (small, large) = (self.batch_size as f64, self.batch_size as f64 * count);
        let small_norm = self.micro.iter().sum::<f64>() / count;
        let large_norm = self.running.last()? / (count * count);
        let gradient = (large * large_norm - small * small_norm) / (large - small);
        let noise = (small_norm - large_norm) / (1.0 / small - 1.0 / large);
        (gradient.is_finite() && noise.is_finite()).then_some((gradient, noise))
    }
}

/// The simple noise scale tr(S) / ||G||^2: the batch size at which noise and gradient are equally large. Much smaller
/// batches use every image efficiently; much larger batches add little information.
///
/// Single estimates vary widely, so numerator and denominator are averaged separately over the readings, each with
/// exponential decay.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct NoiseScale {
    gradient: f64,
    noise: f64,
    /// Sum of the weights of all readings so far; below 1 at the start.
    weight: f64,
}

impl NoiseScale {
    /// Weight of the earlier readings in each new average.
    const DECAY: f64 = 0.95;

    /// Adds a reading. Readings with non-finite norms or fewer than two micro-batches are ignored.
    pub fn add(&mut self, norms: &MicroBatchNorms) {
        let Some((gradient, noise)) = norms.estimates() else { return };
        let average = |old: f64, new: f64| Self::DECAY * old + (1.0 - Self::DECAY) * new;
        self.gradient = average(self.gradient, gradient);
        self.noise = average(self.noise, noise);
        self.weight = average(self.weight, 1.0);
    }

    /// The noise scale in images. `None` before the first reading, and while noise dominates so strongly that the
    /// estimate of ||G||^2 is not positive.
    pub fn value(&self) -> Option<f64> {
        (self.weight > 0.0 && self.gradient > 0.0).then(|| (self.noise / self.gradient).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    /// Computes the norms from the mean gradients of micro-batches.
    fn norms(batch_size: u64, gradients: &[Vec<f64>]) -> MicroBatchNorms {
        let square = |vector: &[f64]| vector.iter().map(|value| value * value).sum::<f64>();
        let mut sum = vec![0.0; gradients[0].len()];
        let mut running = Vec::new();
        for gradient in gradients {
            sum.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value);
            running.push(square(&sum));
        }
        MicroBatchNorms { batch_size, micro: gradients.iter().map(|gradient| square(gradient)).collect(), running }
    }

    #[test]
    fn cosines_are_as_derived_by_hand() {
        let cosine = |gradients: &[Vec<f64>]| norms(1, gradients).cosine();
        assert_eq!(cosine(&[vec![3.0, 0.0], vec![7.0, 0.0]]), Some(1.0));
        assert_eq!(cosine(&[vec![3.0, 0.0], vec![0.0, 7.0]]), Some(0.0));
        assert_eq!(cosine(&[vec![1.0, 0.0], vec![-2.0, 0.0]]), Some(-1.0));
        // The third gradient against (1, 1): 1 / sqrt(2); the second against the first: 0.
        let third = cosine(&[vec![1.0, 0.0], vec![0.0, 1.0], vec![1.0, 0.0]]).unwrap();
        assert!((third - 0.5f64.sqrt() / 2.0).abs() < 1e-12);
        assert_eq!(cosine(&[vec![1.0]]), None);
        assert_eq!(cosine(&[vec![0.0], vec![1.0]]), None);
    }

    #[test]
    fn estimates_are_as_derived_by_hand() {
        // Two batches of 4 with gradients 1 and 3: small norm 5, large norm 4 at 8 images.
        let (gradient, noise) = norms(4, &[vec![1.0], vec![3.0]]).estimates().unwrap();
        assert_eq!((gradient, noise), (3.0, 8.0));
        let mut scale = NoiseScale::default();
        assert_eq!(scale.value(), None);
        scale.add(&norms(4, &[vec![1.0], vec![3.0]]));
        assert!((scale.value().unwrap() - 8.0 / 3.0).abs() < 1e-12);
        scale.add(&norms(4, &[vec![f64::NAN], vec![3.0]]));
        assert!((scale.value().unwrap() - 8.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn the_scale_of_a_known_distribution_is_found() {
        // Per-image gradients are normal in 50 dimensions with mean 1 and variance 9: tr(S) / ||G||^2 = 450 / 50.
        tch::manual_seed(11);
        let mut scale = NoiseScale::default();
        for _ in 0..400 {
            let images = Tensor::randn([4, 16, 50], (Kind::Double, Device::Cpu)) * 3.0 + 1.0;
            let means = images.mean_dim([1i64].as_slice(), false, Kind::Double);
            let gradients: Vec<Vec<f64>> = (0..4).map(|k| Vec::try_from(means.get(k)).unwrap()).collect();
            scale.add(&norms(16, &gradients));
        }
        // The average covers about 39 readings, each with a relative standard deviation of about 0.17: 3 %. The bound
        // is four times that.
        let value = scale.value().unwrap();
        assert!((value - 9.0).abs() < 1.1, "{value}");
    }
}
