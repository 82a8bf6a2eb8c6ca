//! The `[schedule]` table.

use serde::Serialize;

use super::{
    RunConfig,
    names::named_enum,
    range::{
        BELOW_ONE, COUNT, EPOCHS, EPOCHS_OR_NONE, FACTOR_FROM_ONE, LEARNING_RATE, PART, POWER, RATE_SHARE,
        RESTART_EPOCHS, RESTART_FACTOR,
    },
    reader::Section,
};

named_enum! {
    /// Learning rate schedule, per optimizer step.
    pub enum ScheduleName {
        /// Constant learning rate.
        Constant = "constant",
        /// Multiplies by `decay_rate` every `decay_epochs`.
        Step = "step",
        /// Multiplies by `decay_rate` at each of `milestones`.
        Multistep = "multistep",
        /// Half a cosine down to `min_learning_rate`, repeated with `restart_epochs` (Loshchilov and Hutter 2017).
        Cosine = "cosine",
        /// Smith and Topin 2018, as in torch's OneCycleLR: up, then down; momentum moves in the opposite direction.
        OneCycle = "one_cycle",
        /// Polynomial decay to `min_learning_rate` at the end of the run.
        Polynomial = "polynomial",
        /// Multiplies by `decay_rate` if evaluations stop improving.
        Plateau = "plateau",
    }
}

/// The `[schedule]` table, validated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScheduleConfig {
    /// Learning rate schedule.
    pub name: ScheduleName,
    /// Linear warm-up steps before the schedule starts.
    pub warmup_steps: u64,
    /// Warm-up in epochs, added to `warmup_steps`.
    pub warmup_epochs: f64,
    /// Learning rate at the start of the warm-up.
    pub warmup_learning_rate: f64,
    /// cosine, polynomial: final learning rate; plateau: lowest learning rate.
    pub min_learning_rate: f64,
    /// step: epochs between decays.
    pub decay_epochs: f64,
    /// step, multistep, plateau: decay factor.
    pub decay_rate: f64,
    /// multistep: epochs at which the learning rate decays.
    pub milestones: Vec<f64>,
    /// cosine: epochs of the first half wave; 0 is the whole run.
    pub restart_epochs: f64,
    /// cosine: length of each half wave relative to the previous one.
    pub restart_factor: f64,
    /// polynomial: exponent.
    pub power: f64,
    /// plateau: evaluations without improvement before the learning rate decays.
    pub patience: u64,
    /// plateau: relative improvement of the metric that counts.
    pub threshold: f64,
    /// one_cycle: fraction of the steps with a rising learning rate.
    pub pct_start: f64,
    /// one_cycle: peak learning rate over initial learning rate.
    pub div_factor: f64,
    /// one_cycle: initial learning rate over final learning rate.
    pub final_div_factor: f64,
    /// one_cycle: whether momentum, or the first beta, moves between the next two values.
    pub cycle_momentum: bool,
    /// one_cycle: momentum at the peak learning rate.
    pub base_momentum: f64,
    /// one_cycle: momentum at the start and the end.
    pub max_momentum: f64,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self {
            name: ScheduleName::Constant,
            warmup_steps: 0,
            warmup_epochs: 0.0,
            warmup_learning_rate: 1e-5,
            min_learning_rate: 0.0,
            decay_epochs: 90.0,
            decay_rate: 0.1,
            milestones: vec![90.0, 180.0, 270.0],
            restart_epochs: 0.0,
            restart_factor: 1.0,
            power: 1.0,
            patience: 10,
            threshold: 1e-4,
            pct_start: 0.3,
            div_factor: 25.0,
            final_div_factor: 1e4,
            cycle_momentum: true,
            base_momentum: 0.85,
            max_momentum: 0.95,
        }
    }
}

impl ScheduleConfig {
    pub(super) fn read(mut table: Section<'_>, run: &RunConfig) -> Self {
        let rising = |epochs: &Vec<f64>| epochs.iter().all(|epoch| EPOCHS.has(epoch)) && epochs.is_sorted();
        let milestones = format!("increasing epochs, each {EPOCHS}");
        let default = Self::default();
        let config = Self {
            name: table.choice("name", default.name),
            warmup_steps: table.count("warmup_steps", default.warmup_steps, COUNT),
            warmup_epochs: table.number("warmup_epochs", default.warmup_epochs, &EPOCHS_OR_NONE),
            warmup_learning_rate: table.number("warmup_learning_rate", default.warmup_learning_rate, &LEARNING_RATE),
            min_learning_rate: table.number("min_learning_rate", default.min_learning_rate, &LEARNING_RATE),
            decay_epochs: table.number("decay_epochs", default.decay_epochs, &EPOCHS),
            decay_rate: table.number("decay_rate", default.decay_rate, &RATE_SHARE),
            milestones: table.get("milestones", default.milestones, rising, &milestones),
            restart_epochs: table.number("restart_epochs", default.restart_epochs, &RESTART_EPOCHS),
            restart_factor: table.number("restart_factor", default.restart_factor, &RESTART_FACTOR),
            power: table.number("power", default.power, &POWER),
            patience: table.count("patience", default.patience, COUNT),
            threshold: table.number("threshold", default.threshold, &BELOW_ONE),
            pct_start: table.number("pct_start", default.pct_start, &PART),
            div_factor: table.number("div_factor", default.div_factor, &FACTOR_FROM_ONE),
            final_div_factor: table.number("final_div_factor", default.final_div_factor, &FACTOR_FROM_ONE),
            cycle_momentum: table.any("cycle_momentum", default.cycle_momentum),
            base_momentum: table.number("base_momentum", default.base_momentum, &BELOW_ONE),
            max_momentum: table.number("max_momentum", default.max_momentum, &BELOW_ONE),
        };
        if config.goes_by_length() && run.max_epochs.is_none() && run.max_steps.is_none() && run.max_minutes.is_some() {
            let got = format!("got {} for a run with an unknown number of steps", config.name);
            table
                .problem("name", format!("{got}, want run.max_epochs or run.max_steps in addition to run.max_minutes"));
        }
        table.finish();
        config
    }

    /// Whether the learning rate depends on the total number of steps.
    pub fn goes_by_length(&self) -> bool {
        match self.name {
            ScheduleName::Cosine => self.restart_epochs == 0.0,
            name => matches!(name, ScheduleName::OneCycle | ScheduleName::Polynomial),
        }
    }
}
