//! Cross-entropy with label smoothing and class weights, summed so that micro-batches average exactly.

use tch::{Device, Kind, Reduction, Tensor};

use super::EvaluationError;
use crate::{
    config::{ClassBalance, LossConfig},
    data::Batch,
};

/// Loss of a classification.
///
/// torch's mean over a batch divides by the sum of the label weights. Over several micro-batches, that mean is the sum
/// of their losses divided by the sum of all label weights, so this type keeps the two sums separate.
pub struct Loss {
    label_smoothing: f64,
    /// One weight per class, on the host and on the device; `None` if all are 1.
    class_weights: Option<(Vec<f64>, Tensor)>,
}

impl Loss {
    /// Creates the loss of `config` for classes with `class_counts` training images each.
    ///
    /// # Errors
    /// If the number of weights differs from the number of classes.
    pub fn new(config: &LossConfig, class_counts: &[u64], device: Device) -> Result<Self, EvaluationError> {
        let weights = match config.class_balance {
            ClassBalance::None => None,
            ClassBalance::Balanced => Some(balanced(class_counts)),
            ClassBalance::Given if config.class_weights.len() == class_counts.len() => {
                Some(config.class_weights.clone())
            }
            ClassBalance::Given => {
                let (got, want) = (config.class_weights.len(), class_counts.len());
                return Err(EvaluationError::ClassWeights { got, want });
            }
        };
        let to_device = |weights: Vec<f64>| {
            let tensor = Tensor::f_from_slice(&weights)?.f_to_kind(Kind::Float)?.f_to_device(device)?;
            Ok::<_, EvaluationError>((weights, tensor))
        };
        Ok(Self { label_smoothing: config.label_smoothing, class_weights: weights.map(to_device).transpose()? })
    }

    /// Cross-entropy without smoothing or weights. Evaluations use it, so that runs are comparable.
    pub fn plain() -> Self {
        Self { label_smoothing: 0.0, class_weights: None }
    }

    /// Divisor that turns the sum of the losses of these labels into their mean.
    pub fn weight_of(&self, labels: &[i64]) -> f64 {
        match &self.class_weights {
            None => labels.len() as f64,
            Some((weights, _)) => labels.iter().map(|&label| weights[label as usize]).sum(),
        }
    }

    /// The same divisor for all micro-batches of a step. It is 1 if every label has weight 0, so that the loss is 0 and
    /// not 0 / 0.
    pub fn weight_of_group(&self, group: &[Batch]) -> f64 {
        let weight: f64 = group.iter().map(|batch| self.weight_of(&batch.labels)).sum();
        if weight > 0.0 { weight } else { 1.0 }
    }

    /// Sum of the losses of a batch: `logits` `[n, classes]`, `labels` `[n]`; shape `[]`.
    ///
    /// # Errors
    /// If the shapes do not match.
    pub fn sum(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor, EvaluationError> {
        let weights = self.class_weights.as_ref().map(|(_, weights)| weights);
        Ok(logits.f_cross_entropy_loss(labels, weights, Reduction::Sum, -100, self.label_smoothing)?)
    }
}

/// images / (classes * images of the class), as scikit-learn's "balanced". A class without images gets weight 0.
fn balanced(class_counts: &[u64]) -> Vec<f64> {
    let images: u64 = class_counts.iter().sum();
    let weight =
        |&count: &u64| if count == 0 { 0.0 } else { images as f64 / (class_counts.len() as u64 * count) as f64 };
    class_counts.iter().map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(label_smoothing: f64, class_balance: ClassBalance, class_weights: &[f64]) -> LossConfig {
        LossConfig { label_smoothing, class_balance, class_weights: class_weights.to_vec() }
    }

    fn logits() -> Tensor {
        Tensor::from_slice(&[1.0f32, 2.0, 0.5, -1.0, 0.0, 3.0]).reshape([3, 2])
    }

    fn mean(loss: &Loss, labels: &[i64]) -> f64 {
        let sum = loss.sum(&logits(), &Tensor::from_slice(labels)).unwrap();
        f64::try_from(sum).unwrap() / loss.weight_of(labels)
    }

    #[test]
    fn the_mean_equals_torch_with_smoothing_and_weights() {
        // import torch; x = torch.tensor([[1., 2.], [.5, -1.], [0., 3.]]); y = torch.tensor([1, 1, 0])
        // F = torch.nn.functional.cross_entropy
        // F(x, y); F(x, y, weight=torch.tensor([2., .5]), label_smoothing=.1)
        let plain = Loss::new(&config(0.0, ClassBalance::None, &[]), &[1, 1], Device::Cpu).unwrap();
        assert!((mean(&plain, &[1, 1, 0]) - PLAIN).abs() < 1e-6);
        let both = Loss::new(&config(0.1, ClassBalance::Given, &[2.0, 0.5]), &[1, 1], Device::Cpu).unwrap();
        assert!((mean(&both, &[1, 1, 0]) - SMOOTHED_AND_WEIGHTED).abs() < 1e-6);
    }

    const PLAIN: f64 = 1.6877542;
    const SMOOTHED_AND_WEIGHTED: f64 = 2.3006563;

    #[test]
    fn balanced_weights_give_every_class_the_same_say() {
        assert_eq!(balanced(&[30, 10, 0]), [40.0 / 90.0, 40.0 / 30.0, 0.0]);
    }

    #[test]
    fn a_wrong_number_of_weights_is_refused() {
        let refused = Loss::new(&config(0.0, ClassBalance::Given, &[1.0]), &[1, 1], Device::Cpu);
        assert!(matches!(refused, Err(EvaluationError::ClassWeights { got: 1, want: 2 })));
    }
}
