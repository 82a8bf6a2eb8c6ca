//! Optimizer update rules.

use super::{
    StepOptions,
    ffi::{RawOptions, RuleCode},
};

/// The update rule, with the hyperparameters that stay constant over the run. The names are those of torch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OptimizerRule {
    /// torch.optim.SGD, fused.
    Sgd {
        /// Fraction of the gradient that momentum leaves out, except on the first step.
        dampening: f64,
        /// Whether to use Nesterov momentum.
        nesterov: bool,
    },
    /// torch.optim.Adam (weight decay as an L2 penalty), fused.
    Adam {
        /// Decay of the second moment.
        beta2: f64,
        /// Added to the denominator.
        eps: f64,
    },
    /// torch.optim.AdamW (decoupled weight decay), fused.
    Adamw {
        /// Decay of the second moment.
        beta2: f64,
        /// Added to the denominator.
        eps: f64,
    },
    /// torch.optim.RMSprop.
    Rmsprop {
        /// Decay of the squared-gradient average.
        alpha: f64,
        /// Added to the denominator.
        eps: f64,
        /// Whether to center the squared-gradient average on the mean gradient.
        centered: bool,
    },
    /// torch.optim.NAdam.
    Nadam {
        /// Decay of the second moment.
        beta2: f64,
        /// Added to the denominator.
        eps: f64,
        /// Momentum decay of the NAdam schedule.
        momentum_decay: f64,
    },
    /// torch.optim.RAdam.
    Radam {
        /// Decay of the second moment.
        beta2: f64,
        /// Added to the denominator.
        eps: f64,
    },
    /// LAMB, as timm implements it.
    Lamb {
        /// Decay of the second moment.
        beta2: f64,
        /// Added to the denominator.
        eps: f64,
    },
    /// Lion (Chen et al. 2023, arXiv:2302.06675).
    Lion {
        /// Decay of the momentum.
        beta2: f64,
    },
}

impl OptimizerRule {
    /// Name of the libtorch kernel, or of the rule if libtorch has none.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Sgd { .. } => "_fused_sgd_",
            Self::Adam { .. } => "_fused_adam_",
            Self::Adamw { .. } => "_fused_adamw_",
            Self::Rmsprop { .. } => "rmsprop",
            Self::Nadam { .. } => "nadam",
            Self::Radam { .. } => "radam",
            Self::Lamb { .. } => "lamb",
            Self::Lion { .. } => "lion",
        }
    }

    /// Whether the rule uses first, second, and third moments and step counts. SGD and RMSprop use `first` only if
    /// momentum is above 0.
    pub fn moments(&self) -> [bool; 4] {
        match *self {
            Self::Sgd { .. } | Self::Lion { .. } => [true, false, false, matches!(self, Self::Lion { .. })],
            Self::Rmsprop { centered, .. } => [true, true, centered, true],
            _ => [true, true, false, true],
        }
    }

    pub(super) fn raw(&self, options: &StepOptions) -> RawOptions {
        let StepOptions { learning_rate, momentum, weight_decay, is_first_step } = *options;
        let mut raw = RawOptions {
            rule: RuleCode::Sgd,
            learning_rate,
            beta1: momentum,
            beta2: 0.0,
            eps: 0.0,
            weight_decay,
            dampening: 0.0,
            momentum_decay: 0.0,
            flag: 0,
            is_first_step: is_first_step.into(),
        };
        let mut set = |rule, beta2, eps| (raw.rule, raw.beta2, raw.eps) = (rule, beta2, eps);
        match *self {
            Self::Sgd { dampening, nesterov } => {
                (raw.dampening, raw.flag) = (dampening, nesterov.into());
                // Without dampening, momentum that starts at 0 gives the same result, so the first step needs no
                // special case.
                raw.is_first_step = (is_first_step && dampening != 0.0).into();
            }
            Self::Adam { beta2, eps } => set(RuleCode::Adam, beta2, eps),
            Self::Adamw { beta2, eps } => set(RuleCode::Adamw, beta2, eps),
            Self::Rmsprop { alpha, eps, centered } => {
                set(RuleCode::Rmsprop, alpha, eps);
                raw.flag = centered.into();
            }
            Self::Nadam { beta2, eps, momentum_decay } => {
                set(RuleCode::Nadam, beta2, eps);
                raw.momentum_decay = momentum_decay;
            }
            Self::Radam { beta2, eps } => set(RuleCode::Radam, beta2, eps),
            Self::Lamb { beta2, eps } => set(RuleCode::Lamb, beta2, eps),
            Self::Lion { beta2 } => set(RuleCode::Lion, beta2, 0.0),
        }
        raw
    }
}
