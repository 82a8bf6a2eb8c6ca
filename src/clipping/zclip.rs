//! ZClip: reduces norms that are outliers in the running distribution of norms.
//!
//! Kumar et al. 2025, "ZClip: Adaptive Spike Mitigation for LLM Pre-Training" (arXiv:2504.02507), with the options of
//! the authors' code.

use tch::{Device, Kind, Tensor};

use super::{ClipOutcome, StepGradients, norm::EPS, outcome::where_found};
use crate::{
    config::{ZclipConfig, ZclipMode, ZclipOption},
    gradient::GradientError,
};

/// Running mean and variance of the total norm, on the device. Non-finite steps are not recorded. In the authors' code,
/// a single NaN makes both NaN and disables clipping for the rest of the run.
#[derive(Debug)]
pub struct Zclip {
    options: ZclipConfig,
    /// `[]`, f64 each. During warm-up, the mean and variance of all norms so far.
    mean: Tensor,
    variance: Tensor,
    /// `[]`, f64: number of steps with finite gradients.
    seen: Tensor,
}

impl Zclip {
    /// Creates an empty history.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn new(options: ZclipConfig, device: Device) -> Result<Self, GradientError> {
        let zero = || Tensor::f_zeros([] as [i64; 0], (Kind::Double, device));
        Ok(Self { options, mean: zero()?, variance: zero()?, seen: zero()? })
    }

    pub(super) fn clip(&mut self, gradients: &StepGradients<'_>) -> Result<ClipOutcome, GradientError> {
        let (total, found_inf) = (gradients.measurement.total_norm(), gradients.measurement.found_inf());
        let options = &self.options;
        let is_warm = self.seen.f_ge(options.warmup_steps as f64)?;
        let (is_spike, reduced) = self.judge(total)?;
        let is_spike = is_spike.f_logical_and(&is_warm)?;
        // The running statistics record the reduced norm of a spike, before max_grad_norm applies.
        let kept = reduced.f_where_self(&is_spike, total)?;
        let target = kept.f_clamp_max(options.max_grad_norm)?;
        let scaled = target.f_div(&total.f_add_scalar(EPS)?)?;
        let coefficient = total.f_ones_like()?.f_where_self(&total.f_le_tensor(&target)?, &scaled)?;
        self.add(&kept, &is_warm, &is_spike, found_inf)?;
        ClipOutcome::pending(gradients, &coefficient)
    }

    /// Returns whether the norm is a spike, and the norm to reduce a spike to.
    fn judge(&self, total: &Tensor) -> Result<(Tensor, Tensor), GradientError> {
        let ZclipConfig { z_thresh, clip_factor, .. } = self.options;
        let std = self.variance.f_sqrt()?;
        let limit = self.mean.f_add(&std.f_mul_scalar(z_thresh)?)?;
        if self.options.mode == ZclipMode::Percentile {
            return Ok((total.f_gt_tensor(&limit)?, limit));
        }
        let z = total.f_sub(&self.mean)?.f_div(&std.f_add_scalar(EPS)?)?;
        let reduced = match self.options.clip_option {
            ZclipOption::Mean => self.mean.shallow_clone(),
            // The larger the outlier, the closer to the mean.
            ZclipOption::AdaptiveScaling => {
                let excess = z.f_div_scalar(z_thresh)?;
                self.mean.f_add(&std.f_mul_scalar(z_thresh)?.f_div(&excess)?)?.f_mul_scalar(clip_factor)?
            }
        };
        Ok((z.f_gt(z_thresh)?, reduced))
    }

    /// Records a norm in the running statistics, unless the step is skipped, or is a spike under
    /// `skip_update_on_spike`.
    fn add(
        &mut self,
        kept: &Tensor,
        is_warm: &Tensor,
        is_spike: &Tensor,
        found_inf: &Tensor,
    ) -> Result<(), GradientError> {
        // During warm-up, Welford's update gives the mean and population variance; afterwards, both decay
        // exponentially.
        let count = self.seen.f_add_scalar(1.0)?;
        let delta = kept.f_sub(&self.mean)?;
        let first_mean = self.mean.f_add(&delta.f_div(&count)?)?;
        let spread = delta.f_mul(&kept.f_sub(&first_mean)?)?;
        let first_variance = self.variance.f_mul(&self.seen)?.f_add(&spread)?.f_div(&count)?;
        let weight = 1.0 - self.options.alpha;
        let mean = self.mean.f_lerp(kept, weight)?;
        let variance = self.variance.f_lerp(&kept.f_sub(&mean)?.f_square()?, weight)?;
        let mut is_left = found_inf.f_to_kind(Kind::Bool)?;
        if self.options.skip_update_on_spike {
            is_left = is_left.f_logical_or(is_spike)?;
        }
        let enters = where_found(found_inf, &count.f_ones_like()?, 0.0)?;
        for (state, first, later) in
            [(&mut self.mean, first_mean, mean), (&mut self.variance, first_variance, variance)]
        {
            let new = later.f_where_self(is_warm, &first)?;
            let new = state.f_where_self(&is_left, &new)?;
            state.f_copy_(&new)?;
        }
        let _ = self.seen.f_add_(&enters)?;
        Ok(())
    }

    pub(super) fn state(&self) -> Vec<(&'static str, Tensor)> {
        let named = [("zclip.mean", &self.mean), ("zclip.variance", &self.variance), ("zclip.seen", &self.seen)];
        named.into_iter().map(|(name, tensor)| (name, tensor.shallow_clone())).collect()
    }
}
