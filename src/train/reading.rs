//! The gradients of a step on their way from backward to the numbers that are written.

use tch::{Device, Kind, Tensor};

use super::{Tally, TrainError};
use crate::{
    clipping::ClipOutcome,
    gradient::{GradientMonitor, GradientStatistics, Measurement},
    libtorch::host_copy,
    model::Network,
};

/// What a tracked step says of itself, on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Mean loss of the step's images.
    pub loss: f64,
    /// Share of right first guesses among the training images since the last evaluation.
    pub accuracy: f64,
    /// L2 norm of all gradients before clipping.
    pub total_norm: f64,
    /// What clipping multiplied them by.
    pub clip_coef: f64,
    /// Steps skipped so far because a gradient was not finite.
    pub skipped_steps: u64,
    /// Of these, the latest in a row.
    pub skipped_in_a_row: u64,
    /// Each parameter's gradient; `None` without a monitor.
    pub statistics: Option<GradientStatistics>,
}

/// The trained parameters, the monitor on them where there is one, and sums that stay on the device between readings.
pub struct Gradients {
    params: Vec<Tensor>,
    monitor: Option<GradientMonitor>,
    /// `[]`, f32: mean loss of the current step, summed over its micro-batches.
    loss: Tensor,
    /// `[]`, f32 each.
    skipped_steps: Tensor,
    skipped_in_a_row: Tensor,
}

impl Gradients {
    /// With `monitored`, a hook on every parameter. Without, only what training itself needs is computed: the weights
    /// are the same bit for bit.
    ///
    /// # Errors
    /// Where libtorch takes no hook.
    pub fn new(network: &Network, monitored: bool, device: Device) -> Result<Self, TrainError> {
        let params: Vec<Tensor> = network.parameters.trainable().map(|param| param.tensor.shallow_clone()).collect();
        let named = network.parameters.trainable().map(|param| (param.name.as_str(), &param.tensor));
        let monitor = if monitored { Some(GradientMonitor::attach(named)?) } else { None };
        let zero = || Tensor::f_zeros([] as [i64; 0], (Kind::Float, device));
        Ok(Self { params, monitor, loss: zero()?, skipped_steps: zero()?, skipped_in_a_row: zero()? })
    }

    /// Every trained parameter.
    pub fn params(&self) -> &[Tensor] {
        &self.params
    }

    /// The hooks, where there are any.
    pub fn monitor(&self) -> Option<&GradientMonitor> {
        self.monitor.as_ref()
    }

    /// Adds a micro-batch's share of the step's mean loss.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn add_loss(&mut self, loss: &Tensor) -> Result<(), TrainError> {
        self.loss = self.loss.f_add(&loss.f_detach()?)?;
        Ok(())
    }

    /// Norms of the gradients as backward left them; where nobody will read them, only what the step needs. No sync.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn measure(&self, is_tracked: bool) -> Result<Measurement, TrainError> {
        match &self.monitor {
            Some(monitor) if is_tracked => return Ok(monitor.measure()?),
            _ => {}
        }
        let grads = self.params.iter().map(Tensor::grad).filter(Tensor::defined).collect();
        Ok(Measurement::of_total(grads)?)
    }

    /// Counts a step with `found_inf` 1 as skipped. No sync.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn count_skips(&mut self, found_inf: &Tensor) -> Result<(), TrainError> {
        self.skipped_steps = self.skipped_steps.f_add(found_inf)?;
        self.skipped_in_a_row = self.skipped_in_a_row.f_add_scalar(1.0)?.f_mul(found_inf)?;
        Ok(())
    }

    /// Brings a tracked step's numbers to the host. One device sync.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn read(&self, measurement: &Measurement, clip: &ClipOutcome, tally: &Tally) -> Result<Reading, TrainError> {
        let accuracy = tally.accuracy()?;
        let extras = [&self.loss, &clip.clip_coef, &self.skipped_steps, &self.skipped_in_a_row, &accuracy];
        let (total_norm, extras, statistics) = match &self.monitor {
            Some(monitor) => {
                let (statistics, extras) = monitor.collect_with(measurement, &extras)?;
                (statistics.total_norm, extras, Some(statistics))
            }
            None => {
                let (statistics, extras) = measurement.read(&extras)?;
                (statistics.total_norm, extras, None)
            }
        };
        Ok(Reading {
            loss: extras[0],
            accuracy: extras[4],
            total_norm,
            clip_coef: extras[1],
            skipped_steps: extras[2] as u64,
            skipped_in_a_row: extras[3] as u64,
            statistics,
        })
    }

    /// Steps skipped so far, and of these the latest in a row. One device sync.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn read_skips(&self) -> Result<[u64; 2], TrainError> {
        let counts = host_copy(&Tensor::f_stack(&[&self.skipped_steps, &self.skipped_in_a_row], 0)?)?;
        Ok([counts[0] as u64, counts[1] as u64])
    }

    /// Readies the sums and the hooks for the next step, tracked or not.
    ///
    /// # Errors
    /// Where libtorch refuses.
    pub fn start_step(&mut self) -> Result<(), TrainError> {
        self.loss = self.loss.f_zeros_like()?;
        if let Some(monitor) = &self.monitor {
            monitor.forget();
        }
        Ok(())
    }
}
