//! Cross-entropy with label smoothing and class weights, and binary cross-entropy, summed so that micro-batches average
//! exactly.

use tch::{Device, Kind, Reduction, Tensor};

use super::{EvaluationError, Targets, targets::is_multi_hot};
use crate::{
    config::{ClassBalance, LossConfig, LossName},
    data::{Batch, Dataset},
};

/// Loss of a classification.
///
/// torch's mean over a batch divides by the sum of the label weights. Over several micro-batches, that mean is the sum
/// of their losses divided by the sum of all label weights, so this type keeps the two sums separate.
pub struct Loss {
    /// Whether each class is an independent yes/no decision.
    is_binary: bool,
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
        Ok(Self {
            is_binary: config.name == LossName::Bce,
            label_smoothing: config.label_smoothing,
            class_weights: weights.map(to_device).transpose()?,
        })
    }

    /// Cross-entropy without smoothing or weights. Evaluations use it, so that runs are comparable.
    pub fn plain() -> Self {
        Self { is_binary: false, label_smoothing: 0.0, class_weights: None }
    }

    /// The plain loss of evaluations: of multi-label data, binary cross-entropy, otherwise [`plain`](Self::plain).
    pub fn of_evaluation(images: &Dataset) -> Self {
        Self { is_binary: images.label_sets().is_multi_label(), ..Self::plain() }
    }

    /// Divisor that turns the sum of the losses of a batch into their mean.
    pub fn weight_of(&self, batch: &Batch) -> f64 {
        let Some((weights, _)) = &self.class_weights else { return batch.len() as f64 };
        let of = |label: i64| weights[label as usize];
        match batch.mixed_labels() {
            None => batch.labels.iter().map(|&label| of(label)).sum(),
            Some(pairs) => pairs
                .map(|(own, partner, share)| {
                    let share = f64::from(share);
                    (1.0 - share) * of(own) + share * of(partner)
                })
                .sum(),
        }
    }

    /// The same divisor for all micro-batches of a step. It is 1 if every label has weight 0, so that the loss is 0 and
    /// not 0 / 0.
    pub fn weight_of_group(&self, group: &[Batch]) -> f64 {
        let weight: f64 = group.iter().map(|batch| self.weight_of(batch)).sum();
        if weight > 0.0 { weight } else { 1.0 }
    }

    /// Sum of the losses of a batch with logits `[n, classes]`; shape `[]`.
    ///
    /// # Errors
    /// If the shapes do not match.
    pub fn sum(&self, logits: &Tensor, targets: &Targets) -> Result<Tensor, EvaluationError> {
        let Some(mixed_in) = targets.mixed_in() else {
            return self.of_labels(logits, &targets.labels, Reduction::Sum);
        };
        // The loss is linear in the targets, so that of a mixture is the mixture of those of both labels.
        let one = self.of_labels(logits, &targets.labels, Reduction::None)?;
        let other = self.of_labels(logits, &mixed_in.labels, Reduction::None)?;
        Ok(one.f_lerp_tensor(&other, &mixed_in.shares)?.f_sum(Kind::Float)?)
    }

    fn of_labels(&self, logits: &Tensor, labels: &Tensor, reduction: Reduction) -> Result<Tensor, EvaluationError> {
        if self.is_binary {
            return binary(logits, labels, self.label_smoothing, reduction);
        }
        let weights = self.class_weights.as_ref().map(|(_, weights)| weights);
        Ok(logits.f_cross_entropy_loss(labels, weights, reduction, -100, self.label_smoothing)?)
    }
}

/// Binary cross-entropy of the sigmoids of the logits, averaged over the classes, as timm's `BinaryCrossEntropy`. Its mean
/// over the images is that of PyTorch's `BCEWithLogitsLoss` over all elements. Smoothing spreads over all classes; the
/// labels of multi-label data are not smoothed.
fn binary(logits: &Tensor, labels: &Tensor, smoothing: f64, reduction: Reduction) -> Result<Tensor, EvaluationError> {
    // Autocast has no half-precision version of this loss.
    let logits = logits.f_to_kind(Kind::Float)?;
    let targets = if is_multi_hot(labels) { labels.shallow_clone() } else { smoothed(&logits, labels, smoothing)? };
    let none: Option<Tensor> = None;
    let losses = logits.f_binary_cross_entropy_with_logits(&targets, none.as_ref(), none.as_ref(), Reduction::None)?;
    let per_image = losses.f_mean_dim([1_i64].as_slice(), false, Kind::Float)?;
    Ok(if matches!(reduction, Reduction::Sum) { per_image.f_sum(Kind::Float)? } else { per_image })
}

/// The smoothed targets of one class per image, `[n, classes]`.
fn smoothed(logits: &Tensor, labels: &Tensor, smoothing: f64) -> Result<Tensor, EvaluationError> {
    let classes = logits.size2()?.1;
    let off = smoothing / classes as f64;
    let numbers = Tensor::f_arange(classes, (Kind::Int64, logits.device()))?;
    let is_class = labels.f_unsqueeze(1)?.f_eq_tensor(&numbers)?;
    Ok(is_class.f_to_kind(Kind::Float)?.f_mul_scalar(1.0 - smoothing)?.f_add_scalar(off)?)
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
    use super::super::Numerics;
    use super::*;
    use crate::data::{Images, MixedPart, Mixture};

    fn config(label_smoothing: f64, class_balance: ClassBalance, class_weights: &[f64]) -> LossConfig {
        LossConfig { label_smoothing, class_balance, class_weights: class_weights.to_vec(), ..LossConfig::default() }
    }

    fn logits() -> Tensor {
        Tensor::from_slice(&[1.0f32, 2.0, 0.5, -1.0, 0.0, 3.0]).reshape([3, 2])
    }

    fn batch(labels: &[i64], parts: Option<Vec<MixedPart>>) -> Batch {
        Batch {
            number: 0,
            images: Images::Normalized(vec![0.0; labels.len()]),
            labels: labels.to_vec(),
            multi_hot: Vec::new(),
            indices: vec![0; labels.len()],
            shape: [labels.len(), 1, 1, 1],
            mixture: parts.map(|parts| Mixture { parts }),
        }
    }

    fn multi_label(rows: &[[f32; 2]], parts: Option<Vec<MixedPart>>) -> Batch {
        Batch { labels: Vec::new(), multi_hot: rows.as_flattened().to_vec(), ..batch(&[0, 0, 0], parts) }
    }

    fn mean(loss: &Loss, labels: &[i64]) -> f64 {
        mean_of(loss, &batch(labels, None))
    }

    fn mean_of(loss: &Loss, batch: &Batch) -> f64 {
        let (_, targets) = Numerics::plain(Device::Cpu).to_device(batch).unwrap();
        let sum = loss.sum(&logits(), &targets).unwrap();
        f64::try_from(sum).unwrap() / loss.weight_of(batch)
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

    #[test]
    fn the_loss_of_a_mixture_equals_torch_with_soft_targets() {
        // t = torch.tensor([[.7, .3], [0., 1.], [.2, .8]])  # the second image is its own partner
        // F(x, t); F(x, t, weight=torch.tensor([2., .5]), label_smoothing=.1, reduction="sum") / (t @ w).sum()
        // off = .1 / 2; s = t * .9 + off
        // torch.nn.functional.binary_cross_entropy_with_logits(x, s)
        let share = |share: f32| MixedPart { rectangle: [0, 1, 0, 1], weight: share, share };
        let batch = batch(&[1, 1, 0], Some(vec![share(0.7), share(0.4), share(0.8)]));
        let of = |config: &LossConfig| mean_of(&Loss::new(config, &[1, 1], Device::Cpu).unwrap(), &batch);
        let plain = of(&config(0.0, ClassBalance::None, &[]));
        assert!((plain - MIXED).abs() < 1e-6, "{plain}");
        let both = of(&config(0.1, ClassBalance::Given, &[2.0, 0.5]));
        assert!((both - MIXED_SMOOTHED_AND_WEIGHTED).abs() < 1e-6, "{both}");
        let binary = of(&LossConfig { name: LossName::Bce, ..config(0.1, ClassBalance::None, &[]) });
        assert!((binary - MIXED_BINARY).abs() < 1e-6, "{binary}");
    }

    #[test]
    fn the_loss_of_multi_label_data_is_torch_s_mean_over_all_elements() {
        // m = torch.tensor([[1., 1.], [0., 0.], [0., 1.]])
        // torch.nn.BCEWithLogitsLoss()(x, m)
        // s = torch.tensor([[.3], [.4], [.2]])
        // torch.nn.BCEWithLogitsLoss()(x, m * (1 - s) + m.flip(0) * s)
        let loss =
            Loss::new(&LossConfig { name: LossName::Bce, ..LossConfig::default() }, &[1, 2], Device::Cpu).unwrap();
        let rows = [[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]];
        let plain = mean_of(&loss, &multi_label(&rows, None));
        assert!((plain - MULTI_LABEL).abs() < 1e-6, "{plain}");
        let share = |share: f32| MixedPart { rectangle: [0, 1, 0, 1], weight: share, share };
        let parts = vec![share(0.3), share(0.4), share(0.2)];
        let mixed = mean_of(&loss, &multi_label(&rows, Some(parts)));
        assert!((mixed - MIXED_MULTI_LABEL).abs() < 1e-6, "{mixed}");
    }

    const MULTI_LABEL: f64 = 0.411543816;
    const MIXED_MULTI_LABEL: f64 = 0.461543828;

    const MIXED: f64 = 1.121087439;
    const MIXED_SMOOTHED_AND_WEIGHTED: f64 = 1.433518145;
    const MIXED_BINARY: f64 = 0.960710484;

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
