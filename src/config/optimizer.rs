//! The `[optimizer]` and `[schedule]` tables.

use serde::Serialize;

use super::{
    RunConfig, matches,
    names::named_enum,
    range::{
        BELOW_ONE, COUNT, EPOCHS, EPOCHS_OR_NONE, EPS, FACTOR_FROM_ONE, GRADIENT, LEARNING_RATE, PART, POWER,
        RATE_SCALE, RATE_SHARE, RESTART_EPOCHS, RESTART_FACTOR, WEIGHT_DECAY,
    },
    reader::Section,
};

named_enum! {
    /// Optimizer.
    pub enum OptimizerName {
        /// Stochastic gradient descent with momentum, as in torch.optim.SGD.
        Sgd = "sgd",
        /// Kingma and Ba 2015, as in torch.optim.Adam.
        Adam = "adam",
        /// Loshchilov and Hutter 2019, as in torch.optim.AdamW.
        Adamw = "adamw",
        /// As in torch.optim.RMSprop.
        Rmsprop = "rmsprop",
        /// Dozat 2016, as in torch.optim.NAdam.
        Nadam = "nadam",
        /// Liu et al. 2020, as in torch.optim.RAdam.
        Radam = "radam",
        /// You et al. 2020, as in timm's Lamb.
        Lamb = "lamb",
        /// Chen et al. 2023, as in timm's Lion.
        Lion = "lion",
    }
}

impl OptimizerName {
    /// Whether the optimizer uses `momentum` instead of `betas`.
    pub fn has_momentum(self) -> bool {
        matches!(self, Self::Sgd | Self::Rmsprop)
    }
}

named_enum! {
    /// Handling of a step with a non-finite gradient.
    pub enum NonFinite {
        /// Skip the step: weights, moments, clipping state, and schedule do not change.
        Skip = "skip",
        /// Skip the step and end the run.
        Stop = "stop",
        /// Set the non-finite elements to 0 and take the step.
        Zero = "zero",
    }
}

/// The `[optimizer]` table, validated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OptimizerConfig {
    /// Optimizer.
    pub name: OptimizerName,
    /// Learning rate; the peak of the schedule.
    pub learning_rate: f64,
    /// SGD, RMSprop: momentum, the fraction of the previous update to keep.
    pub momentum: f64,
    /// SGD: dampening of momentum.
    pub dampening: f64,
    /// SGD: whether to use Nesterov momentum.
    pub nesterov: bool,
    /// L2 penalty, or decoupled decay (AdamW, LAMB, Lion).
    pub weight_decay: f64,
    /// Whether weight decay also applies to biases and normalization parameters.
    pub decay_norms_and_biases: bool,
    /// Other optimizers: decay rates of the first and second moment.
    pub betas: [f64; 2],
    /// Epsilon added to the denominator.
    pub eps: f64,
    /// RMSprop: decay of the squared gradients.
    pub alpha: f64,
    /// RMSprop: whether to center the squared gradients around the mean.
    pub centered: bool,
    /// NAdam: momentum decay.
    pub momentum_decay: f64,
    /// Learning rate of each block relative to the block after it, starting from the head; 1 is off.
    pub layer_decay: f64,
    /// Micro-batches averaged into one optimizer step.
    pub accumulation_steps: usize,
    /// Handling of a step with a non-finite gradient.
    pub non_finite: NonFinite,
    /// Consecutive non-finite steps after which the run ends.
    pub max_skipped_steps: u64,
    /// Initial epochs that train only the model's last linear layer.
    pub head_only_epochs: u64,
    /// Parameter groups with their own settings. The first matching group wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupConfig>,
}

/// One of `[[optimizer.groups]]`, validated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupConfig {
    /// Patterns of parameter names; see [`matches()`].
    pub parameters: Vec<String>,
    /// Factor on the learning rate.
    pub learning_rate_scale: f64,
    /// Replaces `optimizer.weight_decay`, also for norms and biases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// With `clipping.per_group`: replaces `clipping.max_norm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_norm: Option<f64>,
    /// Whether to freeze these parameters.
    pub freeze: bool,
}

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

impl OptimizerConfig {
    pub(super) fn read(mut table: Section<'_>) -> Self {
        use OptimizerName::{Adam, Adamw, Lamb, Lion, Nadam, Radam, Rmsprop, Sgd};
        const BETAS: &str = "[beta1, beta2], each at least 0 and below 1";
        let name = table.choice("name").unwrap_or(Sgd);
        let (learning_rate, weight_decay) = match name {
            Sgd => (0.1, 2e-5),
            Adamw | Lamb => (1e-3, 1e-2),
            Adam | Radam => (1e-3, 0.0),
            Nadam => (2e-3, 0.0),
            Rmsprop => (1e-2, 0.0),
            Lion => (1e-4, 0.0),
        };
        let betas = |betas: &[f64; 2]| betas.iter().all(|beta| BELOW_ONE.has(beta));
        let beta2 = if name == Lion { 0.99 } else { 0.999 };
        let config = Self {
            name,
            learning_rate: table.number("learning_rate", learning_rate, &LEARNING_RATE),
            momentum: table.number("momentum", if name == Rmsprop { 0.0 } else { 0.9 }, &BELOW_ONE),
            dampening: table.number("dampening", 0.0, &BELOW_ONE),
            nesterov: table.any("nesterov", false),
            weight_decay: table.number("weight_decay", weight_decay, &WEIGHT_DECAY),
            decay_norms_and_biases: table.any("decay_norms_and_biases", false),
            betas: table.get("betas", [0.9, beta2], betas, BETAS),
            eps: table.number("eps", if name == Lamb { 1e-6 } else { 1e-8 }, &EPS),
            alpha: table.number("alpha", 0.99, &BELOW_ONE),
            centered: table.any("centered", false),
            momentum_decay: table.number("momentum_decay", 4e-3, &RATE_SCALE),
            layer_decay: table.number("layer_decay", 1.0, &RATE_SHARE),
            accumulation_steps: table.count("accumulation_steps", 1, 1..=1_000_000),
            non_finite: table.choice("non_finite").unwrap_or(NonFinite::Skip),
            max_skipped_steps: table.count("max_skipped_steps", 10, 1..=1_000_000),
            head_only_epochs: table.count("head_only_epochs", 0, COUNT),
            groups: table.sections("groups").into_iter().map(GroupConfig::read).collect(),
        };
        if config.nesterov && (config.momentum == 0.0 || config.dampening != 0.0) {
            let want = "want optimizer.momentum above 0 and optimizer.dampening 0";
            table.problem("nesterov", format!("nesterov needs momentum without dampening; {want}"));
        }
        table.finish();
        config
    }
}

impl OptimizerConfig {
    /// Index of the first group that matches the parameter name, or the number of groups if none matches.
    pub fn group_of(&self, name: &str) -> usize {
        self.groups.iter().position(|group| group.has(name)).unwrap_or(self.groups.len())
    }
}

impl GroupConfig {
    /// Whether one of the patterns matches the name.
    pub fn has(&self, name: &str) -> bool {
        self.parameters.iter().any(|pattern| matches(pattern, name))
    }

    fn read(mut table: Section<'_>) -> Self {
        let parameters = table.optional("parameters", |names: &Vec<String>| !names.is_empty(), "at least one pattern");
        if parameters.is_none() {
            table.missing("parameters", "name patterns, e.g. [\"layer1.*\"]");
        }
        let config = Self {
            parameters: parameters.unwrap_or_default(),
            learning_rate_scale: table.number("learning_rate_scale", 1.0, &RATE_SCALE),
            weight_decay: table.optional_number("weight_decay", &WEIGHT_DECAY),
            max_norm: table.optional_number("max_norm", &GRADIENT),
            freeze: table.any("freeze", false),
        };
        table.finish();
        config
    }
}

impl ScheduleConfig {
    pub(super) fn read(mut table: Section<'_>, run: &RunConfig) -> Self {
        let rising = |epochs: &Vec<f64>| epochs.iter().all(|epoch| EPOCHS.has(epoch)) && epochs.is_sorted();
        let milestones = format!("increasing epochs, each {EPOCHS}");
        let config = Self {
            name: table.choice("name").unwrap_or(ScheduleName::Constant),
            warmup_steps: table.count("warmup_steps", 0, COUNT),
            warmup_epochs: table.number("warmup_epochs", 0.0, &EPOCHS_OR_NONE),
            warmup_learning_rate: table.number("warmup_learning_rate", 1e-5, &LEARNING_RATE),
            min_learning_rate: table.number("min_learning_rate", 0.0, &LEARNING_RATE),
            decay_epochs: table.number("decay_epochs", 90.0, &EPOCHS),
            decay_rate: table.number("decay_rate", 0.1, &RATE_SHARE),
            milestones: table.get("milestones", vec![90.0, 180.0, 270.0], rising, &milestones),
            restart_epochs: table.number("restart_epochs", 0.0, &RESTART_EPOCHS),
            restart_factor: table.number("restart_factor", 1.0, &RESTART_FACTOR),
            power: table.number("power", 1.0, &POWER),
            patience: table.count("patience", 10, COUNT),
            threshold: table.number("threshold", 1e-4, &BELOW_ONE),
            pct_start: table.number("pct_start", 0.3, &PART),
            div_factor: table.number("div_factor", 25.0, &FACTOR_FROM_ONE),
            final_div_factor: table.number("final_div_factor", 1e4, &FACTOR_FROM_ONE),
            cycle_momentum: table.any("cycle_momentum", true),
            base_momentum: table.number("base_momentum", 0.85, &BELOW_ONE),
            max_momentum: table.number("max_momentum", 0.95, &BELOW_ONE),
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
