//! Clips each element, like torch.nn.utils.clip_grad_value_.

use super::{ClipOutcome, StepGradients, outcome::where_found};
use crate::{gradient::GradientError, libtorch::clip_values};

/// Clamps every element to the range from -`clip_value` to `clip_value`, in place. This changes the direction of the
/// gradient and turns an infinity into `clip_value`, so the check for non-finite gradients must run first. A non-finite
/// step does not count as clipped, although its elements are clamped too.
///
/// # Errors
/// If libtorch reports an error.
pub(super) fn clip(gradients: &StepGradients<'_>, clip_value: f64) -> Result<ClipOutcome, GradientError> {
    if gradients.grads.is_empty() {
        return ClipOutcome::unclipped(gradients);
    }
    // Computed like the norm before the clip, so the difference is exactly 0 if nothing was clipped.
    let after = clip_values(gradients.grads, clip_value)?.f_sum(tch::Kind::Double)?.f_sqrt()?;
    let lost = gradients.measurement.total_norm().f_square()?.f_sub(&after.f_square()?)?;
    let coefs = gradients.measurement.largest()?.f_reciprocal()?.f_mul_scalar(clip_value)?.f_clamp_max(1.0)?;
    let coefs = where_found(gradients.measurement.found_inf(), &coefs, 1.0)?;
    let clipped = coefs.f_lt(1.0)?.f_sum(tch::Kind::Double)?;
    ClipOutcome::applied(gradients, &lost, coefs, (clipped, gradients.grads.len() as u64))
}
