//! AdaGC: clips each tensor's norm against its own running norm.
//!
//! Wang et al. 2025, "AdaGC: Improving Training Stability for Large Language Model Pretraining" (arXiv:2502.11034).

use tch::{Device, Kind, Tensor};

use super::{ClipOutcome, StepGradients, index_tensor, outcome::where_found, scale_tensors};
use crate::{config::AdagcConfig, gradient::GradientError};

/// Running norm of each tensor, on the device.
///
/// In the published rule, a running norm of 0 is permanent: a tensor whose first gradient is 0, such as one behind a
/// norm layer with a gain of 0, is multiplied by 0 forever. Here, norms of 0 do not update the running norm, and a
/// tensor without a running norm is not clipped.
#[derive(Debug)]
pub struct Adagc {
    options: AdagcConfig,
    /// `[params]`, f64; 0 if there is no running norm yet.
    running: Tensor,
    /// `[]`, f64: number of steps with finite gradients.
    seen: Tensor,
}

impl Adagc {
    /// Creates an empty history for `params` parameters.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn new(options: AdagcConfig, params: usize, device: Device) -> Result<Self, GradientError> {
        let running = Tensor::f_zeros([params as i64], (Kind::Double, device))?;
        Ok(Self { options, running, seen: Tensor::f_zeros([] as [i64; 0], (Kind::Double, device))? })
    }

    pub(super) fn clip(&mut self, gradients: &StepGradients<'_>) -> Result<ClipOutcome, GradientError> {
        if gradients.grads.is_empty() {
            return ClipOutcome::unclipped(gradients);
        }
        let AdagcConfig { beta, lambda_abs, lambda_rel, warmup_steps } = self.options;
        let found_inf = gradients.measurement.found_inf();
        let norms = gradients.measurement.squares()?.f_sqrt()?;
        let positions = index_tensor(gradients.positions, norms.device())?;
        let running = self.running.f_index_select(0, &positions)?;
        let (is_warm, is_new) = (self.seen.f_ge(warmup_steps as f64)?, running.f_eq(0.0)?);

        // During warm-up, all gradients together are clipped to a total norm of lambda_abs.
        let total = gradients.measurement.total_norm();
        let together = total.f_reciprocal()?.f_mul_scalar(lambda_abs)?.f_clamp_max(1.0)?.f_expand_as(&norms)?;
        let apart = running.f_mul_scalar(lambda_rel)?.f_div(&norms)?.f_clamp_max(1.0)?;
        let apart = apart.f_masked_fill(&is_new, 1.0)?;
        let factors = apart.f_where_self(&is_warm, &together)?;
        let factors = where_found(found_inf, &factors.f_masked_fill(&norms.f_eq(0.0)?, 1.0)?, 1.0)?;

        let clipped_norms = factors.f_mul(&norms)?;
        let later = running.f_lerp(&clipped_norms, 1.0 - beta)?;
        let next = later.f_where_self(&is_warm, &running.f_minimum(&clipped_norms)?)?;
        let next = clipped_norms.f_where_self(&is_new, &next)?;
        let is_left = norms.f_eq(0.0)?.f_logical_or(&found_inf.f_to_kind(Kind::Bool)?)?;
        let _ = self.running.f_index_copy_(0, &positions, &running.f_where_self(&is_left, &next)?)?;
        let _ = self.seen.f_add_(&where_found(found_inf, &self.seen.f_ones_like()?, 0.0)?)?;
        scale_tensors(gradients, &norms, factors)
    }

    pub(super) fn state(&self) -> Vec<(&'static str, Tensor)> {
        vec![("adagc.running", self.running.shallow_clone()), ("adagc.seen", self.seen.shallow_clone())]
    }
}
