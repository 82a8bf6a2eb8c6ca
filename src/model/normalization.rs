//! Layers that normalize activations to zero mean and unit variance, then scale and shift them.

use tch::{Device, Kind, TchError, Tensor};

use super::{
    ModelError, Pass, insertion,
    parameter::Path,
    running::{Constants, Running, refuse_single_values},
};
use crate::config;

/// Added to the variance, as in torch's layers.
const EPS: f64 = 1e-5;
/// Weight of a batch's statistics in the running ones, as in torch's BatchNorm.
const MOMENTUM: f64 = 0.1;

/// A normalization of `[batch, channels, ..]` or `[.., channels]`, with weight and bias per channel.
#[derive(Debug)]
pub(super) struct Normalization {
    form: Form,
    eps: f64,
    momentum: f64,
}

#[derive(Debug)]
enum Form {
    /// The identity: no layer.
    Absent,
    /// Over batch and space, per channel (Ioffe and Szegedy 2015).
    Batch {
        /// Scale and shift.
        affine: Affine,
        /// Statistics for evaluation: exponential moving averages of the batches' mean and unbiased variance.
        running: Running,
    },
    /// Batch normalization, multiplied by sigmoid(w m + b), where m is each image's own mean of the channel (Liang et
    /// al. 2020, arXiv:1908.04008; Gu et al. 2025 use attention there in binary networks).
    AttentionBatch {
        /// Scale and shift.
        affine: Affine,
        /// w and b of the attention.
        attention: Affine,
        /// Statistics for evaluation.
        running: Running,
    },
    /// Over space and a group of channels, per image (Wu and He 2018). One group is layer normalization.
    Group {
        /// Scale and shift.
        affine: Affine,
        /// Number of groups, a divisor of the number of channels.
        groups: i64,
    },
    /// Over the channels, per image and position (Ba et al. 2016 for tokens; Liu et al. 2022 for feature maps).
    Position {
        /// Scale and shift.
        affine: Affine,
    },
}

/// Scale and shift of each channel.
#[derive(Debug)]
pub(super) struct Affine {
    weight: Tensor,
    bias: Tensor,
}

impl Normalization {
    /// Creates the config's normalization for feature maps with `channels` channels. The number of groups is the
    /// largest divisor of `channels` up to `model.groups`.
    pub(super) fn of_maps(path: &Path<'_>, channels: i64) -> Result<Self, ModelError> {
        Self::new(path, channels, channels, false)
    }

    /// Like [`of_maps`](Self::of_maps), for vectors of `channels` numbers. A group contains at least two of them,
    /// because a single number has no variance.
    pub(super) fn of_vectors(path: &Path<'_>, channels: i64) -> Result<Self, ModelError> {
        Self::new(path, channels, channels / 2, false)
    }

    /// Like [`of_maps`](Self::of_maps), for maps or tokens. Layer normalization normalizes each position separately;
    /// see [`Normalization::forward_last`].
    pub(super) fn of_positions(path: &Path<'_>, channels: i64) -> Result<Self, ModelError> {
        Self::new(path, channels, channels, true)
    }

    /// Like [`of_positions`](Self::of_positions), for maps with a single pixel.
    pub(super) fn of_pooled(path: &Path<'_>, channels: i64) -> Result<Self, ModelError> {
        Self::new(path, channels, channels / 2, true)
    }

    fn new(path: &Path<'_>, channels: i64, most_groups: i64, by_position: bool) -> Result<Self, ModelError> {
        let wanted = i64::try_from(path.config().groups).unwrap_or(i64::MAX);
        let form = match path.config().normalization {
            config::Normalization::None => Form::Absent,
            config::Normalization::Batch => {
                Form::Batch { affine: Affine::new(path, channels)?, running: Running::new(path, channels)? }
            }
            config::Normalization::AttentionBatch => Form::AttentionBatch {
                affine: Affine::new(path, channels)?,
                attention: Affine::of_attention(path, channels)?,
                running: Running::new(path, channels)?,
            },
            config::Normalization::Group => Form::Group {
                affine: Affine::new(path, channels)?,
                groups: largest_divisor(channels, wanted.min(most_groups)),
            },
            config::Normalization::Layer if by_position => Form::Position { affine: Affine::new(path, channels)? },
            config::Normalization::Layer => Form::Group { affine: Affine::new(path, channels)?, groups: 1 },
        };
        Ok(Self { form, eps: EPS, momentum: MOMENTUM })
    }

    /// Returns the layer with another number added to the variance.
    pub(super) fn with_eps(self, eps: f64) -> Self {
        Self { eps, ..self }
    }

    /// Returns the layer with another weight of a batch's statistics in the running ones.
    pub(super) fn with_momentum(self, momentum: f64) -> Self {
        Self { momentum, ..self }
    }

    /// Normalizes the input. Under batch normalization, a training pass also updates the running statistics.
    ///
    /// Fails if a training pass would compute each mean over a single number: the result would be the bias alone, and
    /// no gradient would flow.
    pub(super) fn forward(&self, images: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        match &self.form {
            Form::Absent => Ok(images.shallow_clone()),
            Form::Batch { affine: Affine { weight, bias }, running } => {
                insertion::fit([weight, bias], running, self.eps, images)?;
                running.normalize(images, [Some(weight), Some(bias)], self.constants(), pass)
            }
            Form::AttentionBatch { affine: Affine { weight, bias }, attention, running } => {
                let standard = running.normalize(images, [Some(weight), None], self.constants(), pass)?;
                let mut per_channel = vec![1; images.dim()];
                per_channel[1] = bias.size()[0];
                let mut per_image = per_channel.clone();
                // Dimension -1 keeps the batch size flexible in a trace of the pass.
                per_image[0] = -1;
                let positions = images.f_unsqueeze(-1)?.f_flatten(2, -1)?;
                let means = positions.f_mean_dim(-1, false, images.kind())?;
                let seen = means.f_mul(&attention.weight)?.f_add(&attention.bias)?.f_sigmoid()?;
                standard.f_mul(&seen.f_view(&*per_image)?)?.f_add(&bias.f_view(&*per_channel)?)
            }
            Form::Group { affine: Affine { weight, bias }, groups } => {
                if pass.train {
                    let batch = images.size().first().copied().unwrap_or(0);
                    let means = usize::try_from(groups * batch).unwrap_or(usize::MAX);
                    refuse_single_values(images, means, "fewer model.groups")?;
                }
                images.f_group_norm(*groups, Some(weight), Some(bias), self.eps, true)
            }
            Form::Position { .. } => self.forward_last(&images.f_movedim_int(1, -1)?, pass)?.f_movedim_int(-1, 1),
        }
    }

    fn constants(&self) -> Constants {
        Constants { eps: self.eps, momentum: self.momentum }
    }

    /// Like [`forward`](Self::forward), with the channels as the last dimension.
    pub(super) fn forward_last(&self, tokens: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        match &self.form {
            Form::Absent => Ok(tokens.shallow_clone()),
            Form::Position { affine: Affine { weight, bias } } => {
                tokens.f_layer_norm(weight.size(), Some(weight), Some(bias), self.eps, true)
            }
            _ => self.forward(&tokens.f_movedim_int(-1, 1)?, pass)?.f_movedim_int(1, -1),
        }
    }
}

impl Affine {
    fn new(path: &Path<'_>, channels: i64) -> Result<Self, ModelError> {
        let ends_branch = path.branch().is_some_and(|branch| branch.is_last);
        let is_silent = ends_branch && path.config().initialization.zero_residual;
        let weight = path.parameter("weight", &if is_silent { zeros(channels)? } else { ones(channels)? })?;
        let bias = path.parameter("bias", &zeros(channels)?)?;
        Ok(Self { weight, bias })
    }

    /// Parameters of the attention, which starts as sigmoid(-1) for every image.
    fn of_attention(path: &Path<'_>, channels: i64) -> Result<Self, ModelError> {
        let weight = path.parameter("attention_weight", &zeros(channels)?)?;
        let bias = path.parameter("attention_bias", &ones(channels)?.f_neg()?)?;
        Ok(Self { weight, bias })
    }
}

const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

fn zeros(channels: i64) -> Result<Tensor, TchError> {
    Tensor::f_zeros([channels], FLOAT)
}

fn ones(channels: i64) -> Result<Tensor, TchError> {
    Tensor::f_ones([channels], FLOAT)
}

/// Returns the largest divisor of `channels` up to `most`; 1 if there is none.
fn largest_divisor(channels: i64, most: i64) -> i64 {
    (1..=most.min(channels)).rev().find(|groups| channels % groups == 0).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Architecture, Normalization as Kinds},
        model::{fixture, parameter::Builder},
    };

    fn build(kind: Kinds, groups: usize, channels: i64) -> (Normalization, Vec<String>) {
        let config = config::ModelConfig { normalization: kind, groups, ..fixture::config(Architecture::Cnn) };
        let builder = Builder::new(&config, Device::Cpu);
        let layer = Normalization::of_maps(&(builder.root() / "bn1"), channels).unwrap();
        let names = builder.finish().iter().map(|parameter| parameter.name.to_string()).collect();
        (layer, names)
    }

    /// Images 1, 2, ... with the given shape.
    fn ramp(shape: &[i64]) -> Tensor {
        Tensor::arange(shape.iter().product::<i64>(), FLOAT).reshape(shape) + 1.0
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor.detach().flatten(0, -1)).unwrap()
    }

    #[test]
    fn names_are_torchs_and_only_batch_normalization_has_buffers() {
        let (_, names) = build(Kinds::Batch, 8, 4);
        let want = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"];
        assert_eq!(names, want.map(|name| format!("bn1.{name}")));
        for kind in [Kinds::Group, Kinds::Layer] {
            assert_eq!(build(kind, 8, 4).1, ["bn1.weight", "bn1.bias"]);
        }
        assert!(
            matches!(build(Kinds::None, 8, 4), (Normalization { form: Form::Absent, .. }, names) if names.is_empty())
        );
    }

    #[test]
    fn batch_statistics_run_with_momentum_a_tenth_and_are_what_evaluation_uses() {
        let layer = build(Kinds::Batch, 8, 1).0;
        // Values 1..=4: mean 2.5, variance 5/4, unbiased 5/3.
        let images = ramp(&[4, 1, 1, 1]);
        let trained = values(&layer.forward(&images, &Pass::training()).unwrap());
        assert!((f64::from(trained[0]) - (-1.5 / (1.25_f64 + 1e-5).sqrt())).abs() < 1e-6);
        let Form::Batch { running: Running { mean, var, num_batches_tracked, .. }, .. } = &layer.form else {
            panic!("not a batch normalization: {layer:?}")
        };
        assert!((mean.double_value(&[0]) - 0.25).abs() < 1e-7);
        let running = 0.9 + 0.1 * 5.0 / 3.0;
        assert!((var.double_value(&[0]) - running).abs() < 1e-6);
        assert_eq!((num_batches_tracked.kind(), num_batches_tracked.int64_value(&[])), (Kind::Int64, 1));
        let evaluated = values(&layer.forward(&images, &Pass::evaluation()).unwrap());
        assert!((f64::from(evaluated[0]) - 0.75 / (running + 1e-5).sqrt()).abs() < 1e-6);
        assert_eq!(num_batches_tracked.int64_value(&[]), 1);
    }

    #[test]
    fn an_evaluation_by_batch_normalizes_as_training_does_and_changes_nothing() {
        let layer = build(Kinds::Batch, 8, 1).0;
        let images = ramp(&[4, 1, 1, 1]);
        let by_batch = values(&layer.forward(&images, &Pass::evaluation_by_batch()).unwrap());
        let Form::Batch { running: Running { mean, var, num_batches_tracked, .. }, .. } = &layer.form else {
            panic!("not a batch normalization: {layer:?}")
        };
        assert_eq!((mean.double_value(&[0]), var.double_value(&[0])), (0.0, 1.0));
        assert_eq!(num_batches_tracked.int64_value(&[]), 0);
        let one = ramp(&[1, 1, 1, 1]);
        let [single, evaluated] =
            [Pass::evaluation_by_batch(), Pass::evaluation()].map(|pass| values(&layer.forward(&one, &pass).unwrap()));
        assert_eq!(single, evaluated, "one value has no variance");
        assert_eq!(by_batch, values(&layer.forward(&images, &Pass::training()).unwrap()));
    }

    #[test]
    fn kept_statistics_are_what_training_uses_and_stay() {
        let config = config::ModelConfig {
            normalization: Kinds::Batch,
            freeze_batch_norm_statistics: vec!["bn1.*".to_owned()],
            ..fixture::config(Architecture::Cnn)
        };
        let builder = Builder::new(&config, Device::Cpu);
        let [kept, moved] = ["bn1", "bn2"].map(|name| Normalization::of_maps(&(builder.root() / name), 1).unwrap());
        let parameters = builder.finish();
        let images = ramp(&[4, 1, 1, 1]);
        let passes = [Pass::training(), Pass::evaluation()].map(|pass| values(&kept.forward(&images, &pass).unwrap()));
        assert_eq!(passes[0], passes[1]);
        assert!(kept.forward(&ramp(&[1, 1, 1, 1]), &Pass::training()).is_ok(), "no mean is taken");
        let _ = moved.forward(&images, &Pass::training()).unwrap();
        let values = |name: &str| values(&parameters.get(name).unwrap().tensor.to_kind(Kind::Float));
        assert_eq!((values("bn1.running_mean"), values("bn1.num_batches_tracked")), (vec![0.0], vec![0.0]));
        assert_eq!((values("bn2.running_mean"), values("bn2.num_batches_tracked")), (vec![0.25], vec![1.0]));
    }

    #[test]
    fn group_and_layer_normalize_each_image_alone() {
        // Two groups of two channels: each contains v and v + 1, with mean v + 1/2 and variance 1/4.
        let unit = (0.5 / (0.25_f64 + 1e-5).sqrt()) as f32;
        let grouped = build(Kinds::Group, 2, 4).0.forward(&ramp(&[1, 4, 1, 1]), &Pass::training()).unwrap();
        for (got, want) in values(&grouped).iter().zip([-unit, unit, -unit, unit]) {
            assert!((got - want).abs() < 1e-5, "got {got}, want {want}");
        }
        // One group: 1..=4 has mean 5/2 and variance 5/4.
        let first = (-1.5 / (1.25_f64 + 1e-5).sqrt()) as f32;
        let layered = build(Kinds::Layer, 2, 4).0.forward(&ramp(&[2, 4, 1, 1]), &Pass::training()).unwrap();
        let layered = values(&layered);
        assert!((layered[0] - first).abs() < 1e-6 && (layered[4] - first).abs() < 1e-5);
    }

    #[test]
    fn groups_fall_back_to_the_largest_divisor_of_the_channels() {
        assert_eq!(largest_divisor(64, 8), 8);
        assert_eq!(largest_divisor(6, 8), 6);
        assert_eq!(largest_divisor(84, 32), 28);
        assert_eq!(largest_divisor(7, 4), 1);
        assert_eq!(largest_divisor(1, 0), 1);
    }

    #[test]
    fn a_mean_over_a_single_value_is_refused_in_training() {
        let layer = build(Kinds::Batch, 8, 4).0;
        assert!(layer.forward(&ramp(&[1, 4, 1, 1]), &Pass::training()).is_err());
        assert!(layer.forward(&ramp(&[1, 4, 1, 1]), &Pass::evaluation()).is_ok());
        assert!(layer.forward(&ramp(&[1, 4, 2, 1]), &Pass::training()).is_ok());
        let layer = build(Kinds::Group, 4, 4).0;
        assert!(layer.forward(&ramp(&[3, 4, 1, 1]), &Pass::training()).is_err());
    }
}
