//! Gradient norms per micro-batch of a step, without storing the gradients.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tch::{Device, Kind, Tensor};

use super::{GradientError, Measurement, MicroBatchNorms};
use crate::libtorch::{Detail, Hook, HostBlock, HostValues, LibtorchError, Part, column, tensor_bytes, tensor_table};

/// Squared gradient norms per micro-batch of a step.
///
/// After each micro-batch, [`finish`](Self::finish) computes the norm of the accumulated gradient. A micro-batch's own
/// gradient is gone once autograd accumulates it; a hook on each parameter therefore computes its norm, only if
/// [`start`](Self::start) requests it. The first micro-batch needs no hook: its own gradient is the accumulated
/// gradient.
pub struct MicroBatches {
    own: Arc<Own>,
    _hooks: Vec<Hook>,
    images: Vec<u64>,
    squares: Vec<Tensor>,
    running: Vec<Tensor>,
    are_halves: bool,
    takes_norms: bool,
}

/// The sum of squares of the current micro-batch, accumulated by the hooks.
struct Own {
    is_wanted: AtomicBool,
    /// Maximum bytes of gradients that wait for their sum: on a GPU each sum takes launches.
    most_waiting: usize,
    sum: Mutex<OwnSum>,
}

#[derive(Default)]
struct OwnSum {
    waiting: Vec<Tensor>,
    waiting_bytes: usize,
    /// `[1]`, f64.
    squares: Option<Tensor>,
    failure: Option<LibtorchError>,
}

impl Own {
    fn lock(&self) -> MutexGuard<'_, OwnSum> {
        self.sum.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, grad: &Tensor) {
        if !self.is_wanted.load(Ordering::Acquire) {
            return;
        }
        let mut sum = self.lock();
        sum.waiting_bytes += tensor_bytes(grad);
        sum.waiting.push(grad.shallow_clone());
        if sum.waiting_bytes > self.most_waiting {
            sum.add_waiting();
        }
    }
}

impl OwnSum {
    fn add_waiting(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        if let Err(error) = self.add(&waiting) {
            self.failure.get_or_insert(error);
        }
    }

    fn add(&mut self, grads: &[Tensor]) -> Result<(), LibtorchError> {
        if grads.is_empty() {
            return Ok(());
        }
        let squares = tensor_table(grads, Detail::Norms)?.f_select(1, column::SQUARES as i64)?;
        let squares = squares.f_sum(Kind::Double)?.f_reshape([1])?;
        self.squares = Some(match self.squares.take() {
            Some(sum) => sum.f_add(&squares)?,
            None => squares,
        });
        Ok(())
    }

    /// Returns the sum over the micro-batch that ends here.
    fn finish(&mut self) -> Result<Option<Tensor>, LibtorchError> {
        self.add_waiting();
        let ended = std::mem::take(self);
        ended.failure.map_or(Ok(ended.squares), Err)
    }
}

/// Divisor of the parameters' memory: gradients may take this share of it while they wait for their sum on a GPU.
const WAITING_SHARE: usize = 16;

/// Locates the micro-batches of a step in a [`HostBlock`].
pub struct MicroBatchParts {
    images: Vec<u64>,
    squares: Option<Part>,
    running: Option<Part>,
    are_halves: bool,
}

impl MicroBatches {
    /// Registers a hook on each of these parameters.
    ///
    /// # Errors
    /// If libtorch rejects a hook.
    pub fn new<'a>(params: impl IntoIterator<Item = &'a Tensor>) -> Result<Self, GradientError> {
        let params: Vec<&Tensor> = params.into_iter().collect();
        let bytes: usize = params.iter().map(|param| tensor_bytes(param)).sum();
        // The CPU sums each gradient while it is in the cache.
        let is_on_gpu = params.iter().any(|param| param.device() != Device::Cpu);
        let most_waiting = if is_on_gpu { bytes / WAITING_SHARE } else { 0 };
        let own = Arc::new(Own { is_wanted: AtomicBool::new(false), most_waiting, sum: Mutex::default() });
        let hook = |param: &Tensor| {
            let own = Arc::clone(&own);
            Hook::before_accumulation(param, move |grad| {
                own.add(grad);
                None
            })
        };
        let hooks = params.into_iter().map(hook).collect::<Result<_, _>>()?;
        Ok(Self {
            own,
            _hooks: hooks,
            images: Vec::new(),
            squares: Vec::new(),
            running: Vec::new(),
            are_halves: false,
            takes_norms: false,
        })
    }

    /// Starts a step. If `norms`, hooks compute each micro-batch's own norm.
    pub fn start(&mut self, norms: bool) {
        self.own.is_wanted.store(false, Ordering::Release);
        // A pass outside of training may have left gradients here.
        *self.own.lock() = OwnSum::default();
        self.images.clear();
        self.squares.clear();
        self.running.clear();
        self.are_halves = false;
        self.takes_norms = norms;
    }

    /// Finishes a micro-batch of `images` images; `grads` contains the accumulated gradients. No sync.
    ///
    /// # Errors
    /// If libtorch reported an error, including inside backward.
    pub fn finish(&mut self, images: u64, grads: Vec<Tensor>) -> Result<(), GradientError> {
        if self.are_halves {
            return Ok(());
        }
        self.images.push(images);
        let running = Measurement::of_total(grads)?.total_norm().f_square()?;
        if self.takes_norms && self.running.is_empty() {
            self.squares.push(running.shallow_clone());
        } else {
            self.squares.extend(self.own.lock().finish()?);
        }
        self.running.push(running);
        self.own.is_wanted.store(self.takes_norms, Ordering::Release);
        Ok(())
    }

    /// Replaces the step's micro-batches with parts of the batch that ran backward separately. Each part has the number
    /// of images, the squared norm of its own gradient, and the squared norm of the accumulated gradient.
    pub fn set_halves(&mut self, halves: Vec<(u64, Tensor, Tensor)>) {
        self.start(false);
        self.are_halves = true;
        for (images, own, running) in halves {
            self.images.push(images);
            self.squares.push(own);
            self.running.push(running);
        }
    }

    /// Adds the step's norms to `block`. No sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
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
    /// Index of the first micro-batch after which a gradient was not finite.
    pub fn first_non_finite(&self, values: &HostValues) -> Option<usize> {
        let running = self.running.as_ref().filter(|_| !self.are_halves)?;
        values[running].iter().position(|squares| !squares.is_finite())
    }

    /// Norms of equal micro-batches, whose gradients were scaled so that they add up to the mean over all. `None` if
    /// the norms were not computed, or the sizes of the micro-batches differ.
    pub fn norms(&self, values: &HostValues) -> Option<MicroBatchNorms> {
        let (micro, running) = (&values[self.squares.as_ref()?], &values[self.running.as_ref()?]);
        let batch_size = *self.images.first()?;
        if micro.len() != running.len() || self.images.iter().any(|&images| images != batch_size) {
            return None;
        }
        // Reverses the scale 1 / n of each gradient.
        let scale = (self.images.len() as f64).powi(2);
        let unscaled = |squares: &[f64]| squares.iter().map(|squares| squares * scale).collect();
        Some(MicroBatchNorms { batch_size, micro: unscaled(micro), running: unscaled(running) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a step with two parameters; each micro-batch's gradients are already divided by the number of
    /// micro-batches.
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
    fn gradients_that_wait_for_their_sum_are_in_it() {
        let sum_of = |most_waiting: usize| {
            let own = Own { is_wanted: AtomicBool::new(true), most_waiting, sum: Mutex::default() };
            (1..=5u8).for_each(|value| own.add(&Tensor::from_slice(&[f32::from(value)])));
            let waiting = own.lock().waiting.len();
            (waiting, own.lock().finish().unwrap().unwrap().double_value(&[0]))
        };
        assert_eq!(sum_of(0), (0, 55.0));
        // The third gradient of four bytes triggers a sum of three; the last two wait.
        assert_eq!(sum_of(8), (2, 55.0));
        assert_eq!(sum_of(1 << 20), (5, 55.0));
    }

    #[test]
    fn the_first_bad_micro_batch_is_known_without_norms_too() {
        let (parts, values) = step(false, &[[1.0, 2.0], [f32::INFINITY, 1.0], [1.0, 1.0]]);
        assert_eq!(parts.first_non_finite(&values), Some(1));
        assert_eq!(parts.norms(&values), None);
    }
}
