//! One factor per tensor.

use tch::{Kind, Tensor};

use super::{ClipOutcome, StepGradients, index_tensor, select};
use crate::{gradient::GradientError, libtorch::scale_units};

/// Multiplies each gradient in place by its factor. `norms` and `factors` are `[tensors]`, f64.
pub(super) fn scale_tensors(
    gradients: &StepGradients<'_>,
    norms: &Tensor,
    factors: Tensor,
) -> Result<ClipOutcome, GradientError> {
    let filled: Vec<usize> = (0..gradients.grads.len()).filter(|&index| gradients.grads[index].numel() > 0).collect();
    if !filled.is_empty() {
        let grads = select(gradients.grads, &filled);
        let indices = index_tensor(&filled, factors.device())?;
        scale_units(&grads, &vec![1; grads.len()], &factors.f_index_select(0, &indices)?)?;
    }
    let kept = factors.f_square()?.f_neg()?.f_add_scalar(1.0)?;
    let lost = norms.f_square()?.f_mul(&kept)?.f_sum(Kind::Double)?;
    let clipped = factors.f_lt(1.0)?.f_sum(Kind::Double)?;
    ClipOutcome::applied(gradients, &lost, factors, (clipped, gradients.grads.len() as u64))
}
