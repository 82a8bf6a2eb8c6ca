//! Monitors the gradients of a run, and keeps the sums that stay on the device between two readings.

use std::sync::Arc;

use tch::{Device, Kind, TchError, Tensor};

use super::TrainError;
use crate::{
    clipping::StepGradients,
    config::{MonitorConfig, MonitorPreset, NonFinite, OptimizerConfig, Reduction},
    distributed::{Ranks, Reducer},
    gradient::{
        Due, GradientMeasurement, GradientMonitor, LayerTaps, Measurement, MicroBatches, NoiseScale, PreviousGradient,
    },
    libtorch::{Detail, SkipCounters, StepOutcome, host_copy},
    model::{Network, Tap},
    optim::{GradScaler, Rejection},
};

/// The parameters that received a gradient.
pub(super) struct Reached {
    positions: Vec<usize>,
    params: Vec<Tensor>,
    grads: Vec<Tensor>,
}

impl Reached {
    pub(super) fn with<'a>(&'a self, measurement: &'a Measurement) -> StepGradients<'a> {
        let Self { positions, params, grads } = self;
        StepGradients { params, grads, positions, measurement }
    }
}

/// The trained parameters, and their monitors if enabled.
pub struct Gradients {
    pub(super) names: Vec<Arc<str>>,
    params: Vec<Tensor>,
    non_finite: NonFinite,
    /// float16 only.
    pub(super) scaler: Option<GradScaler>,
    /// `[]`, f32: loss scale of the current step.
    pub(super) loss_scale: Option<Tensor>,
    pub(super) monitor: Option<GradientMonitor>,
    pub(super) taps: LayerTaps,
    pub(super) micro_batches: Option<MicroBatches>,
    pub(super) noise_scale: NoiseScale,
    previous: Option<PreviousGradient>,
    is_timed: bool,
    ranks: Ranks,
    /// Sums the gradients of several ranks.
    pub(super) reducer: Option<Reducer>,
    /// `[]`, f64: cosine similarity with the gradients of the previous step.
    pub(super) previous_cosine: Option<Tensor>,
    /// `[]`, f32: mean loss of the current step, summed over its micro-batches.
    pub(super) loss: Tensor,
    /// Whether `loss` belongs to the current step.
    has_loss: bool,
    /// `[]`, f32: 1 if the current step's gradient was not finite, else 0.
    found_inf: Tensor,
    /// Skipped steps. Steps that only search for the float16 loss scale do not count as failures in a row.
    pub(super) skips: SkipCounters,
    /// Rejection of the last step whose update could overflow.
    rejection: Option<Rejection>,
}

impl Gradients {
    /// Registers hooks and prepares the sums. With the preset `off`, registers no hooks and computes only what training
    /// itself needs; the weights are bit-identical. Distinguishes micro-batches if there are several
    /// (`accumulation_steps`) and the preset is `full`, or if their noise scale is enabled. With several ranks, their
    /// gradients take the place of those of micro-batches.
    ///
    /// # Errors
    /// If libtorch rejects a hook.
    pub fn new(
        network: &Network,
        config: &MonitorConfig,
        optimizer: &OptimizerConfig,
        device: Device,
        ranks: &Ranks,
        reduction: Reduction,
    ) -> Result<Self, TrainError> {
        let &OptimizerConfig { accumulation_steps, non_finite, .. } = optimizer;
        let trained = || network.parameters.trainable().filter(|param| param.tensor.requires_grad());
        let names = trained().map(|param| param.name.as_str().into()).collect();
        let params: Vec<Tensor> = trained().map(|param| param.tensor.shallow_clone()).collect();
        let named = network.parameters.trainable().map(|param| (param.name.as_str(), &param.tensor));
        let is_on = config.preset != MonitorPreset::Off;
        let tells_apart = config.preset == MonitorPreset::Full && accumulation_steps > 1 && ranks.are_alone();
        let noise = is_on && config.noise_scale_every_steps > 0 && ranks.are_alone();
        let hooked: &[Tensor] = if noise && accumulation_steps > 1 { &params } else { &[] };
        let zero = || Tensor::f_zeros([] as [i64; 0], (Kind::Float, device));
        Ok(Self {
            monitor: if is_on { Some(GradientMonitor::attach(named)?) } else { None },
            taps: LayerTaps::default(),
            micro_batches: if noise || tells_apart { Some(MicroBatches::new(hooked)?) } else { None },
            noise_scale: NoiseScale::default(),
            previous: (is_on && config.previous_cosine).then(PreviousGradient::default),
            is_timed: false,
            ranks: ranks.clone(),
            reducer: if ranks.are_alone() { None } else { Some(Reducer::new(ranks, &params, reduction)?) },
            previous_cosine: None,
            loss: zero()?,
            has_loss: false,
            found_inf: zero()?,
            skips: SkipCounters::new(device)?,
            rejection: None,
            names,
            params,
            non_finite,
            scaler: None,
            loss_scale: None,
        })
    }

    /// Takes over the loss scale and the skip counts of `before`, which monitored other parameters.
    pub(super) fn take_over(&mut self, before: &mut Self) {
        self.scaler = before.scaler.take();
        std::mem::swap(&mut self.skips, &mut before.skips);
    }

    /// All trained parameters.
    pub fn params(&self) -> &[Tensor] {
        &self.params
    }

    /// The monitor with the gradient hooks, if enabled.
    pub fn monitor(&self) -> Option<&GradientMonitor> {
        self.monitor.as_ref()
    }

    /// The loss scaler; `None` without float16.
    pub fn scaler(&self) -> Option<&GradScaler> {
        self.scaler.as_ref()
    }

    /// Returns the callback that measures the layers of a forward pass, on steps that are due for it.
    pub(super) fn tap(&self) -> impl Fn(&Tap<'_>) -> Result<(), TchError> {
        |tap| self.taps.see(tap)
    }

    /// Resets the sums and the hooks for the next step.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub(super) fn start_step(&mut self, due: Due) -> Result<(), TrainError> {
        self.has_loss = false;
        self.rejection = None;
        self.is_timed = due.layers;
        self.loss_scale = self.scaler.as_ref().map(GradScaler::scale).transpose()?;
        if let Some(monitor) = &self.monitor {
            monitor.forget();
        }
        if let Some(micro_batches) = &mut self.micro_batches {
            micro_batches.start(due.noise_scale);
        }
        Ok(())
    }

    /// Runs backward on a micro-batch's share of the step's mean loss, and adds the share to the loss. No sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub(super) fn backward(&mut self, loss: &Tensor, images: usize) -> Result<(), TrainError> {
        if let Some(monitor) = self.monitor.as_ref().filter(|_| self.is_timed) {
            monitor.start_timeline()?;
        }
        self.scaled(loss)?.f_backward()?;
        if let Some(reducer) = &self.reducer {
            reducer.finish_backward()?;
        }
        let loss = loss.f_detach()?;
        self.loss = if self.has_loss { self.loss.f_add(&loss)? } else { loss };
        self.has_loss = true;
        let grads = if self.micro_batches.is_some() { self.grads() } else { Vec::new() };
        match &mut self.micro_batches {
            Some(micro_batches) => Ok(micro_batches.finish(images as u64, grads)?),
            None => Ok(()),
        }
    }

    /// Sets the loss of the step to the sum of the shares of all ranks: `[micro-batches]`, f32, each added in order.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub(super) fn set_loss(&mut self, shares: &[Tensor]) -> Result<(), TrainError> {
        let [first, rest @ ..] = shares else { return Ok(()) };
        self.loss = rest.iter().try_fold(first.shallow_clone(), |sum, share| sum.f_add(share))?;
        Ok(())
    }

    /// Multiplies a loss by the loss scale of this step.
    pub(super) fn scaled(&self, loss: &Tensor) -> Result<Tensor, TrainError> {
        Ok(match &self.loss_scale {
            Some(scale) => loss.f_mul(scale)?,
            None => loss.shallow_clone(),
        })
    }

    /// Divides the gradients by the loss scale. No sync.
    pub(super) fn unscale(&self) -> Result<(), TrainError> {
        match &self.scaler {
            Some(scaler) => Ok(scaler.unscale(&self.grads())?),
            None => Ok(()),
        }
    }

    /// Updates the loss scale, based on the gradients from backward. No sync.
    pub(super) fn update_scale(&mut self) -> Result<(), TrainError> {
        match &mut self.scaler {
            Some(scaler) => Ok(scaler.update(&self.found_inf)?),
            None => Ok(()),
        }
    }

    /// Measures the gradients from backward; norms only on steps without a reading. No sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub(super) fn measure(&mut self, due: Due) -> Result<GradientMeasurement, TrainError> {
        let grads = || self.params.iter().map(Tensor::grad).filter(Tensor::defined).collect::<Vec<_>>();
        if let Some(previous) = &mut self.previous {
            self.previous_cosine = previous.cosine(&grads())?;
        }
        let detail = if due.distributions { Detail::Distribution } else { Detail::Norms };
        Ok(match &self.monitor {
            Some(monitor) if due.reading => monitor.measure_on(detail, &self.ranks)?,
            _ => {
                let grads = Measurement::of_total(grads())?;
                GradientMeasurement { grads, missing: Vec::new(), backward_order: Vec::new() }
            }
        })
    }

    /// Measures norms and distributions of the weights. No sync.
    pub(super) fn measure_weights(&self) -> Result<Option<Measurement>, TrainError> {
        Ok(self.monitor.as_ref().map(GradientMonitor::measure_weights).transpose()?)
    }

    fn grads(&self) -> Vec<Tensor> {
        self.params.iter().map(Tensor::grad).filter(Tensor::defined).collect()
    }

    /// Returns the parameters that received a gradient in backward.
    pub(super) fn reached(&self) -> Reached {
        let mut reached = Reached { positions: Vec::new(), params: Vec::new(), grads: Vec::new() };
        for (position, param) in self.params.iter().enumerate() {
            let grad = param.grad();
            if grad.defined() {
                reached.positions.push(position);
                reached.params.push(param.shallow_clone());
                reached.grads.push(grad);
            }
        }
        reached
    }

    /// Returns replacement norms for the step if `non_finite` is `zero`: sets non-finite gradient elements to 0 and
    /// measures again, in two more passes. Otherwise returns `None`, and the step uses the norms from backward. No
    /// sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub(super) fn replace_non_finite(
        &mut self,
        measured: &Measurement,
        reached: &Reached,
    ) -> Result<Option<Measurement>, TrainError> {
        self.found_inf = measured.found_inf().shallow_clone();
        if self.non_finite != NonFinite::Zero {
            return Ok(None);
        }
        let _no_grad = tch::no_grad_guard();
        for grad in &reached.grads {
            let _ = grad.shallow_clone().f_nan_to_num_(0.0, 0.0, 0.0)?;
        }
        Ok(Some(Measurement::of_total(reached.grads.iter().map(Tensor::shallow_clone).collect())?))
    }

    /// In float16: 1 if a smaller loss scale would not fix an overflow of this step, because the loss itself is not
    /// finite or the scale is at its minimum; else 0. Shape `[]`, f32. `None` without float16: every overflow is a
    /// failure. No sync.
    fn failures(&self) -> Result<Option<Tensor>, TrainError> {
        let Some(scaler) = &self.scaler else { return Ok(None) };
        let is_lost = self.loss.f_isfinite()?.f_logical_not()?;
        Ok(Some(is_lost.f_logical_or(&scaler.is_smallest()?)?.f_to_kind(Kind::Float)?))
    }

    /// Records that an optimizer reverted a step with a finite gradient. Returns 1 if the step was skipped, for either
    /// reason, else 0: shape `[]`, f32. No sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub(super) fn reject(&mut self, found_inf: &Tensor, rejection: Rejection) -> Result<Tensor, TrainError> {
        let not_taken = found_inf.f_maximum(&rejection.is_put_back)?;
        self.rejection = Some(rejection);
        Ok(not_taken)
    }

    /// Counts the step, which was skipped if `not_taken` is 1. Returns its gradient's `norm`, or infinity if it was
    /// skipped. No sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub(super) fn count_step(&mut self, not_taken: &Tensor, norm: &Tensor) -> Result<Tensor, TrainError> {
        let failure = self.failures()?;
        let step = StepOutcome { found_inf: &self.found_inf, not_taken, failure: failure.as_ref(), norm };
        Ok(self.skips.count(&step)?)
    }

    /// Returns the parameter whose non-finite update caused the last step to be skipped, if any. One device sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub(super) fn rejected(&self) -> Result<Option<String>, TrainError> {
        match &self.rejection {
            Some(rejection) => Ok(rejection.parameter()?),
            None => Ok(None),
        }
    }

    /// The live tensors of the skip counts, by name; copying into them restores the counts.
    pub(super) fn skips(&self) -> Vec<(&'static str, Tensor)> {
        vec![("all", self.skips.all.shallow_clone()), ("in_a_row", self.skips.in_a_row.shallow_clone())]
    }

    /// Gradients of the previous step; empty if they are not kept.
    pub(super) fn previous_gradient(&self) -> &[Tensor] {
        self.previous.as_ref().map_or(&[], PreviousGradient::copies)
    }

    pub(super) fn restore_previous(&mut self, copies: Vec<Tensor>) {
        if let Some(previous) = &mut self.previous {
            previous.restore(copies);
        }
    }

    /// Returns the number of skipped steps so far, and the number of most recent consecutive ones. One device sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub(super) fn read_skips(&self) -> Result<[u64; 2], TrainError> {
        let counts = host_copy(&Tensor::f_stack(&[&self.skips.all, &self.skips.in_a_row], 0)?)?;
        Ok([counts[0] as u64, counts[1] as u64])
    }
}
