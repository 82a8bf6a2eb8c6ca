//! Converts a run to the contents of a checkpoint.

use std::{collections::BTreeMap, time::Instant};

use tch::{Device, Tensor};

use super::{Counters, Gradients, State, TrainError, host_state::HostState};
use crate::{
    checkpoint::Contents,
    clipping::Clipping,
    config::Metric,
    disk::NamedTensors,
    distributed::Ranks,
    evaluation::{Metrics, Tally},
    libtorch::generator_state,
    model::Network,
    optim::{Ema, Optimizer},
    recording::Recorder,
};

/// The parts of a run that have tensors.
pub(super) struct TensorParts<'a> {
    pub network: &'a Network,
    pub ema: Option<&'a Ema>,
    pub optimizer: &'a Optimizer,
    pub clipping: &'a Clipping,
    pub tally: &'a Tally,
    pub device: Device,
}

impl TensorParts<'_> {
    /// Gives every rank the tensors of rank 0. The counts of predictions stay on rank 0: they are part of those of all
    /// ranks.
    pub(super) fn broadcast(&self, ranks: &Ranks, gradients: &Gradients) -> Result<(), TrainError> {
        let groups = self.groups(gradients).into_iter().flat_map(|(_, tensors)| tensors).map(|(_, tensor)| tensor);
        let named = [self.network.parameters.named(), self.ema(), self.optimizer.state()].into_iter().flatten();
        let tensors: Vec<Tensor> = named.map(|(_, tensor)| tensor).chain(groups).collect();
        ranks.broadcast(&tensors)?;
        if !ranks.is_first() {
            self.tally.clear_predictions()?;
        }
        Ok(())
    }

    pub(super) fn ema(&self) -> NamedTensors {
        let average = self.ema.map(Ema::state).unwrap_or_default();
        average.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect()
    }

    /// Tensors outside the model, the average, and the optimizer, in named groups. They share memory with the state.
    pub(super) fn groups(&self, gradients: &Gradients) -> [(&'static str, Vec<(&'static str, Tensor)>); 4] {
        [
            ("clipping", self.clipping.state()),
            ("grad_scaler", gradients.scaler().map(|scaler| scaler.state()).unwrap_or_default()),
            ("tally", self.tally.state()),
            ("skips", gradients.skips()),
        ]
    }
}

pub(super) fn named(group: &str, tensors: Vec<(&str, Tensor)>) -> impl Iterator<Item = (String, Tensor)> {
    tensors.into_iter().map(move |(name, tensor)| (format!("{group}.{name}"), tensor))
}

pub(super) const CPU_GENERATOR: &str = "generator.cpu";
pub(super) const CUDA_GENERATOR: &str = "generator.cuda";
pub(super) const PREVIOUS: &str = "previous_gradient";

impl State {
    fn tensor_parts<'a>(&'a self, tally: &'a Tally) -> TensorParts<'a> {
        TensorParts {
            network: &self.model.network,
            ema: self.model.ema.as_ref(),
            optimizer: &self.optimization.optimizer,
            clipping: &self.optimization.clipping,
            tally,
            device: self.model.device(),
        }
    }

    /// Saves the whole state between two steps. Training waits while the tensors are copied. Device sync here.
    pub(super) fn save_checkpoint(&mut self) -> Result<(), TrainError> {
        self.optimization.receive_last_outcome(&mut self.counters)?;
        self.gather_bad_images()?;
        // Rank 0 saves the counts of all ranks.
        let tally = self.evaluations.tally.of_all_ranks(&self.ranks)?;
        let name = self.checkpoint_name();
        if self.output.checkpoints.is_some() {
            let contents = self.contents(&tally)?;
            if let Some(checkpoints) = &mut self.output.checkpoints {
                checkpoints.save(contents)?;
            }
            (self.output.saved_at, self.clock.saved) = (Some(name), Instant::now());
        }
        Ok(())
    }

    /// Saves a checkpoint, and waits for it. Does nothing if checkpoints are off, or if this step is saved.
    pub(crate) fn save_now(&mut self) -> Result<(), TrainError> {
        if !self.is_saved() {
            self.save_checkpoint()?;
        }
        self.finish_checkpoints().into_iter().next().map_or(Ok(()), |error| Err(error.into()))
    }

    fn contents(&self, tally: &Tally) -> Result<Contents<HostState>, TrainError> {
        let parts = self.tensor_parts(tally);
        let mut training: NamedTensors = Vec::new();
        for (group, tensors) in parts.groups(&self.gradients) {
            training.extend(named(group, tensors));
        }
        // Otherwise each micro-batch seeds the generators.
        if self.model.random_streams.is_none() {
            training.push((CPU_GENERATOR.to_owned(), generator_state(Device::Cpu)?));
            if parts.device != Device::Cpu {
                training.push((CUDA_GENERATOR.to_owned(), generator_state(parts.device)?));
            }
        }
        let previous = self.gradients.previous_gradient().iter().enumerate();
        training.extend(previous.map(|(index, copy)| (format!("{PREVIOUS}.{index}"), copy.shallow_clone())));
        let Counters { step, evaluated_at, last_validation, .. } = &self.counters;
        let recorder = self.output.recorder.as_ref();
        Ok(Contents {
            name: self.checkpoint_name(),
            elapsed_secs: self.clock.elapsed().as_secs_f64(),
            metrics: last_validation.iter().filter(|_| *evaluated_at == Some(*step)).flat_map(figures).collect(),
            config: self.config.to_toml(),
            model: parts.network.parameters.named(),
            ema: parts.ema(),
            optimizer: parts.optimizer.state(),
            training,
            host: self.host_state(),
            finished_logs: recorder.map_or(&[][..], Recorder::finished_logs).to_vec(),
            logs: recorder.map(Recorder::positions).transpose()?.unwrap_or_default(),
        })
    }
}

/// Metrics of an evaluation by their names in configs, without non-finite ones, which JSON cannot express.
fn figures(metrics: &Metrics) -> BTreeMap<String, f64> {
    let figures = Metric::ALL.iter().map(|metric| (metric.name().to_owned(), metrics.of(*metric)));
    figures.filter(|(_, value)| value.is_finite()).collect()
}
