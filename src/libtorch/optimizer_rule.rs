//! The rules by which a gradient becomes an update.

use super::{StepOptions, ffi::RawOptions};

/// The rule of a step, with what does not change from step to step. The names are torch's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OptimizerRule {
    /// torch.optim.SGD, fused.
    Sgd {
        /// Share of the gradient that momentum leaves out, but for the first step.
        dampening: f64,
        /// Whether momentum looks ahead.
        nesterov: bool,
    },
    /// torch.optim.Adam (weight decay as an L2 penalty), fused.
    Adam {
        /// Decay of the second moment.
        beta2: f64,
        /// Added to the denominator.
        eps: f64,
    },
    /// torch.optim.AdamW (weight decay apart from the gradient), fused.
    Adamw {
        /// Decay of the second moment.
        beta2: f64,
        /// Added to the denominator.
        eps: f64,
    },
    /// torch.optim.RMSprop.
    Rmsprop {
        /// Decay of the squares.
        alpha: f64,
        /// Added to the denominator.
        eps: f64,
        /// Whether the squares are taken around the mean.
        centered: bool,
    },
    /// torch.optim.NAdam.
    Nadam {
        /// Decay of the second moment.
        beta2: f64,
        /// Added to the denominator.
        eps: f64,
        /// How fast momentum comes up.
        momentum_decay: f64,
    },
    /// torch.optim.RAdam.
    Radam {
        /// Decay of the second moment.
        beta2: f64,
        /// Added to the denominator.
        eps: f64,
    },
    /// LAMB as timm has it.
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
    /// libtorch's name of the kernel, or the rule's own.
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

    /// Whether first, second, third moments and step counts are used, where momentum is above 0.
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
            rule: 0,
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
                // Without dampening, momentum that begins at 0 is the same; it need not be known which step is the first.
                raw.is_first_step = (is_first_step && dampening != 0.0).into();
            }
            Self::Adam { beta2, eps } => set(1, beta2, eps),
            Self::Adamw { beta2, eps } => set(2, beta2, eps),
            Self::Rmsprop { alpha, eps, centered } => {
                set(3, alpha, eps);
                raw.flag = centered.into();
            }
            Self::Nadam { beta2, eps, momentum_decay } => {
                set(4, beta2, eps);
                raw.momentum_decay = momentum_decay;
            }
            Self::Radam { beta2, eps } => set(5, beta2, eps),
            Self::Lamb { beta2, eps } => set(6, beta2, eps),
            Self::Lion { beta2 } => set(7, beta2, 0.0),
        }
        raw
    }
}
