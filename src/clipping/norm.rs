//! Clipping by the norm of all gradients together: Pascanu et al. 2013 (arXiv:1211.5063).

use tch::{Kind, Tensor};

use super::{ClipOutcome, StepGradients};
use crate::{gradient::GradientError, libtorch::foreach_norm};

/// Added to the total norm before the division, as torch's `clip_grad_norm_` does.
pub(super) const EPS: f64 = 1e-6;

/// The clip to a total norm of at most `max_norm`: min(max_norm / (total_norm + 1e-6), 1), as
/// torch.nn.utils.clip_grad_norm_. `norm_type` is p >= 1 or infinity; norms of 2 and of infinity were taken already.
///
/// A total norm that is not finite gives 1 here: torch's rule would turn an infinity in one gradient into zeros in all
/// healthy ones, and a NaN into NaNs everywhere.
///
/// # Errors
/// Where libtorch refuses.
pub(super) fn clip(gradients: &StepGradients<'_>, max_norm: f64, norm_type: f64) -> Result<ClipOutcome, GradientError> {
    let total = total_norm(gradients, norm_type)?;
    ClipOutcome::pending(gradients, &coefficient(&total, max_norm)?)
}

/// min(max_norm / (total_norm + 1e-6), 1).
fn coefficient(total_norm: &Tensor, max_norm: f64) -> Result<Tensor, GradientError> {
    Ok(total_norm.f_add_scalar(EPS)?.f_reciprocal()?.f_mul_scalar(max_norm)?.f_clamp_max(1.0)?)
}

/// The p-norm of all gradients as one vector: that of the norms of the tensors, which is exact for p >= 1.
fn total_norm(gradients: &StepGradients<'_>, norm_type: f64) -> Result<Tensor, GradientError> {
    if norm_type == 2.0 {
        return Ok(gradients.measurement.total_norm().shallow_clone());
    }
    let norms = if gradients.grads.is_empty() {
        return Ok(gradients.measurement.total_norm().f_zeros_like()?);
    } else if norm_type == f64::INFINITY {
        gradients.measurement.largest()?
    } else {
        foreach_norm(gradients.grads, norm_type)?
    };
    let total = norms.f_linalg_norm(norm_type, None::<&[i64]>, false, Kind::Double)?;
    // A large p takes powers beyond f64; from 2 on no norm is above that of 2.
    Ok(if norm_type > 2.0 { total.f_minimum(gradients.measurement.total_norm())? } else { total })
}
