//! Collects gradients: one hook per parameter, and a record of the hooks that fired since the last reading.

use std::{collections::HashSet, sync::Arc};

use tch::{Device, Tensor};

use super::{
    BackwardTimeline, GradientError, GradientMeasurement, GradientStatistics, Measurement, TensorStatistics,
    clock::Clock,
};
use crate::{
    diagnosis::ParameterFacts,
    distributed::Ranks,
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
        self.measure_on(detail, &Ranks::alone())
    }

    /// Like [`measure`](Self::measure), on several ranks with the same gradients. All of them call this.
    ///
    /// # Errors
    /// As for [`measure`](Self::measure); also if another rank is gone.
    pub(crate) fn measure_on(&self, detail: Detail, ranks: &Ranks) -> Result<GradientMeasurement, GradientError> {
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
        Ok(GradientMeasurement { grads: Measurement::shared(reached, detail, ranks)?, missing, backward_order })
    }

    /// Includes gradients that no backward pass of this process wrote in the next reading: other ranks have reached these
    /// parameters. They come last in the backward order.
    pub(crate) fn include_gradients(&self) {
        for (index, watched) in self.watched.iter().enumerate().rev() {
            if self.clock.number(index).is_none() && watched.param.grad().defined() {
                self.clock.mark_untimed(index);
            }
        }
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
mod tests;
