//! Restores the model's buffers if a step is skipped. Batch normalization updates them in the forward pass.
//!
//! Copies all buffers of a dtype together, because on CUDA a kernel launch costs more than the copy itself.

use tch::{Kind, Tensor};

use super::TrainError;
use crate::{
    libtorch::{foreach_copy, restore_buffers},
    model::Network,
};

/// Running statistics and counters, with a copy from before the step.
pub struct Buffers {
    alike: Vec<Alike>,
}

/// Buffers of one dtype.
struct Alike {
    live: Vec<Tensor>,
    /// Number of elements per buffer.
    lengths: Vec<i64>,
    /// Copy of all buffers, concatenated; shape `[elements]`.
    saved: Tensor,
    /// Part of the copy for each buffer, in its shape.
    saved_parts: Vec<Tensor>,
}

impl Buffers {
    /// Collects the buffers of `network`.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn new(network: &Network) -> Result<Self, TrainError> {
        Self::of(network.parameters.buffers().map(|buffer| buffer.tensor.shallow_clone()))
    }

    fn of(buffers: impl Iterator<Item = Tensor>) -> Result<Self, TrainError> {
        let mut by_kind: Vec<(Kind, Vec<Tensor>)> = Vec::new();
        for buffer in buffers.filter(|buffer| buffer.numel() > 0) {
            match by_kind.iter_mut().find(|(kind, _)| *kind == buffer.kind()) {
                Some((_, alike)) => alike.push(buffer),
                None => by_kind.push((buffer.kind(), vec![buffer])),
            }
        }
        let alike = by_kind.into_iter().map(|(_, live)| Alike::new(live)).collect::<Result<_, _>>()?;
        Ok(Self { alike })
    }

    /// Copies the buffers. No sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn save(&mut self) -> Result<(), TrainError> {
        let _no_grad = tch::no_grad_guard();
        self.alike.iter_mut().try_for_each(|alike| {
            let _ = Tensor::f_cat_out(&alike.saved, &alike.flat()?, 0)?;
            Ok(())
        })
    }

    /// Restores the copy if `found_inf` (shape `[]`) is 1. Otherwise restores only the elements that the step made
    /// non-finite: one image too bright for f32 makes a variance infinite and the gradient zero. No sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn restore_where(&mut self, found_inf: &Tensor) -> Result<(), TrainError> {
        let _no_grad = tch::no_grad_guard();
        let (mut live, mut saved) = (Vec::new(), Vec::new());
        for alike in &self.alike {
            live.extend(alike.live.iter().map(Tensor::shallow_clone));
            saved.extend(alike.saved_parts.iter().map(Tensor::shallow_clone));
        }
        if restore_buffers(&live, &saved, found_inf)? {
            return Ok(());
        }
        let is_taken = found_inf.f_to_kind(Kind::Bool)?.f_logical_not()?;
        self.alike.iter().try_for_each(|alike| {
            let now = alike.now()?;
            let is_kept = match now.is_floating_point() {
                true => now.f_isfinite()?.f_logical_and(&is_taken)?,
                false => is_taken.shallow_clone(),
            };
            let kept = now.f_where_self(&is_kept, &alike.saved)?;
            Ok(foreach_copy(&alike.live, &alike.parts_of(&kept)?)?)
        })
    }

    /// Restores the copy.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn restore(&mut self) -> Result<(), TrainError> {
        let _no_grad = tch::no_grad_guard();
        self.alike.iter().try_for_each(|alike| Ok(foreach_copy(&alike.live, &alike.saved_parts)?))
    }
}

impl Alike {
    fn new(live: Vec<Tensor>) -> Result<Self, TrainError> {
        let lengths = live.iter().map(|buffer| buffer.numel() as i64).collect();
        let mut alike = Self { live, lengths, saved: Tensor::new(), saved_parts: Vec::new() };
        alike.saved = alike.now()?;
        alike.saved_parts = alike.parts_of(&alike.saved)?;
        Ok(alike)
    }

    /// Concatenates all buffers in a new tensor.
    fn now(&self) -> Result<Tensor, TrainError> {
        Ok(Tensor::f_cat(&self.flat()?, 0)?)
    }

    fn flat(&self) -> Result<Vec<Tensor>, TrainError> {
        Ok(self.live.iter().map(|buffer| buffer.f_flatten(0, -1)).collect::<Result<Vec<_>, _>>()?)
    }

    /// Splits the result of [`now`](Self::now) into buffers, in their shapes.
    fn parts_of(&self, flat: &Tensor) -> Result<Vec<Tensor>, TrainError> {
        let parts = flat.f_split_with_sizes(&self.lengths[..], 0)?;
        let parts = parts.iter().zip(&self.live).map(|(part, live)| part.f_view_as(live));
        Ok(parts.collect::<Result<Vec<_>, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skipped_step_gets_its_buffers_back_and_any_other_its_non_finite_values() {
        let live = [
            Tensor::from_slice(&[1.0f32, 2.0]),
            Tensor::from(5i64),
            Tensor::from_slice(&[3.0f32, 4.0, 5.0, 6.0]).reshape([2, 2]),
            Tensor::from(7i64),
        ];
        let mut buffers = Buffers::of(live.iter().map(Tensor::shallow_clone)).unwrap();
        let mut step = |found_inf: f32| {
            buffers.save().unwrap();
            live[0].shallow_clone().copy_(&Tensor::from_slice(&[f32::NAN, 7.0]));
            let _ = live[2].get(1).fill_(f64::INFINITY);
            for counter in [&live[1], &live[3]] {
                let _ = counter.shallow_clone().f_add_scalar_(1).unwrap();
            }
            buffers.restore_where(&Tensor::from(found_inf)).unwrap();
            let floats = [&live[0], &live[2]].map(|buffer| Vec::<f32>::try_from(buffer.flatten(0, -1)).unwrap());
            (floats.concat(), [1, 3].map(|counter: usize| live[counter].int64_value(&[])))
        };
        assert_eq!(step(1.0), (vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [5, 7]));
        assert_eq!(step(0.0), (vec![1.0, 7.0, 3.0, 4.0, 5.0, 6.0], [6, 8]));
        buffers.restore().unwrap();
        assert_eq!(live[1].int64_value(&[]), 5);
    }

    #[test]
    fn a_copy_does_not_change_with_its_buffer() {
        let live = Tensor::from_slice(&[1.0f32]);
        let mut buffers = Buffers::of([live.shallow_clone()].into_iter()).unwrap();
        let _ = live.shallow_clone().fill_(9.0);
        buffers.restore().unwrap();
        assert_eq!(live.double_value(&[0]), 1.0);
    }

    #[test]
    fn a_model_without_buffers_has_nothing_to_copy() {
        let mut buffers = Buffers::of([].into_iter()).unwrap();
        buffers.save().unwrap();
        buffers.restore_where(&Tensor::from(1.0f32)).unwrap();
    }
}
