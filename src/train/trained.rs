//! State that depends on the trained parameters: gradients, optimizer, and clipping.

use tch::Device;

use super::{Gradients, State, TrainError, frozen::is_head_alone};
use crate::{
    clipping::{Clipping, ClippingScope},
    config::{Config, Precision},
    model::Network,
    optim::{GradScaler, Headroom, Optimizer, parameter_groups},
};

/// State for the parameters that currently require a gradient.
pub(super) struct Trained {
    pub gradients: Gradients,
    pub optimizer: Optimizer,
    pub clipping: Clipping,
}

impl Trained {
    /// Registers a hook on each of them. Optimizer moments and clipping state start over.
    pub(super) fn new(config: &Config, network: &Network, device: Device) -> Result<Self, TrainError> {
        let mut gradients = Gradients::new(network, &config.monitor, &config.optimizer, device)?;
        if config.run.precision == Precision::Fp16 {
            gradients.scaler = Some(GradScaler::new(device)?);
        }
        let named = gradients.names.iter().map(|name| &**name).zip(gradients.params());
        let groups = parameter_groups(named, &config.optimizer);
        let optimizer = Optimizer::new(&config.optimizer, groups)?;
        let clipping = clipping(config, network, &gradients)?;
        Ok(Self { gradients, optimizer, clipping })
    }
}

fn clipping(config: &Config, network: &Network, gradients: &Gradients) -> Result<Clipping, TrainError> {
    let names: Vec<&str> = gradients.names.iter().map(|name| &**name).collect();
    let groups: Vec<usize> = names.iter().map(|name| config.optimizer.group_of(name)).collect();
    let group_norms: Vec<Option<f64>> = config.optimizer.groups.iter().map(|group| group.max_norm).collect();
    let head = network.model.head();
    let scope = ClippingScope { names: &names, head, groups: &groups, group_norms: &group_norms };
    Ok(Clipping::new(&config.clipping, &scope, gradients.loss.device())?)
}

impl State {
    /// Starts to train all parameters once `optimizer.head_only_epochs` are over. The optimizer starts over, as in
    /// fastai's `unfreeze`, and so does the clipping state, because both now cover other parameters.
    pub(super) fn release_if_due(&mut self) -> Result<(), TrainError> {
        if self.held_back.is_empty() || is_head_alone(&self.config.optimizer, self.epoch) {
            return Ok(());
        }
        // Device syncs here, once in a run.
        self.hear_of_last_step()?;
        self.taken_before = self.taken_steps;
        let count = self.held_back.release()?;
        let Trained { mut gradients, optimizer, clipping } = Trained::new(&self.config, &self.network, self.device)?;
        gradients.take_over(&mut self.gradients);
        self.headroom = Headroom::of(&optimizer)?;
        (self.gradients, self.optimizer, self.clipping) = (gradients, optimizer, clipping);
        tracing::info!(
            "optimizer.head_only_epochs: {} epoch(s) are over, training {count} more parameters from step {} on",
            self.epoch,
            self.step
        );
        Ok(())
    }
}
