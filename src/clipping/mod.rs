//! Gradient clipping on the device, without a sync.
//!
//! | mode | rule | ops in addition to the norms |
//! |---|---|---|
//! | norm | one factor for all gradients: Pascanu et al. 2013 | 27; if p is neither 2 nor infinity, one more list norm |
//! | value | clips each element to ±clip_value | few; the CPU clips and sums in one pass |
//! | agc | clips each unit to a fraction of its weight norm: [`Agc`] | 86; the CPU reads weights and gradients once and writes only clipped gradients; a GPU takes four launches, or four more ops per tensor without gradwatch's kernels |
//! | autoclip | one factor, from a percentile of past norms: [`Autoclip`] | 111, one of which sorts the history |
//! | zclip | one factor, from the mean and variance of past norms: [`Zclip`] | 101 |
//! | adagc | one factor per tensor, from its past norms: [`Adagc`] | 143 |
//!
//! The op counts include every op that libtorch dispatches, nested ones too. Except for list ops, which the CPU runs as
//! a loop, the counts do not depend on the number of tensors. All ops run on CUDA in float32, bfloat16, and float16.
//! None waits for the device. If one factor applies to all gradients, the trainer passes its inverse to the fused
//! optimizer as `grad_scale`, which saves a pass over the gradients. The check for non-finite gradients runs before
//! clipping. A non-finite step is not clipped (except element by element in value mode), does not enter any history,
//! and is skipped by the optimizer.

mod adagc;
mod agc;
mod autoclip;
mod group_norm;
mod norm;
mod outcome;
mod tensor_factors;
mod value;
mod zclip;

use tch::{Device, Tensor};

pub use adagc::Adagc;
pub use agc::Agc;
pub use autoclip::Autoclip;
pub use group_norm::GroupNorm;
pub use outcome::ClipOutcome;
use tensor_factors::scale_tensors;
pub use zclip::Zclip;

use crate::{
    config::{AgcCompat, ClippingConfig, ClippingMode, matches},
    gradient::{GradientError, Measurement},
    libtorch::{device_copy, foreach_multiply},
};

/// The gradients of one step.
pub struct StepGradients<'a> {
    /// Parameters that have a gradient.
    pub params: &'a [Tensor],
    /// Gradient of each parameter.
    pub grads: &'a [Tensor],
    /// Position of each parameter among all parameters; the same in every step.
    pub positions: &'a [usize],
    /// Norms of the gradients, in the same order.
    pub measurement: &'a Measurement,
}

/// Names and groups of the model's parameters, for the modes that need them.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClippingScope<'a> {
    /// Parameter names, in order of position.
    pub names: &'a [&'a str],
    /// Name of the last linear layer, which AGC excludes unless `clipping.agc.exclude` is set.
    pub head: &'a str,
    /// Group of each parameter, for norms per group; 0 for all if empty.
    pub groups: &'a [usize],
    /// Maximum norm of each group that sets its own; the group after the last one uses the config's.
    pub group_norms: &'a [Option<f64>],
}

/// A clipping mode with its state.
#[derive(Debug)]
pub enum Clipping {
    /// No clipping.
    None,
    /// Clips every element to ±`clip_value`.
    Value {
        /// Maximum absolute value.
        clip_value: f64,
    },
    /// Clips the total norm to `max_norm`.
    Norm {
        /// Maximum norm.
        max_norm: f64,
        /// The p of the norm, from 1 to infinity.
        norm_type: f64,
    },
    /// Clips the norm of each parameter group.
    GroupNorm(GroupNorm),
    /// Adaptive gradient clipping.
    Agc(Agc),
    /// Clips to a percentile of past norms.
    Autoclip(Autoclip),
    /// Clips spikes of the norm.
    Zclip(Zclip),
    /// Clips each tensor by its own past norms.
    Adagc(Adagc),
}

impl Clipping {
    /// Creates the mode that a config selects, for all parameters of a model.
    ///
    /// # Errors
    /// If libtorch runs out of memory.
    pub fn new(config: &ClippingConfig, scope: &ClippingScope<'_>, device: Device) -> Result<Self, GradientError> {
        Ok(match config.mode {
            ClippingMode::None => Self::None,
            ClippingMode::Value => Self::Value { clip_value: config.clip_value },
            ClippingMode::Norm if config.per_group => {
                let norm = |own: &Option<f64>| own.unwrap_or(config.max_norm);
                let max_norms = scope.group_norms.iter().map(norm).chain([config.max_norm]).collect();
                Self::GroupNorm(GroupNorm { max_norms, groups: scope.groups.to_vec() })
            }
            ClippingMode::Norm => Self::Norm { max_norm: config.max_norm, norm_type: config.norm_type },
            ClippingMode::Agc => Self::Agc(agc(config, scope)),
            ClippingMode::Autoclip => {
                Self::Autoclip(Autoclip::new(config.autoclip.percentile, config.autoclip.history, device)?)
            }
            ClippingMode::Zclip => Self::Zclip(Zclip::new(config.zclip.clone(), device)?),
            ClippingMode::Adagc => Self::Adagc(Adagc::new(config.adagc.clone(), scope.names.len(), device)?),
        })
    }

    /// Clips the gradients, or computes the single factor that the optimizer must apply; see
    /// [`ClipOutcome::grad_scale`]. No sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn clip(&mut self, gradients: &StepGradients<'_>) -> Result<ClipOutcome, GradientError> {
        let _no_grad = tch::no_grad_guard();
        match self {
            Self::None => ClipOutcome::unclipped(gradients),
            Self::Value { clip_value } => value::clip(gradients, *clip_value),
            Self::Norm { max_norm, norm_type } => norm::clip(gradients, *max_norm, *norm_type),
            Self::GroupNorm(group_norm) => group_norm.clip(gradients),
            Self::Agc(agc) => agc.clip(gradients),
            Self::Autoclip(autoclip) => autoclip.clip(gradients),
            Self::Zclip(zclip) => zclip.clip(gradients),
            Self::Adagc(adagc) => adagc.clip(gradients),
        }
    }

    /// Clips the gradients of these parameters in place. A custom training loop calls it between backward and the
    /// optimizer step. Parameters without a gradient are ignored. [`ClipOutcome::found_inf`] tells whether to skip the
    /// step. No sync.
    ///
    /// # Errors
    /// If gradients are sparse, or do not share one device and one floating dtype.
    pub fn clip_in_place(&mut self, params: &[Tensor]) -> Result<ClipOutcome, GradientError> {
        let with_grad = params.iter().enumerate().map(|(position, param)| (position, param, param.grad()));
        let (mut positions, mut reached, mut grads) = (Vec::new(), Vec::new(), Vec::new());
        for (position, param, grad) in with_grad.filter(|(.., grad)| grad.defined()) {
            positions.push(position);
            reached.push(param.shallow_clone());
            grads.push(grad);
        }
        let (params, grads) = (&reached[..], &grads[..]);
        let measurement = match self {
            Self::Agc(agc) => agc.measure(params, grads, &positions)?,
            _ => Measurement::of_total(grads.iter().map(Tensor::shallow_clone).collect())?,
        };
        let outcome = self.clip(&StepGradients { params, grads, positions: &positions, measurement: &measurement })?;
        if outcome.grad_scale()?.is_some() && !grads.is_empty() {
            foreach_multiply(grads, &outcome.clip_coef)?;
        }
        Ok(outcome)
    }

    /// The state of the mode by name, as the tensors themselves: copy into them to restore it.
    pub fn state(&self) -> Vec<(&'static str, Tensor)> {
        match self {
            Self::None | Self::Value { .. } | Self::Norm { .. } | Self::GroupNorm(_) | Self::Agc(_) => Vec::new(),
            Self::Autoclip(autoclip) => autoclip.state(),
            Self::Zclip(zclip) => zclip.state(),
            Self::Adagc(adagc) => adagc.state(),
        }
    }
}

fn agc(config: &ClippingConfig, scope: &ClippingScope<'_>) -> Agc {
    let &ClippingScope { names, head, .. } = scope;
    let options = &config.agc;
    let is_timm = options.compat == AgcCompat::Timm;
    let is_head = |name: &str| name.strip_prefix(head).is_some_and(|rest| rest.starts_with('.'));
    let is_clipped = |(index, name): (usize, &&str)| match &options.exclude {
        Some(patterns) => !patterns.iter().any(|pattern| matches(pattern, name)),
        // timm treats the last two parameters as the head.
        None if is_timm => index + 2 < names.len(),
        None => !is_head(name),
    };
    let is_clipped = names.iter().enumerate().map(is_clipped).collect();
    Agc::new(options.clip_factor, options.eps, is_timm, is_clipped)
}

fn select(tensors: &[Tensor], indices: &[usize]) -> Vec<Tensor> {
    indices.iter().map(|&index| tensors[index].shallow_clone()).collect()
}

/// Copies indices to the device: `[indices.len()]`, i64. No sync.
fn index_tensor(indices: &[usize], device: Device) -> Result<Tensor, GradientError> {
    let indices: Vec<i64> = indices.iter().map(|&index| index as i64).collect();
    Ok(device_copy(&indices, device)?)
}

/// Scales all gradients in place so that their total L2 norm is at most `max_norm`. No device sync.
///
/// Gradients are left unchanged if any contains a NaN or an infinity; [`ClipOutcome::found_inf`] is then 1.
///
/// # Errors
/// If the gradients are sparse, or do not share one device and one floating dtype.
pub fn clip_grad_norm(grads: &[Tensor], max_norm: f64) -> Result<ClipOutcome, GradientError> {
    let measurement = Measurement::of_total(grads.iter().map(Tensor::shallow_clone).collect())?;
    let gradients = StepGradients { params: &[], grads, positions: &[], measurement: &measurement };
    let outcome = norm::clip(&gradients, max_norm, 2.0)?;
    if !grads.is_empty() {
        foreach_multiply(grads, &outcome.clip_coef)?;
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(tensor: &Tensor) -> Vec<f32> {
        Vec::try_from(tensor.flatten(0, -1)).unwrap()
    }

    #[test]
    fn gradients_above_the_norm_are_scaled_as_torch_scales_them() {
        // torch.nn.utils.clip_grad_norm_ of [3, 4] and [12] to 6.5: the coefficient is 6.5 / (13 + 1e-6).
        let grads = [Tensor::from_slice(&[3.0f32, 4.0]), Tensor::from_slice(&[12.0f32])];
        let outcome = clip_grad_norm(&grads, 6.5).unwrap();
        assert_eq!(outcome.total_norm.double_value(&[]), 13.0);
        assert_eq!(values(&outcome.clip_coef), [(6.5f64 / 13.000_001) as f32]);
        let scaled = [values(&grads[0]), values(&grads[1])].concat();
        for (got, want) in scaled.iter().zip([1.5, 2.0, 6.0]) {
            assert!((got - want).abs() <= 1e-6 * want, "{got} {want}");
        }
    }

    #[test]
    fn gradients_below_the_norm_stay_bit_equal() {
        let grads = [Tensor::from_slice(&[0.3f32, -0.4])];
        let outcome = clip_grad_norm(&grads, 1.0).unwrap();
        assert_eq!(values(&outcome.clip_coef), [1.0]);
        assert_eq!(values(&grads[0]), [0.3, -0.4]);
    }

    #[test]
    fn a_non_finite_gradient_leaves_the_healthy_ones_as_they_are_and_is_reported() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let grads = [Tensor::from_slice(&[3.0f32]), Tensor::from_slice(&[bad])];
            let outcome = clip_grad_norm(&grads, 1.0).unwrap();
            assert_eq!(values(&outcome.found_inf), [1.0]);
            assert_eq!(values(&grads[0]), [3.0]);
        }
    }

    #[test]
    fn no_gradients_are_no_clip() {
        assert_eq!(clip_grad_norm(&[], 1.0).unwrap().total_norm.double_value(&[]), 0.0);
    }

    proptest! {
        #[test]
        fn a_clip_never_raises_a_norm_and_never_turns_a_gradient(
            grad in prop::collection::vec(-1e4f32..1e4, 2..50), max_norm in 1e-3f64..1e4,
        ) {
            let norm = |values: &[f32]| values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
            let tensor = Tensor::from_slice(&grad);
            clip_grad_norm(&[tensor.shallow_clone()], max_norm).unwrap();
            let clipped = values(&tensor);
            // Rounding errors of the norm, the coefficient, and each product: a few units of 2^-24.
            let bound = norm(&grad).min(max_norm);
            prop_assert!(norm(&clipped) <= bound * (1.0 + 1e-5));
            let ratio = if norm(&grad) > 0.0 { norm(&clipped) / norm(&grad) } else { 1.0 };
            for (after, before) in clipped.iter().zip(&grad) {
                let want = f64::from(*before) * ratio;
                prop_assert!((f64::from(*after) - want).abs() <= 1e-5 * want.abs());
            }
        }
    }
}
