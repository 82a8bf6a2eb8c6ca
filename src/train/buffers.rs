//! The model's buffers across a step that may be skipped: batch normalization writes them in the forward pass.

use tch::{Kind, Tensor};

use super::TrainError;
use crate::model::Network;

/// Running statistics and counters, with a copy from before the step.
pub struct Buffers {
    live: Vec<Tensor>,
    saved: Vec<Tensor>,
}

impl Buffers {
    /// The buffers of `network`.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn new(network: &Network) -> Result<Self, TrainError> {
        let live: Vec<Tensor> = network.parameters.buffers().map(|buffer| buffer.tensor.shallow_clone()).collect();
        let saved = live.iter().map(Tensor::f_zeros_like).collect::<Result<_, _>>()?;
        let mut buffers = Self { live, saved };
        buffers.save()?;
        Ok(buffers)
    }

    /// Takes the copy. No sync.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn save(&mut self) -> Result<(), TrainError> {
        copy_all(&mut self.saved, &self.live)
    }

    /// Puts the copy back where `found_inf` (shape `[]`) is 1, and otherwise wherever the step left a value that is not
    /// finite: one image too bright for f32 makes a variance infinite and the gradient zero. No sync.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn restore_where(&mut self, found_inf: &Tensor) -> Result<(), TrainError> {
        let _no_grad = tch::no_grad_guard();
        let is_taken = found_inf.f_to_kind(Kind::Bool)?.f_logical_not()?;
        for (live, saved) in self.live.iter_mut().zip(&self.saved) {
            let is_kept = live.f_isfinite()?.f_logical_and(&is_taken)?;
            let kept = live.f_where_self(&is_kept, saved)?;
            live.f_copy_(&kept)?;
        }
        Ok(())
    }

    /// Puts the copy back.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn restore(&mut self) -> Result<(), TrainError> {
        copy_all(&mut self.live, &self.saved)
    }
}

fn copy_all(into: &mut [Tensor], from: &[Tensor]) -> Result<(), TrainError> {
    let _no_grad = tch::no_grad_guard();
    for (into, from) in into.iter_mut().zip(from) {
        into.f_copy_(from)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn a_skipped_step_gets_its_buffers_back_and_any_other_its_non_finite_values() {
        let live = vec![Tensor::from_slice(&[1.0f32, 2.0]), Tensor::from(5i64)];
        let saved = live.iter().map(Tensor::zeros_like).collect();
        let mut buffers = Buffers { live, saved };
        let mut step = |found_inf: f32| {
            buffers.save().unwrap();
            buffers.live[0].f_copy_(&Tensor::from_slice(&[f32::NAN, 7.0])).unwrap();
            let _ = buffers.live[1].f_add_scalar_(1).unwrap();
            buffers.restore_where(&Tensor::from(found_inf).to_device(Device::Cpu)).unwrap();
            let values = Vec::<f32>::try_from(&buffers.live[0]).unwrap();
            (values, buffers.live[1].int64_value(&[]))
        };
        assert_eq!(step(1.0), (vec![1.0, 2.0], 5));
        assert_eq!(step(0.0), (vec![1.0, 7.0], 6));
    }
}
