//! The micro-batches of one step told apart, without keeping their gradients.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tch::{Kind, Tensor};

use super::{GradientError, Measurement, MicroBatchNorms};
use crate::libtorch::{Detail, Hook, HostBlock, HostValues, LibtorchError, Part, tensor_table};

/// Squared gradient norms along the micro-batches of a step.
///
/// The running sum is looked at after each micro-batch. A micro-batch's own gradient is gone once it is added, so its
/// norm is taken by a hook on each parameter, and only where [`start`](Self::start) asks for it.
pub struct MicroBatches {
    own: Arc<Own>,
    _hooks: Vec<Hook>,
    images: Vec<u64>,
    squares: Vec<Tensor>,
    running: Vec<Tensor>,
    are_halves: bool,
}

/// The sum that the hooks make of the current micro-batch.
#[derive(Default)]
struct Own {
    is_wanted: AtomicBool,
    /// `[1]`, f64.
    squares: Mutex<Option<Result<Tensor, LibtorchError>>>,
}

impl Own {
    fn add(&self, grad: &Tensor) {
        if !self.is_wanted.load(Ordering::Acquire) {
            return;
        }
        let mut squares = self.squares.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = match squares.take() {
            None => squares_of(grad),
            Some(Ok(sum)) => squares_of(grad).and_then(|more| Ok(sum.f_add(&more)?)),
            Some(Err(error)) => Err(error),
        };
        *squares = Some(sum);
    }
}

fn squares_of(grad: &Tensor) -> Result<Tensor, LibtorchError> {
    Ok(tensor_table(std::slice::from_ref(grad), Detail::Norms)?.f_select(1, 0)?)
}

/// Where the micro-batches of a step stand in a [`HostBlock`].
pub struct MicroBatchParts {
    images: Vec<u64>,
    squares: Option<Part>,
    running: Option<Part>,
    are_halves: bool,
}

impl MicroBatches {
    /// Puts a hook on each of these parameters.
    ///
    /// # Errors
    /// Where libtorch takes no hook.
    pub fn new<'a>(params: impl IntoIterator<Item = &'a Tensor>) -> Result<Self, GradientError> {
        let own = Arc::new(Own::default());
        let hook = |param| {
            let own = Arc::clone(&own);
            Hook::before_accumulation(param, move |grad| {
                own.add(grad);
                None
            })
        };
        let hooks = params.into_iter().map(hook).collect::<Result<_, _>>()?;
        Ok(Self { own, _hooks: hooks, images: Vec::new(), squares: Vec::new(), running: Vec::new(), are_halves: false })
    }

    /// Begins a step; with `norms`, each micro-batch's own norm is taken.
    pub fn start(&mut self, norms: bool) {
        self.own.is_wanted.store(norms, Ordering::Release);
        // A pass beside training may have left something.
        *self.own.squares.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.images.clear();
        self.squares.clear();
        self.running.clear();
        self.are_halves = false;
    }

    /// Ends a micro-batch of so many images, after which `grads` hold the sum of all so far. No sync.
    ///
    /// # Errors
    /// Where libtorch refused, also inside backward.
    pub fn finish(&mut self, images: u64, grads: Vec<Tensor>) -> Result<(), GradientError> {
        if self.are_halves {
            return Ok(());
        }
        self.images.push(images);
        self.running.push(Measurement::of_total(grads)?.total_norm().f_square()?);
        if let Some(squares) = self.own.squares.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.squares.push(squares?);
        }
        Ok(())
    }

    /// Takes parts of the batch that were propagated apart in place of the step's micro-batches: of each the images, the
    /// squared norm of its own gradient, and that of the sum so far.
    pub fn set_halves(&mut self, halves: Vec<(u64, Tensor, Tensor)>) {
        self.start(false);
        self.are_halves = true;
        for (images, own, running) in halves {
            self.images.push(images);
            self.squares.push(own);
            self.running.push(running);
        }
    }

    /// Puts the step's norms into `block`. No sync.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn add_to(&self, block: &mut HostBlock) -> Result<MicroBatchParts, GradientError> {
        let mut part = |tensors: &[Tensor]| -> Result<_, GradientError> {
            let flat = tensors.iter().map(|tensor| tensor.f_reshape([1])).collect::<Result<Vec<_>, _>>()?;
            Ok(if flat.is_empty() {
                None
            } else {
                Some(block.add(&Tensor::f_cat(&flat, 0)?.f_to_kind(Kind::Double)?)?)
            })
        };
        let (squares, running) = (part(&self.squares)?, part(&self.running)?);
        Ok(MicroBatchParts { images: self.images.clone(), squares, running, are_halves: self.are_halves })
    }
}

impl MicroBatchParts {
    /// The first micro-batch after which a gradient was not finite.
    pub fn first_non_finite(&self, values: &HostValues) -> Option<usize> {
        let running = self.running.as_ref().filter(|_| !self.are_halves)?;
        values[running].iter().position(|squares| !squares.is_finite())
    }

    /// The norms of equal micro-batches, whose gradients were scaled so that they add up to the mean over all; `None`
    /// where they were not taken, or a micro-batch is smaller than the others.
    pub fn norms(&self, values: &HostValues) -> Option<MicroBatchNorms> {
        let (micro, running) = (&values[self.squares.as_ref()?], &values[self.running.as_ref()?]);
        let batch_size = *self.images.first()?;
        if micro.len() != running.len() || self.images.iter().any(|&images| images != batch_size) {
            return None;
        }
        // Undoes the scale 1 / n of each gradient.
        let scale = (self.images.len() as f64).powi(2);
        let unscaled = |squares: &[f64]| squares.iter().map(|squares| squares * scale).collect();
        Some(MicroBatchNorms { batch_size, micro: unscaled(micro), running: unscaled(running) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two parameters; each micro-batch's gradients, already divided by their number.
    fn step(norms: bool, micro_batches: &[[f32; 2]]) -> (MicroBatchParts, HostValues) {
        let params = [1.0f32, 1.0].map(|value| Tensor::from_slice(&[value]).set_requires_grad(true));
        let mut seen = MicroBatches::new(&params).unwrap();
        seen.start(norms);
        for gradients in micro_batches {
            let loss = &params[0] * f64::from(gradients[0]) + &params[1] * f64::from(gradients[1]);
            loss.sum(Kind::Float).backward();
            seen.finish(8, params.iter().map(Tensor::grad).collect()).unwrap();
        }
        let mut block = HostBlock::default();
        let parts = seen.add_to(&mut block).unwrap();
        (parts, block.read().unwrap())
    }

    #[test]
    fn own_and_running_norms_are_as_derived_by_hand() {
        let (parts, values) = step(true, &[[1.5, 2.0], [0.0, -2.0]]);
        // Mean gradients (3, 4) and (0, -4); their sum (3, 0).
        let want = MicroBatchNorms { batch_size: 8, micro: vec![25.0, 16.0], running: vec![25.0, 9.0] };
        assert_eq!(parts.norms(&values), Some(want));
        assert_eq!(parts.first_non_finite(&values), None);
    }

    #[test]
    fn the_first_bad_micro_batch_is_known_without_norms_too() {
        let (parts, values) = step(false, &[[1.0, 2.0], [f32::INFINITY, 1.0], [1.0, 1.0]]);
        assert_eq!(parts.first_non_finite(&values), Some(1));
        assert_eq!(parts.norms(&values), None);
    }
}
