//! The update of the parameters: optimizer, clipping, schedule, and frozen parameters.

use tch::{Device, Tensor};

use super::{
    Gradients, State, TrainError,
    counters::Counters,
    frozen::{FrozenBackbone, is_head_alone},
};
use crate::{
    clipping::{ClipOutcome, Clipping, ClippingScope},
    config::{Config, Precision},
    distributed::Ranks,
    gradient::{Due, Measurement},
    libtorch::LateScalar,
    model::Network,
    number::count as plural,
    optim::{GradScaler, Headroom, Optimizer, Plateau, Rates, Schedule, StepControl, UpdateOutcome, parameter_groups},
};

/// The update of the parameters, and the state that it keeps between steps.
pub struct Optimization {
    /// The optimizer with its state.
    pub optimizer: Optimizer,
    /// Gradient clipping.
    pub clipping: Clipping,
    /// Learning rate and momentum per applied step.
    pub(super) schedule: Schedule,
    /// Adapts the learning rate to evaluation results, if the schedule uses them.
    pub(super) plateau: Option<Plateau>,
    /// Distance of the weights from the f32 maximum.
    pub(super) headroom: Headroom,
    /// Parameters that are still frozen.
    pub(super) backbone: FrozenBackbone,
    /// Gradient norm of the previous step; infinite if it was skipped.
    pub(super) last_outcome: Option<LateScalar>,
    /// Consecutive steps that were skipped or had a gradient replaced, as far as the host knows.
    pub(super) bad_in_a_row: u64,
}

/// The parts that depend on the parameters that currently require a gradient.
pub(super) struct ParameterState {
    pub gradients: Gradients,
    pub optimizer: Optimizer,
    pub clipping: Clipping,
}

impl ParameterState {
    /// Registers a hook on each of the parameters. Optimizer moments and clipping state start over.
    pub(super) fn new(config: &Config, network: &Network, device: Device, ranks: &Ranks) -> Result<Self, TrainError> {
        let reduction = config.distributed.reduction;
        let mut gradients = Gradients::new(network, &config.monitor, &config.optimizer, device, ranks, reduction)?;
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

impl Optimization {
    /// Clips the gradients; `measured` contains their norms from backward. No sync.
    /// Steps of the whole run, as far as they are known in advance.
    pub fn total_steps(&self) -> u64 {
        self.schedule.total_steps()
    }

    pub(super) fn clip(
        &mut self,
        gradients: &mut Gradients,
        measured: &Measurement,
    ) -> Result<ClipOutcome, TrainError> {
        let reached = gradients.reached();
        let replaced = gradients.replace_non_finite(measured, &reached)?;
        Ok(self.clipping.clip(&reached.with(replaced.as_ref().unwrap_or(measured)))?)
    }

    /// Learning rate and momentum after this number of applied steps.
    pub(super) fn rates(&self, taken_steps: u64) -> Rates {
        let rates = self.schedule.at(taken_steps);
        let scale = self.plateau.as_ref().map_or(1.0, Plateau::scale);
        Rates { learning_rate: rates.learning_rate * scale, ..rates }
    }

    /// Receives whether the previous step was applied.
    pub(super) fn receive_last_outcome(&mut self, counters: &mut Counters) -> Result<(), TrainError> {
        let Some(norm) = self.last_outcome.take() else { return Ok(()) };
        let norm = norm.receive()?;
        if norm.is_finite() {
            counters.taken_steps += 1;
            self.headroom.took(norm.abs());
        }
        // Negative if a gradient that is not finite was replaced.
        let is_good = norm.is_finite() && norm.is_sign_positive();
        self.bad_in_a_row = if is_good { 0 } else { self.bad_in_a_row + 1 };
        Ok(())
    }

    /// Updates the weights, unless the gradient or the update is not finite: then weights and optimizer state stay
    /// unchanged. Returns the size of the update, and 1 (`[]`, f32) if the step was skipped. No sync.
    pub(super) fn take_step(
        &mut self,
        gradients: &mut Gradients,
        counters: &Counters,
        rates: Rates,
        due: Due,
        clip: &ClipOutcome,
    ) -> Result<(UpdateOutcome, Tensor), TrainError> {
        // Clipping by one factor, and skipping a step with a non-finite gradient, happen inside the fused kernel.
        let grad_scale = clip.grad_scale()?;
        let control = StepControl {
            grad_scale: grad_scale.as_ref(),
            found_inf: Some(&clip.found_inf),
            measures_updates: due.weights,
            is_first_step: counters.taken_steps == counters.taken_before,
        };
        let (update, not_taken) = if self.headroom.has_room(rates)? {
            (self.optimizer.step(rates, &control)?, clip.found_inf.shallow_clone())
        } else {
            let (update, rejection) = self.optimizer.step_or_put_back(rates, &control)?;
            (update, gradients.reject(&clip.found_inf, rejection)?)
        };
        self.headroom.look_if_near(&self.optimizer)?;
        let norm = gradients.count_step(&not_taken, &clip.total_norm)?;
        self.last_outcome = Some(LateScalar::send(&norm)?);
        Ok((update, not_taken))
    }
}

impl State {
    /// Starts to train all parameters once `optimizer.head_only_epochs` are over. The optimizer starts over, as in
    /// fastai's `unfreeze`, and so does the clipping state, because both now cover other parameters.
    pub(super) fn unfreeze_if_due(&mut self) -> Result<(), TrainError> {
        let Self { config, ranks, model, gradients, optimization, counters, .. } = self;
        if optimization.backbone.is_empty() || is_head_alone(&config.optimizer, counters.epoch) {
            return Ok(());
        }
        // Device syncs here, once in a run.
        optimization.receive_last_outcome(counters)?;
        counters.taken_before = counters.taken_steps;
        let count = optimization.backbone.release()?;
        let mut new = ParameterState::new(config, &model.network, model.device(), ranks)?;
        new.gradients.take_over(gradients);
        optimization.headroom = Headroom::of(&new.optimizer)?;
        *gradients = new.gradients;
        (optimization.optimizer, optimization.clipping) = (new.optimizer, new.clipping);
        tracing::info!(
            "optimizer.head_only_epochs: after {}, training {count} more parameters from step {} on",
            plural(counters.epoch, "epoch"),
            counters.step
        );
        Ok(())
    }
}
