//! Keeping gradients small, on the device and without a sync.
//!
//! The coefficient of a clip is a device scalar. A loop of one's own multiplies the gradients by it with
//! [`clip_grad_norm`]; the trainer hands its inverse to the fused optimizer as `grad_scale`, which saves that pass.

use tch::{Kind, Tensor};

use crate::{
    gradient::{GradientError, Measurement},
    libtorch::foreach_multiply,
};

/// Added to the total norm before the division, as torch's `clip_grad_norm_` does.
const EPS: f64 = 1e-6;

/// What a clip did; all of it still on the device.
pub struct ClipOutcome {
    /// L2 norm of all gradients before the clip: shape `[]`, f64.
    pub total_norm: Tensor,
    /// What the gradients are multiplied by, at most 1; 1 where the step must not be taken: shape `[]`, f32.
    pub clip_coef: Tensor,
    /// 1 where the step must not be taken, else 0: shape `[]`, f32. See [`Measurement::found_inf`].
    pub found_inf: Tensor,
    clips: bool,
}

impl ClipOutcome {
    /// No clip: the coefficient is 1.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn unclipped(measurement: &Measurement) -> Result<Self, GradientError> {
        let total_norm = measurement.total_norm().shallow_clone();
        let clip_coef = total_norm.f_ones_like()?.f_to_kind(Kind::Float)?;
        Ok(Self { total_norm, clip_coef, found_inf: measurement.found_inf().shallow_clone(), clips: false })
    }

    /// The clip to a total norm of at most `max_norm`: min(max_norm / (total_norm + 1e-6), 1), as
    /// torch.nn.utils.clip_grad_norm_ (Pascanu et al. 2013, arXiv:1211.5063).
    ///
    /// A total norm that is not finite gives 1 here: torch's rule would turn an infinity in one gradient into zeros in
    /// all healthy ones, and a NaN into NaNs everywhere.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn by_norm(measurement: &Measurement, max_norm: f64) -> Result<Self, GradientError> {
        let total_norm = measurement.total_norm().shallow_clone();
        let coefficient = total_norm.f_add_scalar(EPS)?.f_reciprocal()?.f_mul_scalar(max_norm)?.f_clamp_max(1.0)?;
        let found_inf = measurement.found_inf().shallow_clone();
        let clip_coef = coefficient.f_masked_fill(&found_inf.f_to_kind(Kind::Bool)?, 1.0)?.f_to_kind(Kind::Float)?;
        Ok(Self { total_norm, clip_coef, found_inf, clips: true })
    }

    /// What a fused optimizer divides the gradients by: 1 / `clip_coef`, shape `[]`, f32. `None` where nothing clips, which
    /// spares the kernel a write of every gradient.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn grad_scale(&self) -> Result<Option<Tensor>, GradientError> {
        Ok(if self.clips { Some(self.clip_coef.f_reciprocal()?) } else { None })
    }
}

/// Scales all gradients in place so that their total L2 norm is at most `max_norm`. No device sync.
///
/// Gradients with a NaN or an infinity are left as they are; [`ClipOutcome::found_inf`] says so.
///
/// # Errors
/// Where the gradients are sparse, or do not share one device and one floating dtype.
pub fn clip_grad_norm(grads: &[Tensor], max_norm: f64) -> Result<ClipOutcome, GradientError> {
    let measurement = Measurement::of_total(grads.iter().map(Tensor::shallow_clone).collect())?;
    let outcome = ClipOutcome::by_norm(&measurement, max_norm)?;
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
            // One rounding of the norm, of the coefficient and of each product: a few units of 2^-24.
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
