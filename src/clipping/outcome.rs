//! The result of a clip, on the device.

use tch::{Kind, Tensor};

use super::StepGradients;
use crate::{gradient::GradientError, libtorch::UnitClip};

/// The result of a clip. All tensors stay on the device.
pub struct ClipOutcome {
    /// L2 norm of all gradients before the clip: shape `[]`, f64.
    pub total_norm: Tensor,
    /// L2 norm after the clip: shape `[]`, f64. Equals `total_norm` if the step must be skipped.
    pub total_norm_after: Tensor,
    /// Factor of the gradients, at most 1: shape `[]`, f32. If each gradient has its own factor, `total_norm_after` /
    /// `total_norm`. 1 if the step must be skipped.
    pub clip_coef: Tensor,
    /// 1 if the step must be skipped, else 0: shape `[]`, f32. See [`Measurement::found_inf`].
    ///
    /// [`Measurement::found_inf`]: crate::gradient::Measurement::found_inf
    pub found_inf: Tensor,
    /// Positions of the gradients and the smallest factor of each: shape `[tensors]`, f64. `None` if all share one
    /// factor.
    pub tensor_coefs: Option<(Vec<usize>, Tensor)>,
    /// Number of clipped units (AGC) or tensors, f64, and their total number. `None` if all gradients share one factor.
    pub clipped: Option<(Tensor, u64)>,
    /// Whether the optimizer must divide by [`grad_scale`](Self::grad_scale).
    is_pending: bool,
}

impl ClipOutcome {
    /// No clipping: the coefficient is 1.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn unclipped(gradients: &StepGradients<'_>) -> Result<Self, GradientError> {
        let total_norm = gradients.measurement.total_norm().shallow_clone();
        let clip_coef = Tensor::f_ones([] as [i64; 0], (Kind::Float, total_norm.device()))?;
        Ok(Self {
            total_norm_after: total_norm.shallow_clone(),
            total_norm,
            clip_coef,
            found_inf: gradients.measurement.found_inf().shallow_clone(),
            tensor_coefs: None,
            clipped: None,
            is_pending: false,
        })
    }

    /// One factor for all gradients, not yet applied: shape `[]`, f64. It is set to 1 if the step must be skipped.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub(super) fn pending(gradients: &StepGradients<'_>, coefficient: &Tensor) -> Result<Self, GradientError> {
        let unclipped = Self::unclipped(gradients)?;
        let clip_coef = where_found(&unclipped.found_inf, coefficient, 1.0)?.f_to_kind(Kind::Float)?;
        let total_norm_after = unclipped.total_norm.f_mul(&clip_coef)?;
        Ok(Self { total_norm_after, clip_coef, is_pending: true, ..unclipped })
    }

    /// A clip that was already applied: the squared norm it removed, the smallest factor of each tensor, and the number
    /// of clipped units and of all units.
    pub(super) fn applied(
        gradients: &StepGradients<'_>,
        lost_squares: &Tensor,
        tensor_coefs: Tensor,
        clipped: (Tensor, u64),
    ) -> Result<Self, GradientError> {
        let unclipped = Self::unclipped(gradients)?;
        let lost = where_found(&unclipped.found_inf, lost_squares, 0.0)?;
        let before = &unclipped.total_norm;
        let total_norm_after = before.f_square()?.f_sub(&lost)?.f_clamp_min(0.0)?.f_sqrt()?;
        let ratio = total_norm_after.f_div(before)?.f_nan_to_num(1.0, 1.0, 1.0)?.f_to_kind(Kind::Float)?;
        let (tensor_coefs, clipped) = (Some((gradients.positions.to_vec(), tensor_coefs)), Some(clipped));
        Ok(Self { total_norm_after, clip_coef: ratio, tensor_coefs, clipped, ..unclipped })
    }

    /// A clip of units that GPU kernels applied; `units` is the number of all units.
    pub(super) fn clipped(gradients: &StepGradients<'_>, clip: UnitClip, units: u64) -> Self {
        Self {
            total_norm: gradients.measurement.total_norm().shallow_clone(),
            total_norm_after: clip.norm,
            clip_coef: clip.coefficient,
            found_inf: gradients.measurement.found_inf().shallow_clone(),
            tensor_coefs: Some((gradients.positions.to_vec(), clip.smallest)),
            clipped: Some((clip.clipped, units)),
            is_pending: false,
        }
    }

    /// The divisor that a fused optimizer applies to the gradients: 1 / `clip_coef`, shape `[]`, f32. `None` if the
    /// clip was already applied, which saves the kernel from writing every gradient.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn grad_scale(&self) -> Result<Option<Tensor>, GradientError> {
        Ok(if self.is_pending { Some(self.clip_coef.f_reciprocal()?) } else { None })
    }
}

/// Returns `values`, or `instead` if `found_inf` is 1. Uses a mask because 0 times NaN is NaN.
pub(super) fn where_found(found_inf: &Tensor, values: &Tensor, instead: f64) -> Result<Tensor, GradientError> {
    Ok(values.f_masked_fill(&found_inf.f_to_kind(Kind::Bool)?, instead)?)
}
