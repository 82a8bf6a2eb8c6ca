//! What a clip did, still on the device.

use tch::{Kind, Tensor};

use super::StepGradients;
use crate::{gradient::GradientError, libtorch::UnitClip};

/// What a clip did; all of it still on the device.
pub struct ClipOutcome {
    /// L2 norm of all gradients before the clip: shape `[]`, f64.
    pub total_norm: Tensor,
    /// L2 norm of what is left of them: shape `[]`, f64. That of before where the step must not be taken.
    pub total_norm_after: Tensor,
    /// What the gradients are multiplied by, at most 1; where each has a factor of its own, `total_norm_after` /
    /// `total_norm`; 1 where the step must not be taken: shape `[]`, f32.
    pub clip_coef: Tensor,
    /// 1 where the step must not be taken, else 0: shape `[]`, f32. See [`Measurement::found_inf`].
    ///
    /// [`Measurement::found_inf`]: crate::gradient::Measurement::found_inf
    pub found_inf: Tensor,
    /// The positions of the gradients and the smallest factor in each: shape `[tensors]`, f64; `None` where all have one.
    pub tensor_coefs: Option<(Vec<usize>, Tensor)>,
    /// How many units (of AGC) or tensors were clipped, f64, and how many there are; `None` where all have one factor.
    pub clipped: Option<(Tensor, u64)>,
    /// Whether the optimizer has to divide by [`grad_scale`](Self::grad_scale).
    is_pending: bool,
}

impl ClipOutcome {
    /// No clip: the coefficient is 1.
    ///
    /// # Errors
    /// Where libtorch refuses.
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

    /// One factor for all gradients, by which nothing has been multiplied yet: shape `[]`, f64. Where the step must not be
    /// taken, it is 1 instead.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub(super) fn pending(gradients: &StepGradients<'_>, coefficient: &Tensor) -> Result<Self, GradientError> {
        let unclipped = Self::unclipped(gradients)?;
        let clip_coef = where_found(&unclipped.found_inf, coefficient, 1.0)?.f_to_kind(Kind::Float)?;
        let total_norm_after = unclipped.total_norm.f_mul(&clip_coef)?;
        Ok(Self { total_norm_after, clip_coef, is_pending: true, ..unclipped })
    }

    /// A clip that has been carried out: how much of the total square is gone, the smallest factor of each tensor, and how
    /// many of so many units were clipped.
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

    /// A clip of units that a GPU's kernels have carried out, of so many units.
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

    /// What a fused optimizer divides the gradients by: 1 / `clip_coef`, shape `[]`, f32. `None` where there is nothing to
    /// divide by, which spares the kernel a write of every gradient.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn grad_scale(&self) -> Result<Option<Tensor>, GradientError> {
        Ok(if self.is_pending { Some(self.clip_coef.f_reciprocal()?) } else { None })
    }
}

/// `values`, or `instead` where `found_inf` is 1. Not by a product: nothing times NaN is a number.
pub(super) fn where_found(found_inf: &Tensor, values: &Tensor, instead: f64) -> Result<Tensor, GradientError> {
    Ok(values.f_masked_fill(&found_inf.f_to_kind(Kind::Bool)?, instead)?)
}
