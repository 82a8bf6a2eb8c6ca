//! What watches the gradients of a run, and the sums that stay on the device between two readings.

use std::sync::Arc;

use tch::{Device, Kind, TchError, Tensor};

use super::TrainError;
use crate::{
    clipping::StepGradients,
    config::{MonitorConfig, MonitorPreset, NonFinite, OptimizerConfig},
    gradient::{
        Due, GradientMeasurement, GradientMonitor, LayerTaps, Measurement, MicroBatches, NoiseScale, PreviousGradient,
    },
    libtorch::{Detail, host_copy},
    model::{Network, Tap},
    optim::{GradScaler, Rejection},
};

/// The parameters that have a gradient.
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

/// The trained parameters, and the monitors on them where there are any.
pub struct Gradients {
    pub(super) names: Vec<Arc<str>>,
    params: Vec<Tensor>,
    non_finite: NonFinite,
    /// float16 alone.
    pub(super) scaler: Option<GradScaler>,
    /// `[]`, f32: the scale of the current step's loss.
    pub(super) loss_scale: Option<Tensor>,
    pub(super) monitor: Option<GradientMonitor>,
    pub(super) taps: LayerTaps,
    pub(super) micro_batches: Option<MicroBatches>,
    pub(super) noise_scale: NoiseScale,
    previous: Option<PreviousGradient>,
    is_timed: bool,
    /// `[]`, f64: the cosine with the gradients of the step before.
    pub(super) previous_cosine: Option<Tensor>,
    /// `[]`, f32: mean loss of the current step, summed over its micro-batches.
    pub(super) loss: Tensor,
    /// `[]`, f32: whether the current step's gradient was not finite.
    found_inf: Tensor,
    /// `[]`, f32 each: steps that were not taken, and of these the latest in a row, without those with which a float16 loss scale
    /// looks for its size.
    pub(super) skipped_steps: Tensor,
    pub(super) skipped_in_a_row: Tensor,
    /// `skipped_in_a_row` as of the step before.
    failed_before: Tensor,
    /// Of the last step that might have overflowed.
    rejection: Option<Rejection>,
}

impl Gradients {
    /// With the preset `off`, no hooks, and only what training itself needs is computed: the weights are the same bit for
    /// bit. Micro-batches are told apart where there are several (`accumulation_steps`) and the preset is `full`, or their
    /// noise is asked for.
    ///
    /// # Errors
    /// Where libtorch takes no hook.
    pub fn new(
        network: &Network,
        config: &MonitorConfig,
        optimizer: &OptimizerConfig,
        device: Device,
    ) -> Result<Self, TrainError> {
        let &OptimizerConfig { accumulation_steps, non_finite, .. } = optimizer;
        let trained = || network.parameters.trainable().filter(|param| param.tensor.requires_grad());
        let names = trained().map(|param| param.name.as_str().into()).collect();
        let params: Vec<Tensor> = trained().map(|param| param.tensor.shallow_clone()).collect();
        let named = network.parameters.trainable().map(|param| (param.name.as_str(), &param.tensor));
        let is_on = config.preset != MonitorPreset::Off;
        let tells_apart = config.preset == MonitorPreset::Full && accumulation_steps > 1;
        let noise = is_on && config.noise_scale_every_steps > 0;
        let hooked: &[Tensor] = if noise && accumulation_steps > 1 { &params } else { &[] };
        let zero = || Tensor::f_zeros([] as [i64; 0], (Kind::Float, device));
        Ok(Self {
            monitor: if is_on { Some(GradientMonitor::attach(named)?) } else { None },
            taps: LayerTaps::default(),
            micro_batches: if noise || tells_apart { Some(MicroBatches::new(hooked)?) } else { None },
            noise_scale: NoiseScale::default(),
            previous: (is_on && config.previous_cosine).then(PreviousGradient::default),
            is_timed: false,
            previous_cosine: None,
            loss: zero()?,
            found_inf: zero()?,
            skipped_steps: zero()?,
            skipped_in_a_row: zero()?,
            failed_before: zero()?,
            rejection: None,
            names,
            params,
            non_finite,
            scaler: None,
            loss_scale: None,
        })
    }

    /// Goes on with the loss scale and the counts of those before it, which watched other parameters.
    pub(super) fn take_over(&mut self, before: &mut Self) {
        self.scaler = before.scaler.take();
        self.skipped_steps = before.skipped_steps.shallow_clone();
        self.skipped_in_a_row = before.skipped_in_a_row.shallow_clone();
    }

    /// Every trained parameter.
    pub fn params(&self) -> &[Tensor] {
        &self.params
    }

    /// The hooks, where there are any.
    pub fn monitor(&self) -> Option<&GradientMonitor> {
        self.monitor.as_ref()
    }

    /// The scale of the loss, in float16.
    pub fn scaler(&self) -> Option<&GradScaler> {
        self.scaler.as_ref()
    }

    /// What looks at the layers of a pass, on the steps that are due for it.
    pub(super) fn tap(&self) -> impl Fn(&Tap<'_>) -> Result<(), TchError> {
        |tap| self.taps.see(tap)
    }

    /// Readies the sums and the hooks for the next step.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub(super) fn start_step(&mut self, due: Due) -> Result<(), TrainError> {
        self.loss = self.loss.f_zeros_like()?;
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

    /// Propagates a micro-batch's share of the step's mean loss back, and adds it. No sync.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub(super) fn backward(&mut self, loss: &Tensor, images: usize) -> Result<(), TrainError> {
        if let Some(monitor) = self.monitor.as_ref().filter(|_| self.is_timed) {
            monitor.start_timeline()?;
        }
        self.scaled(loss)?.f_backward()?;
        self.loss = self.loss.f_add(&loss.f_detach()?)?;
        let grads = if self.micro_batches.is_some() { self.grads() } else { Vec::new() };
        match &mut self.micro_batches {
            Some(micro_batches) => Ok(micro_batches.finish(images as u64, grads)?),
            None => Ok(()),
        }
    }

    /// A loss times the scale of this step.
    pub(super) fn scaled(&self, loss: &Tensor) -> Result<Tensor, TrainError> {
        Ok(match &self.loss_scale {
            Some(scale) => loss.f_mul(scale)?,
            None => loss.shallow_clone(),
        })
    }

    /// Divides the gradients by the scale of the loss. No sync.
    pub(super) fn unscale(&self) -> Result<(), TrainError> {
        match &self.scaler {
            Some(scaler) => Ok(scaler.unscale(&self.grads())?),
            None => Ok(()),
        }
    }

    /// Moves the scale of the loss on, by the gradients as backward left them. No sync.
    pub(super) fn update_scale(&mut self) -> Result<(), TrainError> {
        match &mut self.scaler {
            Some(scaler) => Ok(scaler.update(&self.found_inf)?),
            None => Ok(()),
        }
    }

    /// The gradients as backward left them: with norms alone on steps that nobody reads. No sync.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub(super) fn measure(&mut self, due: Due) -> Result<GradientMeasurement, TrainError> {
        let grads = || self.params.iter().map(Tensor::grad).filter(Tensor::defined).collect::<Vec<_>>();
        if let Some(previous) = &mut self.previous {
            self.previous_cosine = previous.cosine(&grads())?;
        }
        let detail = if due.distributions { Detail::Distribution } else { Detail::Norms };
        Ok(match &self.monitor {
            Some(monitor) if due.reading => monitor.measure(detail)?,
            _ => {
                let grads = Measurement::of_total(grads())?;
                GradientMeasurement { grads, missing: Vec::new(), backward_order: Vec::new() }
            }
        })
    }

    /// Norms and distributions of the weights. No sync.
    pub(super) fn measure_weights(&self) -> Result<Option<Measurement>, TrainError> {
        Ok(self.monitor.as_ref().map(GradientMonitor::measure_weights).transpose()?)
    }

    fn grads(&self) -> Vec<Tensor> {
        self.params.iter().map(Tensor::grad).filter(Tensor::defined).collect()
    }

    /// The parameters that backward gave a gradient.
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

    /// The norms on which the step is taken: those of the gradients as backward left them, unless elements that are not
    /// finite are made 0 first, which takes two more passes. No sync.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub(super) fn usable(&mut self, seen: &Measurement, reached: &Reached) -> Result<Option<Measurement>, TrainError> {
        self.found_inf = seen.found_inf().shallow_clone();
        self.skipped_steps = self.skipped_steps.f_add(seen.found_inf())?;
        self.failed_before = self.skipped_in_a_row.shallow_clone();
        self.skipped_in_a_row = match self.failures()? {
            Some(failed) => self.failed_before.f_add(&failed)?,
            None => self.failed_before.f_add_scalar(1.0)?,
        };
        self.skipped_in_a_row = self.skipped_in_a_row.f_mul(seen.found_inf())?;
        if self.non_finite != NonFinite::Zero {
            return Ok(None);
        }
        let _no_grad = tch::no_grad_guard();
        for grad in &reached.grads {
            let _ = grad.shallow_clone().f_nan_to_num_(0.0, 0.0, 0.0)?;
        }
        Ok(Some(Measurement::of_total(reached.grads.iter().map(Tensor::shallow_clone).collect())?))
    }

    /// In float16: 1 where an overflow of this step is none that a smaller loss scale would mend, since the loss itself is not
    /// finite or the scale is as small as it gets; else 0. Shape `[]`, f32. `None` where every overflow is a failure. No sync.
    fn failures(&self) -> Result<Option<Tensor>, TrainError> {
        let Some(scaler) = &self.scaler else { return Ok(None) };
        let is_lost = self.loss.f_isfinite()?.f_logical_not()?;
        Ok(Some(is_lost.f_logical_or(&scaler.is_smallest()?)?.f_to_kind(Kind::Float)?))
    }

    /// Counts a step that was put back though its gradient was finite: `rejected` (`[]`, f32) is 1 for such a step, else 0. What
    /// comes out is 1 for every step that was not taken. No sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub(super) fn reject(&mut self, found_inf: &Tensor, rejected: Rejection) -> Result<Tensor, TrainError> {
        let is_put_back = &rejected.is_put_back;
        self.skipped_steps = self.skipped_steps.f_add(is_put_back)?;
        let after = self.failed_before.f_add_scalar(1.0)?;
        self.skipped_in_a_row = after.f_where_self(&is_put_back.f_to_kind(Kind::Bool)?, &self.skipped_in_a_row)?;
        let found_inf = found_inf.f_maximum(is_put_back)?;
        self.rejection = Some(rejected);
        Ok(found_inf)
    }

    /// The parameter whose update was not finite, if that is why the last step was not taken. One device sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub(super) fn rejected(&self) -> Result<Option<String>, TrainError> {
        match &self.rejection {
            Some(rejection) => Ok(rejection.parameter()?),
            None => Ok(None),
        }
    }

    /// The counts of skipped steps themselves, by name: copied into, they put them back.
    pub(super) fn skips(&self) -> Vec<(&'static str, Tensor)> {
        vec![("all", self.skipped_steps.shallow_clone()), ("in_a_row", self.skipped_in_a_row.shallow_clone())]
    }

    /// The gradients of the step before, where they are kept.
    pub(super) fn previous_gradient(&self) -> &[Tensor] {
        self.previous.as_ref().map_or(&[], PreviousGradient::copies)
    }

    pub(super) fn restore_previous(&mut self, copies: Vec<Tensor>) {
        if let Some(previous) = &mut self.previous {
            previous.restore(copies);
        }
    }

    /// Steps skipped so far, and of these the latest in a row. One device sync.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub(super) fn read_skips(&self) -> Result<[u64; 2], TrainError> {
        let counts = host_copy(&Tensor::f_stack(&[&self.skipped_steps, &self.skipped_in_a_row], 0)?)?;
        Ok([counts[0] as u64, counts[1] as u64])
    }
}
