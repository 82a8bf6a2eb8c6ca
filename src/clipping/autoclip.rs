//! AutoClip: clips the norm to a percentile of the past norms.
//!
//! Seetharaman, Wichern, Pardo, and Le Roux 2020, "AutoClip: Adaptive Gradient Clipping for Source Separation Networks"
//! (arXiv:2007.14469).

use tch::{Device, Kind, Tensor};

use super::{ClipOutcome, StepGradients, norm::EPS, outcome::where_found};
use crate::gradient::GradientError;

/// Norms of the last steps, on the device. Non-finite steps are not recorded, so a single NaN does not disable
/// clipping.
#[derive(Debug)]
pub struct Autoclip {
    share: f64,
    /// `[capacity]`, f64, a ring buffer; infinity in unused slots.
    norms: Tensor,
    /// `[]`, f64: number of norms recorded so far.
    seen: Tensor,
}

impl Autoclip {
    /// Clips to the `percentile` of the last `capacity` total norms, including that of the current step. The paper
    /// keeps all norms.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn new(percentile: f64, capacity: usize, device: Device) -> Result<Self, GradientError> {
        let norms = Tensor::f_full([capacity as i64], f64::INFINITY, (Kind::Double, device))?;
        Ok(Self { share: percentile / 100.0, norms, seen: Tensor::f_zeros([], (Kind::Double, device))? })
    }

    pub(super) fn clip(&mut self, gradients: &StepGradients<'_>) -> Result<ClipOutcome, GradientError> {
        let (total, found_inf) = (gradients.measurement.total_norm(), gradients.measurement.found_inf());
        let capacity = self.norms.size()[0] as f64;
        let place = self.seen.f_remainder(capacity)?.f_to_kind(Kind::Int64)?.f_reshape([1])?;
        let is_bad = found_inf.f_to_kind(Kind::Bool)?;
        let entry = self.norms.f_index_select(0, &place)?.f_where_self(&is_bad, &total.f_reshape([1])?)?;
        let _ = self.norms.f_index_copy_(0, &place, &entry)?;
        let _ = self.seen.f_add_(&where_found(found_inf, &self.seen.f_ones_like()?, 0.0)?)?;
        let threshold = self.percentile(capacity)?;
        // A norm that equals its own percentile is not scaled.
        let coefficient = threshold.f_div(&total.f_add_scalar(EPS)?)?;
        let passes = total.f_le_tensor(&threshold)?;
        let coefficient = coefficient.f_ones_like()?.f_where_self(&passes, &coefficient)?;
        ClipOutcome::pending(gradients, &coefficient)
    }

    /// Interpolates linearly between neighbors, like numpy.percentile.
    fn percentile(&self, capacity: f64) -> Result<Tensor, GradientError> {
        let (sorted, _) = self.norms.f_sort(0, false)?;
        let filled = self.seen.f_clamp_max(capacity)?;
        let position = filled.f_sub_scalar(1.0)?.f_clamp_min(0.0)?.f_mul_scalar(self.share)?.f_reshape([1])?;
        let neighbour = |position: Tensor| sorted.f_index_select(0, &position.f_to_kind(Kind::Int64)?);
        let (below, above) = (neighbour(position.f_floor()?)?, neighbour(position.f_ceil()?)?);
        let between = below.f_lerp_tensor(&above, &position.f_frac()?)?;
        // In an empty history, infinity minus infinity would be NaN.
        Ok(between.f_where_self(&below.f_isfinite()?, &below)?.f_reshape([] as [i64; 0])?)
    }

    pub(super) fn state(&self) -> Vec<(&'static str, Tensor)> {
        vec![("autoclip.norms", self.norms.shallow_clone()), ("autoclip.seen", self.seen.shallow_clone())]
    }
}
