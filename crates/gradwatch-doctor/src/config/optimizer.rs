//! The `[optimizer]` table.

use serde::Serialize;

use super::{
    matches,
    names::named_enum,
    range::{BELOW_ONE, COUNT, EPS, GRADIENT, LEARNING_RATE, RATE_SCALE, RATE_SHARE, WEIGHT_DECAY},
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
        match self {
            Self::Sgd | Self::Rmsprop => true,
            Self::Adam | Self::Adamw | Self::Nadam | Self::Radam | Self::Lamb | Self::Lion => false,
        }
    }

    /// Whether weight decay multiplies the weights instead of adding to the gradient.
    pub fn has_decoupled_decay(self) -> bool {
        match self {
            Self::Adamw | Self::Lamb | Self::Lion => true,
            Self::Sgd | Self::Adam | Self::Rmsprop | Self::Nadam | Self::Radam => false,
        }
    }

    /// Whether a step divides by the RMS of the gradient plus `eps`.
    pub fn has_eps(self) -> bool {
        match self {
            Self::Adam | Self::Adamw | Self::Rmsprop | Self::Nadam | Self::Radam | Self::Lamb => true,
            Self::Sgd | Self::Lion => false,
        }
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

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::new(OptimizerName::Sgd)
    }
}

impl OptimizerConfig {
    /// Defaults of an optimizer.
    pub fn new(name: OptimizerName) -> Self {
        use OptimizerName::{Adam, Adamw, Lamb, Lion, Nadam, Radam, Rmsprop, Sgd};
        let (learning_rate, weight_decay) = match name {
            Sgd => (0.1, 2e-5),
            Adamw | Lamb => (1e-3, 1e-2),
            Adam | Radam => (1e-3, 0.0),
            Nadam => (2e-3, 0.0),
            Rmsprop => (1e-2, 0.0),
            Lion => (1e-4, 0.0),
        };
        Self {
            name,
            learning_rate,
            momentum: if name == Rmsprop { 0.0 } else { 0.9 },
            dampening: 0.0,
            nesterov: false,
            weight_decay,
            decay_norms_and_biases: false,
            betas: [0.9, if name == Lion { 0.99 } else { 0.999 }],
            eps: if name == Lamb { 1e-6 } else { 1e-8 },
            alpha: 0.99,
            centered: false,
            momentum_decay: 4e-3,
            layer_decay: 1.0,
            accumulation_steps: 1,
            non_finite: NonFinite::Skip,
            max_skipped_steps: 10,
            head_only_epochs: 0,
            groups: Vec::new(),
        }
    }

    pub(super) fn read(mut table: Section<'_>) -> Self {
        const BETAS: &str = "[beta1, beta2], each at least 0 and below 1";
        let betas = |betas: &[f64; 2]| betas.iter().all(|beta| BELOW_ONE.has(beta));
        let default = Self::new(table.choice("name", Self::default().name));
        let config = Self {
            name: default.name,
            learning_rate: table.number("learning_rate", default.learning_rate, &LEARNING_RATE),
            momentum: table.number("momentum", default.momentum, &BELOW_ONE),
            dampening: table.number("dampening", default.dampening, &BELOW_ONE),
            nesterov: table.any("nesterov", default.nesterov),
            weight_decay: table.number("weight_decay", default.weight_decay, &WEIGHT_DECAY),
            decay_norms_and_biases: table.any("decay_norms_and_biases", default.decay_norms_and_biases),
            betas: table.get("betas", default.betas, betas, BETAS),
            eps: table.number("eps", default.eps, &EPS),
            alpha: table.number("alpha", default.alpha, &BELOW_ONE),
            centered: table.any("centered", default.centered),
            momentum_decay: table.number("momentum_decay", default.momentum_decay, &RATE_SCALE),
            layer_decay: table.number("layer_decay", default.layer_decay, &RATE_SHARE),
            accumulation_steps: table.count("accumulation_steps", default.accumulation_steps, 1..=1_000_000),
            non_finite: table.choice("non_finite", default.non_finite),
            max_skipped_steps: table.count("max_skipped_steps", default.max_skipped_steps, 1..=1_000_000),
            head_only_epochs: table.count("head_only_epochs", default.head_only_epochs, COUNT),
            groups: table.sections("groups").into_iter().map(GroupConfig::read).collect(),
        };
        if config.nesterov && (config.momentum == 0.0 || config.dampening != 0.0) {
            let want = "want optimizer.momentum above 0 and optimizer.dampening 0";
            table.problem("nesterov", format!("nesterov needs momentum without dampening; {want}"));
        }
        table.finish();
        config
    }

    /// Index of the first group that matches the parameter name, or the number of groups if none matches.
    pub fn group_of(&self, name: &str) -> usize {
        self.groups.iter().position(|group| group.has(name)).unwrap_or(self.groups.len())
    }
}

/// A group without parameters, with the settings of the optimizer.
impl Default for GroupConfig {
    fn default() -> Self {
        Self { parameters: Vec::new(), learning_rate_scale: 1.0, weight_decay: None, max_norm: None, freeze: false }
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
        let default = Self::default();
        let config = Self {
            parameters: parameters.unwrap_or(default.parameters),
            learning_rate_scale: table.number("learning_rate_scale", default.learning_rate_scale, &RATE_SCALE),
            weight_decay: table.optional_number("weight_decay", &WEIGHT_DECAY),
            max_norm: table.optional_number("max_norm", &GRADIENT),
            freeze: table.any("freeze", default.freeze),
        };
        table.finish();
        config
    }
}
