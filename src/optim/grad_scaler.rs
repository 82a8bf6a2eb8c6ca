//! Loss scaling for float16, in which small gradients would underflow to 0: torch.amp.GradScaler.

use tch::{Device, Kind, Tensor};

use super::OptimError;
use crate::libtorch::{amp_unscale, amp_update_scale};

/// Multiplies the loss by a scale and divides the gradients by it. A step that overflows is skipped and halves the
/// scale; 2,000 consecutive steps without an overflow double it. A scale that is too high is halved until the gradients
/// fit. If the scale reaches its minimum, nearly all float16 gradients underflow.
#[derive(Debug)]
pub struct GradScaler {
    /// `[1]`, f32.
    scale: Tensor,
    /// `[1]`, i32: steps without an overflow since the last change of the scale.
    growth_tracker: Tensor,
}

impl GradScaler {
    /// 2^-24, the smallest positive float16 number.
    pub const SMALLEST: f64 = 1.0 / 16_777_216.0;
    const INITIAL: f64 = 65536.0;
    const GROWTH: f64 = 2.0;
    const BACKOFF: f64 = 0.5;
    const INTERVAL: i64 = 2000;

    /// Starts with a scale of 2^16, as torch does.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn new(device: Device) -> Result<Self, OptimError> {
        let scale = Tensor::f_full([1], Self::INITIAL, (Kind::Float, device))?;
        Ok(Self { scale, growth_tracker: Tensor::f_zeros([1], (Kind::Int, device))? })
    }

    /// A copy of the current scale: shape `[]`, f32.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn scale(&self) -> Result<Tensor, OptimError> {
        Ok(self.scale.f_reshape([] as [i64; 0])?.f_mul_scalar(1.0)?)
    }

    /// Divides gradients by the scale, in place. Infinities and NaNs from an overflow remain. No sync.
    ///
    /// # Errors
    /// If the gradients are not f32 on one device.
    pub fn unscale(&self, grads: &[Tensor]) -> Result<(), OptimError> {
        if grads.is_empty() {
            return Ok(());
        }
        Ok(amp_unscale(grads, &self.scale.f_zeros_like()?, &self.scale.f_reciprocal()?)?)
    }

    /// Updates the scale after a step; `found_inf` (`[]`, f32) is 1 if the step overflowed. No sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn update(&mut self, found_inf: &Tensor) -> Result<(), OptimError> {
        let found_inf = found_inf.f_reshape([1])?;
        let (scale, tracker) = (&self.scale, &self.growth_tracker);
        amp_update_scale(scale, tracker, &found_inf, Self::GROWTH, Self::BACKOFF, Self::INTERVAL)?;
        let _ = self.scale.f_clamp_min_(Self::SMALLEST)?;
        Ok(())
    }

    /// Whether the scale is at its minimum: shape `[]`, bool. No sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn is_smallest(&self) -> Result<Tensor, OptimError> {
        Ok(self.scale.f_reshape([] as [i64; 0])?.f_le(Self::SMALLEST)?)
    }

    /// The state under torch's names, as the tensors themselves: copy into them to restore it.
    pub fn state(&self) -> Vec<(&'static str, Tensor)> {
        vec![("scale", self.scale.shallow_clone()), ("_growth_tracker", self.growth_tracker.shallow_clone())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overflow_halves_the_scale_and_2000_steps_without_double_it() {
        let mut scaler = GradScaler::new(Device::Cpu).unwrap();
        let scale = |scaler: &GradScaler| scaler.scale().unwrap().double_value(&[]);
        let (fine, bad) = (Tensor::from(0.0f32), Tensor::from(1.0f32));
        scaler.update(&bad).unwrap();
        assert_eq!(scale(&scaler), 32768.0);
        (0..1999).for_each(|_| scaler.update(&fine).unwrap());
        assert_eq!(scale(&scaler), 32768.0);
        scaler.update(&fine).unwrap();
        assert_eq!(scale(&scaler), 65536.0);
        (0..1999).for_each(|_| scaler.update(&fine).unwrap());
        scaler.update(&bad).unwrap();
        (0..1999).for_each(|_| scaler.update(&fine).unwrap());
        assert_eq!(scale(&scaler), 32768.0);
    }

    #[test]
    fn forty_overflows_take_the_scale_to_its_smallest_and_no_further() {
        let mut scaler = GradScaler::new(Device::Cpu).unwrap();
        let is_smallest = |scaler: &GradScaler| scaler.is_smallest().unwrap().int64_value(&[]) == 1;
        let bad = Tensor::from(1.0f32);
        (0..39).for_each(|_| scaler.update(&bad).unwrap());
        assert!(!is_smallest(&scaler));
        (0..3).for_each(|_| scaler.update(&bad).unwrap());
        assert!(is_smallest(&scaler));
        assert_eq!(scaler.scale().unwrap().double_value(&[]), GradScaler::SMALLEST);
    }

    #[test]
    fn gradients_are_divided_exactly_and_keep_what_is_not_finite() {
        let scaler = GradScaler::new(Device::Cpu).unwrap();
        let grads = [Tensor::from_slice(&[65536.0f32, -3.0, f32::INFINITY]), Tensor::from_slice(&[f32::NAN])];
        scaler.unscale(&grads).unwrap();
        assert_eq!(Vec::<f32>::try_from(&grads[0]).unwrap(), [1.0, -3.0 / 65536.0, f32::INFINITY]);
        assert!(grads[1].double_value(&[0]).is_nan());
        scaler.unscale(&[]).unwrap();
    }
}
