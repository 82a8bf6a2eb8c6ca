//! Collects gradients: one hook per parameter, and a record of the hooks that fired since the last reading.

use std::{collections::HashSet, sync::Arc};

use tch::{Device, Tensor};

use super::{
    BackwardTimeline, GradientError, GradientMeasurement, GradientStatistics, Measurement, TensorStatistics,
    clock::Clock,
};
use crate::{
    diagnosis::ParameterFacts,
    libtorch::{Detail, Hook, HostBlock},
};

/// Collects gradient statistics of named parameters. Dropping the monitor removes its hooks.
///
/// The hooks do not read values, so they cost almost nothing and never wait for a device. They only record which
/// parameters backward reached, in which order and, on request, at what time. [`collect`](Self::collect) then reads the
/// `.grad` of these parameters in one batched pass.
pub struct GradientMonitor {
    watched: Vec<Watched>,
    clock: Arc<Clock>,
    frozen: Vec<String>,
    shared: Vec<(String, String)>,
}

struct Watched {
    name: Arc<str>,
    param: Tensor,
    _hook: Hook,
}

impl GradientMonitor {
    /// Attaches a hook to every parameter that requires a gradient. [`frozen`](Self::frozen) lists the other
    /// parameters. A parameter that shares memory with an earlier one (tied weights) gets no second hook; see
    /// [`shared`](Self::shared).
    ///
    /// # Errors
    /// If two parameters have the same name, or libtorch cannot attach a hook.
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
        let device = trainable.first().map_or(Device::Cpu, |(_, param)| param.device());
        let clock = Arc::new(Clock::new(trainable.len(), device));
        let watched = trainable
            .into_iter()
            .enumerate()
            .map(|(index, (name, param))| {
                let clock = Arc::clone(&clock);
                let hook = Hook::after_accumulation(&param, move |_| clock.mark(index))?;
                Ok(Watched { name: name.into(), param, _hook: hook })
            })
            .collect::<Result<_, GradientError>>()?;
        Ok(Self { watched, clock, frozen, shared })
    }

    /// Measures the current values of all parameters, in the order of attachment, which is that of the forward pass. One
    /// device sync.
    ///
    /// The rules compare them with the parameters' expected values before the first step. Write them with
    /// [`write_facts`](crate::events::write_facts):
    ///
    /// ```
    /// use gradwatch::{diagnosis::Facts, events::{JsonLines, SummaryWriter, write_facts}};
    /// use gradwatch::{gradient::{GradientMonitor, named_variables}, replay::Replay};
    /// use tch::{Device, nn};
    ///
    /// let logdir = tempfile::tempdir()?;
    /// let writer = SummaryWriter::create(logdir.path())?;
    /// let vs = nn::VarStore::new(Device::Cpu);
    /// nn::linear(vs.root() / "fc", 4, 2, Default::default());
    /// let monitor = GradientMonitor::attach(named_variables(&vs))?;
    ///
    /// let facts = Facts { classes: 2, batch_size: 64, parameters: monitor.parameter_facts()?, ..Facts::default() };
    /// write_facts(&mut JsonLines::open(logdir.path().join("metrics.jsonl"))?, &facts)?;
    /// assert_eq!(Replay::open(logdir.path(), &[])?.facts, facts);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the parameters are sparse, or are not all on one device.
    pub fn parameter_facts(&self) -> Result<Vec<ParameterFacts>, GradientError> {
        let weights = self.weights()?;
        let shapes = self.parameters().map(|(_, param)| param.size());
        Ok(weights.iter().zip(shapes).filter_map(|(weight, shape)| ParameterFacts::new(weight, shape)).collect())
    }

    /// Reads the statistics and distributions of the gradients that backward wrote since the last reading. One device
    /// sync.
    ///
    /// # Errors
    /// If the gradients are sparse, or do not share one device.
    pub fn collect(&self) -> Result<GradientStatistics, GradientError> {
        let mut block = HostBlock::default();
        let parts = self.measure(Detail::Distribution)?.add_to(&mut block)?;
        Ok(parts.take(&block.read()?))
    }

    /// The first half of [`collect`](Self::collect), without its sync: the statistics stay on the device.
    ///
    /// # Errors
    /// As for [`collect`](Self::collect).
    pub fn measure(&self, detail: Detail) -> Result<GradientMeasurement, GradientError> {
        let marked = || self.watched.iter().enumerate().map(|(index, watched)| (watched, self.clock.number(index)));
        // The caller may have cleared a gradient after backward.
        let (reached, numbers): (Vec<_>, Vec<u64>) = marked()
            .filter_map(|(watched, number)| Some(((Arc::clone(&watched.name), watched.param.grad()), number?)))
            .filter(|((_, grad), _)| grad.defined())
            .unzip();
        let mut backward_order: Vec<usize> = (0..numbers.len()).collect();
        backward_order.sort_unstable_by_key(|&index| numbers[index]);
        let missing = marked().filter(|(_, number)| number.is_none()).map(|(watched, _)| Arc::clone(&watched.name));
        let missing = missing.collect();
        self.forget();
        Ok(GradientMeasurement { grads: Measurement::of(reached, detail)?, missing, backward_order })
    }

    /// Measures norms and distributions of the parameters themselves, in the order of attachment. No sync.
    ///
    /// # Errors
    /// As for [`collect`](Self::collect).
    pub fn measure_weights(&self) -> Result<Measurement, GradientError> {
        let weights = self.parameters().map(|(name, weight)| (Arc::clone(name), weight.shallow_clone()));
        Measurement::of(weights, Detail::Distribution)
    }

    /// Reads [`measure_weights`](Self::measure_weights) on the host. One device sync.
    ///
    /// # Errors
    /// As for [`collect`](Self::collect).
    pub fn weights(&self) -> Result<Vec<TensorStatistics>, GradientError> {
        Ok(self.measure_weights()?.read()?.0)
    }

    /// Restricts the next reading to gradients that backward writes from now on.
    pub fn forget(&self) {
        self.clock.look();
    }

    /// Starts timing a backward pass for [`timeline`](Self::timeline).
    ///
    /// # Errors
    /// If the device cannot record an event.
    pub fn start_timeline(&self) -> Result<(), GradientError> {
        Ok(self.clock.start_timing()?)
    }

    /// Times at which the backward pass after [`start_timeline`](Self::start_timeline) wrote each gradient, from the
    /// CPU clock or from events in the GPU queue. No sync: call it after the device has finished the pass, for example
    /// after [`collect`](Self::collect). Gradients that are not finished yet are left out.
    pub fn timeline(&self) -> BackwardTimeline {
        let name = |index: usize| Arc::clone(&self.watched[index].name);
        BackwardTimeline::new(self.clock.finish_timing().into_iter().map(|(index, secs)| (name(index), secs)))
    }

    /// The gradients of all watched parameters that have one, as input for clipping. They share memory with `.grad`.
    pub fn grads(&self) -> Vec<Tensor> {
        self.watched.iter().map(|watched| watched.param.grad()).filter(Tensor::defined).collect()
    }

    /// Parameters with a hook, in the order of attachment.
    pub fn parameters(&self) -> impl Iterator<Item = (&Arc<str>, &Tensor)> {
        self.watched.iter().map(|watched| (&watched.name, &watched.param))
    }

    /// Parameters without a hook because they do not require a gradient.
    pub fn frozen(&self) -> &[String] {
        &self.frozen
    }

    /// Parameters without a hook of their own, each with the earlier parameter that it shares memory with.
    pub fn shared(&self) -> &[(String, String)] {
        &self.shared
    }

    /// Parameters that no backward pass has reached so far, because they are outside the graph of the loss.
    pub fn never_reached(&self) -> Vec<String> {
        let never = self.watched.iter().enumerate().filter(|(index, _)| !self.clock.has_ever_fired(*index));
        never.map(|(_, watched)| watched.name.to_string()).collect()
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

    fn leaf(values: &[f32]) -> Tensor {
        Tensor::from_slice(values).set_requires_grad(true)
    }

    /// Runs backward of sum(param * grad), so that the gradient is `grad`.
    fn give(param: &Tensor, grad: &[f32]) {
        (param * Tensor::from_slice(grad)).sum(Kind::Float).backward();
    }

    fn names(names: &[Arc<str>]) -> Vec<&str> {
        names.iter().map(|name| &**name).collect()
    }

    #[test]
    fn each_parameter_and_the_total_come_out_as_derived_by_hand() {
        let (weight, bias) = (leaf(&[1.0, 1.0]), leaf(&[1.0]));
        let monitor = GradientMonitor::attach([("fc.weight", &weight), ("fc.bias", &bias)]).unwrap();
        give(&weight, &[-3.0, 4.0]);
        give(&bias, &[12.0]);
        let statistics = monitor.collect().unwrap();
        let seen: Vec<_> = statistics.parameters.iter().map(|p| (&*p.name, p.norm, p.max_abs)).collect();
        assert_eq!(seen, [("fc.weight", 5.0, 4.0), ("fc.bias", 12.0, 12.0)]);
        assert_eq!(statistics.parameters[0].distribution.as_ref().unwrap().mean, 0.5);
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
    fn non_finite_elements_are_counted_and_the_first_parameter_of_the_backward_pass_is_named() {
        let (first, last) = (leaf(&[1.0, 1.0, 1.0]), leaf(&[1.0]));
        let monitor = GradientMonitor::attach([("first", &first), ("last", &last)]).unwrap();
        // Backward reaches the last layer first.
        give(&last, &[f32::INFINITY]);
        give(&first, &[f32::NAN, 1.0, f32::NEG_INFINITY]);
        let statistics = monitor.collect().unwrap();
        assert_eq!(statistics.backward_order, [1, 0]);
        assert_eq!(statistics.parameters[0].non_finite_count(), Some(2));
        assert!(!statistics.is_finite());
        assert_eq!(&*statistics.first_non_finite().unwrap().name, "last");
    }

    #[test]
    fn gradients_whose_squares_leave_f32_have_their_norm_and_skip_the_step_only_if_too_large() {
        let (large, small) = (leaf(&[1.0, 1.0]), leaf(&[1.0, 1.0]));
        let monitor = GradientMonitor::attach([("large", &large), ("small", &small)]).unwrap();
        let is_skipped = || {
            let measurement = monitor.measure(Detail::Norms).unwrap().grads;
            let norms: Vec<f64> = measurement.read().unwrap().0.iter().map(|tensor| tensor.norm).collect();
            (norms, measurement.found_inf().double_value(&[]) == 1.0)
        };
        let is_close = |got: f64, want: f64| assert!((got - want).abs() <= 1e-7 * want, "{got} {want}");
        // The elements themselves are rounded to f32.
        give(&large, &[3e30, 4e30]);
        let (norms, skipped) = is_skipped();
        is_close(norms[0], 5e30);
        assert!(skipped);
        give(&small, &[3e-30, 4e-30]);
        let (norms, skipped) = is_skipped();
        is_close(norms[0], 5e-30);
        assert!(!skipped);
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
        assert_eq!(names(&statistics.missing), ["outside"]);
        assert_eq!(monitor.frozen(), ["frozen"]);
        assert_eq!(monitor.shared(), [("tied".to_owned(), "w".to_owned())]);
        assert_eq!(monitor.never_reached(), ["outside"]);
        give(&outside, &[1.0]);
        assert_eq!(names(&monitor.collect().unwrap().missing), ["w"]);
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
        assert_eq!(names(&monitor.collect().unwrap().missing), ["w"]);
        assert!(monitor.timeline().parameters.is_empty());
    }

    #[test]
    fn a_timeline_has_each_parameter_of_the_last_backward_pass_in_its_order() {
        let (first, last) = (leaf(&[1.0]), leaf(&[1.0]));
        let monitor = GradientMonitor::attach([("first", &first), ("last", &last)]).unwrap();
        give(&first, &[1.0]);
        monitor.start_timeline().unwrap();
        give(&last, &[1.0]);
        std::thread::sleep(std::time::Duration::from_millis(20));
        give(&first, &[1.0]);
        let timeline = monitor.timeline().parameters;
        assert_eq!(timeline.iter().map(|time| &*time.name).collect::<Vec<_>>(), ["last", "first"]);
        assert!(timeline[1].secs >= 0.02);
        monitor.start_timeline().unwrap();
        give(&last, &[1.0]);
        assert_eq!(monitor.timeline().parameters.len(), 1);
        give(&last, &[1.0]);
        assert_eq!(monitor.timeline().parameters, []);
    }

    #[test]
    fn what_cannot_be_watched_is_refused_with_a_reason() {
        let weight = leaf(&[1.0]);
        assert!(matches!(
            GradientMonitor::attach([("w", &weight), ("w", &leaf(&[1.0]))]),
            Err(GradientError::DuplicateName { name }) if name == "w"
        ));
        let table = Tensor::ones([5, 2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let monitor = GradientMonitor::attach([("embedding.weight", &table)]).unwrap();
        let rows = Tensor::embedding(&table, &Tensor::from_slice(&[1i64, 3]), -1, false, true);
        rows.sum(Kind::Float).backward();
        let error = monitor.collect().unwrap_err().to_string();
        assert!(error.contains("a sparse tensor at 0, want dense tensors"), "{error}");
    }

    #[test]
    fn gradients_of_different_dtypes_are_read_together() {
        let (single, double) = (leaf(&[1.0]), Tensor::from_slice(&[1.0f64]).set_requires_grad(true));
        let monitor = GradientMonitor::attach([("a", &single), ("b", &double)]).unwrap();
        give(&single, &[3.0]);
        (&double * 4.0).sum(Kind::Double).backward();
        assert_eq!(monitor.collect().unwrap().total_norm, 5.0);
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
                // Sums in f64 differ only by the order of addition.
                prop_assert!((seen.norm - square(grad).sqrt()).abs() <= 1e-13 * square(grad).sqrt());
                let largest = grad.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
                prop_assert_eq!(seen.max_abs, f64::from(largest));
            }
            let total = grads.iter().map(square).sum::<f64>().sqrt();
            prop_assert!((statistics.total_norm - total).abs() <= 1e-13 * total);
        }
    }
}
