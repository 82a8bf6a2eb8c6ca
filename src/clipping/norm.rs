//! Clipping by the total norm of all gradients: Pascanu et al. 2013 (arXiv:1211.5063).

use tch::{Kind, Tensor};

use super::{ClipOutcome, StepGradients};
use crate::{gradient::GradientError, libtorch::foreach_norm};

/// Added to the total norm before the division, as in torch's `clip_grad_norm_`.
pub(super) const EPS: f64 = 1e-6;

/// Clips to a total norm of at most `max_norm` by the factor min(max_norm / (total_norm + 1e-6), 1), like
/// torch.nn.utils.clip_grad_norm_. `norm_type` is p >= 1 or infinity; norms for p = 2 and infinity come from the
/// measurement.
///
/// The factor is 1 if the step is not finite: torch's rule would turn an infinity in one gradient into zeros in all
/// other gradients, and a NaN into NaNs everywhere.
///
/// # Errors
/// If libtorch reports an error.
pub(super) fn clip(gradients: &StepGradients<'_>, max_norm: f64, norm_type: f64) -> Result<ClipOutcome, GradientError> {
    let total = total_norm(gradients, norm_type)?;
    ClipOutcome::pending(gradients, &coefficient(&total, max_norm)?)
}

/// Returns min(max_norm / (total_norm + 1e-6), 1).
fn coefficient(total_norm: &Tensor, max_norm: f64) -> Result<Tensor, GradientError> {
    Ok(total_norm.f_add_scalar(EPS)?.f_reciprocal()?.f_mul_scalar(max_norm)?.f_clamp_max(1.0)?)
}

/// The p-norm of all gradients as one vector, computed as the p-norm of the tensors' norms. This is exact for p >= 1.
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
    // A large p overflows f64. For p >= 2, the p-norm is at most the 2-norm.
    Ok(if norm_type > 2.0 { total.f_minimum(gradients.measurement.total_norm())? } else { total })
}
