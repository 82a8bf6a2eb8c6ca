//! The model being trained, with the state of its passes.

use tch::{Device, Tensor};

use super::{Buffers, TrainError, random_streams::RandomStreams};
use crate::{
    evaluation::{EvaluationError, Loss, Numerics, Targets, forward},
    libtorch::{generator_state, set_generator_state},
    model::{Network, Pass},
    optim::Ema,
};

/// The model being trained, with the state of its passes.
pub struct TrainingModel {
    /// The model with its parameters.
    pub network: Network,
    /// Exponential moving average (EMA) of the weights.
    pub ema: Option<Ema>,
    /// Dtypes and math settings of the passes.
    pub(super) numerics: Numerics,
    /// Training loss.
    pub(super) loss: Loss,
    /// The model's buffers, restored after a skipped step.
    pub(super) buffers: Buffers,
    /// BLAKE3 hash, in hexadecimal, of the file with the initial weights.
    pub(super) initial_weights: Option<String>,
    /// Random numbers of each micro-batch. `None` for runs of earlier versions, which draw theirs in sequence.
    pub(super) random_streams: Option<RandomStreams>,
    /// State of the device's random generator before the first draw of the current step.
    pub(super) random_at_step: Option<Tensor>,
}

impl TrainingModel {
    /// Device of all tensors.
    pub fn device(&self) -> Device {
        self.numerics.device()
    }

    /// Computes the logits of `images` and the sum of their losses.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub(super) fn forward(
        &self,
        images: &Tensor,
        targets: &Targets,
        pass: &Pass<'_>,
    ) -> Result<(Tensor, Tensor), EvaluationError> {
        forward(&self.network, &self.loss, self.numerics, images, targets, pass)
    }

    /// Runs `work` and then restores buffers and generator. Must not be called within a step, which restores buffers of
    /// its own.
    pub(super) fn without_side_effects<T>(
        &mut self,
        work: impl FnOnce(&Self) -> Result<T, TrainError>,
    ) -> Result<T, TrainError> {
        let random = generator_state(self.device())?;
        self.buffers.save()?;
        let outcome = work(self);
        self.buffers.restore()?;
        set_generator_state(self.device(), &random)?;
        outcome
    }
}
