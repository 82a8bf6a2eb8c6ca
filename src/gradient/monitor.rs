//! The collector: a hook on every parameter, and what they saw since the last reading.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use tch::Tensor;

use super::{GradientError, GradientStatistics, Measurement};
use crate::libtorch::Hook;

/// No backward pass has reached the parameter.
const NEVER: u8 = 0;
/// It has, but not since the last reading.
const EARLIER: u8 = 1;
/// It has, since the last reading.
const NOW: u8 = 2;

/// Watches the gradients of named parameters. Its hooks go when it drops.
///
/// The hooks read no value, so they cost next to nothing and never wait for a device; they only note which parameters
/// backward reached. [`collect`](Self::collect) then reads `.grad` of those in one batched pass.
pub struct GradientMonitor {
    watched: Vec<Watched>,
    reached: Arc<[AtomicU8]>,
    frozen: Vec<String>,
    shared: Vec<(String, String)>,
}

struct Watched {
    name: String,
    param: Tensor,
    _hook: Hook,
}

impl GradientMonitor {
    /// Puts a hook on every parameter that requires a gradient. The others are listed by [`frozen`](Self::frozen); a
    /// parameter that shares its memory with an earlier one (tied weights) is watched once, see
    /// [`shared`](Self::shared).
    ///
    /// # Errors
    /// Where two parameters have one name, or libtorch takes no hook.
    pub fn attach<N: Into<String>, T: AsRef<Tensor>>(
        parameters: impl IntoIterator<Item = (N, T)>,
    ) -> Result<Self, GradientError> {
        let (mut names, mut frozen, mut shared) = (HashSet::new(), Vec::new(), Vec::new());
        let mut trainable: Vec<(String, Tensor)> = Vec::new();
        for (name, param) in parameters {
            let (name, param) = (name.into(), param.as_ref());
            if !names.insert(name.clone()) {
                return Err(GradientError::DuplicateName { name });
            }
            let twin = trainable.iter().find(|(_, earlier)| is_same_memory(earlier, param));
            if !param.requires_grad() {
                frozen.push(name);
            } else if let Some((earlier, _)) = twin {
                shared.push((name, earlier.clone()));
            } else {
                trainable.push((name, param.shallow_clone()));
            }
        }
        let reached: Arc<[AtomicU8]> = trainable.iter().map(|_| AtomicU8::new(NEVER)).collect();
        let watched = trainable
            .into_iter()
            .enumerate()
            .map(|(index, (name, param))| {
                let reached = Arc::clone(&reached);
                let hook = Hook::after_accumulation(&param, move |_| reached[index].store(NOW, Ordering::Release))?;
                Ok(Watched { name, param, _hook: hook })
            })
            .collect::<Result<_, GradientError>>()?;
        Ok(Self { watched, reached, frozen, shared })
    }

    /// The statistics of the gradients that backward wrote since the last reading. One device sync.
    ///
    /// # Errors
    /// Where the gradients are sparse, or do not share one device and one floating dtype.
    pub fn collect(&self) -> Result<GradientStatistics, GradientError> {
        Ok(self.collect_with(&self.measure()?, &[])?.0)
    }

    /// The first half of [`collect`](Self::collect), without its sync: norms that stay on the device.
    ///
    /// # Errors
    /// As for [`collect`](Self::collect).
    pub fn measure(&self) -> Result<Measurement, GradientError> {
        Measurement::of(self.reached_now().map(|watched| (watched.name.as_str(), watched.param.grad())))
    }

    /// The second half of [`collect`](Self::collect): reads `measurement`, which must be this monitor's latest, with
    /// `extras` (one-element tensors of the same device) in the same device-to-host copy. One device sync.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn collect_with(
        &self,
        measurement: &Measurement,
        extras: &[&Tensor],
    ) -> Result<(GradientStatistics, Vec<f64>), GradientError> {
        let (mut statistics, extras) = measurement.read(extras)?;
        statistics.missing = self.names_where(|state| state != NOW);
        self.forget();
        Ok((statistics, extras))
    }

    /// Makes the next reading speak only of what backward writes from now on.
    pub fn forget(&self) {
        for state in self.reached.iter() {
            let _ = state.compare_exchange(NOW, EARLIER, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// The gradient of every watched parameter that has one: what a clip takes. They share memory with `.grad`.
    pub fn grads(&self) -> Vec<Tensor> {
        self.watched.iter().map(|watched| watched.param.grad()).filter(Tensor::defined).collect()
    }

    /// Parameters with a hook, in the order of attachment.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.watched.iter().map(|watched| watched.name.as_str())
    }

    /// Parameters without a hook because they do not require a gradient.
    pub fn frozen(&self) -> &[String] {
        &self.frozen
    }

    /// Parameters without a hook of their own, each with the earlier one whose memory it shares.
    pub fn shared(&self) -> &[(String, String)] {
        &self.shared
    }

    /// Parameters that no backward pass has reached so far: outside the graph of the loss.
    pub fn never_reached(&self) -> Vec<String> {
        self.names_where(|state| state == NEVER)
    }

    fn names_where(&self, is_wanted: impl Fn(u8) -> bool) -> Vec<String> {
        let states = self.reached.iter().map(|state| state.load(Ordering::Acquire));
        let named = self.watched.iter().zip(states);
        named.filter(|(_, state)| is_wanted(*state)).map(|(watched, _)| watched.name.clone()).collect()
    }

    /// What backward reached since the last reading and still has a gradient (the caller may have cleared it).
    fn reached_now(&self) -> impl Iterator<Item = &Watched> {
        let reached = |(_, state): &(&Watched, &AtomicU8)| state.load(Ordering::Acquire) == NOW;
        let watched = self.watched.iter().zip(self.reached.iter()).filter(reached).map(|(watched, _)| watched);
        watched.filter(|watched| watched.param.grad().defined())
    }
}

fn is_same_memory(a: &Tensor, b: &Tensor) -> bool {
    a.numel() > 0 && a.data_ptr() == b.data_ptr() && a.size() == b.size()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tch::{Device, Kind};

    use super::*;
    use crate::gradient::ParameterGradient;

    fn leaf(values: &[f32]) -> Tensor {
        Tensor::from_slice(values).set_requires_grad(true)
    }

    /// Backward of sum(param * grad): the gradient is `grad` itself.
    fn give(param: &Tensor, grad: &[f32]) {
        (param * Tensor::from_slice(grad)).sum(Kind::Float).backward();
    }

    fn seen(name: &str, norm: f64, max_abs: f64, non_finite_count: u64) -> ParameterGradient {
        ParameterGradient { name: name.into(), norm, max_abs, non_finite_count }
    }

    #[test]
    fn each_parameter_and_the_total_come_out_as_derived_by_hand() {
        let (weight, bias) = (leaf(&[1.0, 1.0]), leaf(&[1.0]));
        let monitor = GradientMonitor::attach([("fc.weight", &weight), ("fc.bias", &bias)]).unwrap();
        give(&weight, &[-3.0, 4.0]);
        give(&bias, &[12.0]);
        let statistics = monitor.collect().unwrap();
        assert_eq!(statistics.parameters, [seen("fc.weight", 5.0, 4.0, 0), seen("fc.bias", 12.0, 12.0, 0)]);
        assert_eq!(statistics.total_norm, 13.0);
        assert!(statistics.missing.is_empty() && statistics.is_finite());
    }

    #[test]
    fn accumulated_micro_batches_are_seen_as_their_sum() {
        let weight = leaf(&[1.0, 1.0]);
        let monitor = GradientMonitor::attach([("w", &weight)]).unwrap();
        give(&weight, &[1.0, 3.0]);
        give(&weight, &[2.0, 1.0]);
        assert_eq!(monitor.collect().unwrap().total_norm, 5.0);
    }

    #[test]
    fn non_finite_elements_are_counted_and_the_first_parameter_with_one_is_named() {
        let (good, bad) = (leaf(&[1.0]), leaf(&[1.0, 1.0, 1.0]));
        let monitor = GradientMonitor::attach([("good", &good), ("bad", &bad)]).unwrap();
        give(&good, &[2.0]);
        give(&bad, &[f32::NAN, 1.0, f32::NEG_INFINITY]);
        let statistics = monitor.collect().unwrap();
        assert_eq!(statistics.parameters[0], seen("good", 2.0, 2.0, 0));
        assert_eq!(statistics.parameters[1].non_finite_count, 2);
        assert!(!statistics.is_finite());
        assert_eq!(statistics.first_non_finite().unwrap().name, "bad");
    }

    #[test]
    fn norms_whose_squares_leave_f32_are_taken_in_f64() {
        let (large, small) = (leaf(&[1.0, 1.0]), leaf(&[1.0, 1.0]));
        let monitor = GradientMonitor::attach([("large", &large), ("small", &small)]).unwrap();
        give(&large, &[3e30, 4e30]);
        give(&small, &[3e-30, 4e-30]);
        let statistics = monitor.collect().unwrap();
        for (seen, want) in statistics.parameters.iter().zip([5e30, 5e-30]) {
            // The elements themselves are rounded to f32.
            assert!((seen.norm - want).abs() <= 1e-7 * want, "{} {want}", seen.norm);
            assert_eq!(seen.non_finite_count, 0);
        }
        // f32 cannot hold the square of the total, by which the step is judged.
        assert!(!statistics.is_finite() && statistics.first_non_finite().is_none());
    }

    #[test]
    fn a_vanishing_gradient_is_not_read_as_zero() {
        let (first, last) = (leaf(&[1.0, 1.0]), leaf(&[1.0]));
        let monitor = GradientMonitor::attach([("first", &first), ("last", &last)]).unwrap();
        give(&first, &[3e-28, 4e-28]);
        give(&last, &[12e-28]);
        let total_norm = monitor.collect().unwrap().total_norm;
        assert!((total_norm - 13e-28).abs() <= 1e-6 * 13e-28, "{total_norm}");
    }

    #[test]
    fn frozen_tied_and_unreached_parameters_are_told_apart() {
        let (weight, outside) = (leaf(&[1.0]), leaf(&[1.0]));
        let frozen = Tensor::ones([1], (Kind::Float, Device::Cpu));
        let tied = weight.shallow_clone();
        let named = [("w", &weight), ("frozen", &frozen), ("tied", &tied), ("outside", &outside)];
        let monitor = GradientMonitor::attach(named).unwrap();
        give(&weight, &[2.0]);
        let statistics = monitor.collect().unwrap();
        assert_eq!(statistics.total_norm, 2.0);
        assert_eq!(statistics.missing, ["outside"]);
        assert_eq!(monitor.frozen(), ["frozen"]);
        assert_eq!(monitor.shared(), [("tied".to_owned(), "w".to_owned())]);
        assert_eq!(monitor.never_reached(), ["outside"]);
        give(&outside, &[1.0]);
        assert_eq!(monitor.collect().unwrap().missing, ["w"]);
        assert!(monitor.never_reached().is_empty());
    }

    #[test]
    fn a_parameter_used_twice_has_one_gradient() {
        let weight = leaf(&[2.0]);
        let monitor = GradientMonitor::attach([("w", &weight)]).unwrap();
        (&weight * &weight).sum(Kind::Float).backward();
        assert_eq!(monitor.collect().unwrap().total_norm, 4.0);
    }

    #[test]
    fn no_parameters_and_no_gradients_are_an_empty_reading() {
        let monitor = GradientMonitor::attach(Vec::<(String, Tensor)>::new()).unwrap();
        assert_eq!(monitor.collect().unwrap().total_norm, 0.0);
        let weight = leaf(&[2.0]);
        let monitor = GradientMonitor::attach([("w", &weight)]).unwrap();
        assert_eq!(monitor.collect().unwrap().missing, ["w"]);
    }

    #[test]
    fn what_cannot_be_watched_is_refused_with_a_reason() {
        let (single, double) = (leaf(&[1.0]), Tensor::from_slice(&[1.0f64]).set_requires_grad(true));
        assert!(matches!(
            GradientMonitor::attach([("w", &single), ("w", &double)]),
            Err(GradientError::DuplicateName { name }) if name == "w"
        ));
        let monitor = GradientMonitor::attach([("a", &single), ("b", &double)]).unwrap();
        (single.sum(Kind::Float) + double.sum(Kind::Float)).backward();
        let error = monitor.collect().unwrap_err().to_string();
        assert!(error.contains("one device and one dtype"), "{error}");
    }

    proptest! {
        #[test]
        fn every_number_equals_a_plain_loop_over_the_elements(
            grads in prop::collection::vec(prop::collection::vec(-1e3f32..1e3, 1..40), 1..8),
        ) {
            let params: Vec<Tensor> = grads.iter().map(|grad| leaf(&vec![1.0; grad.len()])).collect();
            let names = (0..params.len()).map(|index| format!("p{index}"));
            let monitor = GradientMonitor::attach(names.zip(&params)).unwrap();
            params.iter().zip(&grads).for_each(|(param, grad)| give(param, grad));
            let statistics = monitor.collect().unwrap();
            let square = |grad: &Vec<f32>| grad.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>();
            for (seen, grad) in statistics.parameters.iter().zip(&grads) {
                // f32 accumulation over at most 40 elements: relative error below 40 * 2^-24.
                prop_assert!((seen.norm - square(grad).sqrt()).abs() <= 3e-6 * square(grad).sqrt());
                let largest = grad.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
                prop_assert_eq!(seen.max_abs, f64::from(largest));
            }
            let total = grads.iter().map(square).sum::<f64>().sqrt();
            prop_assert!((statistics.total_norm - total).abs() <= 3e-6 * total);
        }
    }
}
