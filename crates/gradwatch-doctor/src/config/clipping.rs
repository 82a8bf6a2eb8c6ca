//! The `[clipping]` table.

use serde::Serialize;

use super::{
    names::named_enum,
    range::{BELOW_ONE, COUNT, EPS, FACTOR, FACTOR_FROM_ONE, FROM_ONE, GRADIENT, NORM_TYPE, PERCENT},
    reader::Section,
};

named_enum! {
    /// Gradient clipping mode.
    pub enum ClippingMode {
        /// No clipping.
        None = "none",
        /// Clamps each element to +-`clip_value`.
        Value = "value",
        /// Scales all gradients together to a total norm of at most `max_norm` (Pascanu et al. 2013).
        Norm = "norm",
        /// Limits each unit's gradient norm to a fraction of its weight norm (Brock et al. 2021).
        Agc = "agc",
        /// Limits the total norm to a percentile of past norms (Seetharaman et al. 2020).
        Autoclip = "autoclip",
        /// Reduces norms that stand out from the running distribution (Kumar et al. 2025).
        Zclip = "zclip",
        /// Limits each tensor's norm to a multiple of its running norm (Wang et al. 2025).
        Adagc = "adagc",
    }
}

/// The `[clipping]` table, validated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClippingConfig {
    /// Clipping mode.
    pub mode: ClippingMode,
    /// norm: the largest total norm.
    pub max_norm: f64,
    /// norm: order p of the norm, from 1 to infinity.
    pub norm_type: f64,
    /// norm: whether each of `optimizer.groups`, and the remaining parameters, are clipped by their own norm.
    pub per_group: bool,
    /// value: the largest absolute value of an element.
    pub clip_value: f64,
    /// Options of agc.
    pub agc: AgcConfig,
    /// Options of autoclip.
    pub autoclip: AutoclipConfig,
    /// Options of zclip.
    pub zclip: ZclipConfig,
    /// Options of adagc.
    pub adagc: AdagcConfig,
}

named_enum! {
    /// Definition of a unit in adaptive gradient clipping.
    pub enum AgcCompat {
        /// As in the paper: the weights of one output.
        Paper = "paper",
        /// As in timm: clips gains of shape (C, 1, 1, 1) element by element, and excludes the last two parameters as
        /// the head.
        Timm = "timm",
    }
}

/// The `[clipping.agc]` table, validated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AgcConfig {
    /// Largest ratio of a unit's gradient norm to its weight norm.
    pub clip_factor: f64,
    /// Lower bound on the weight norm, so that zero weights can grow.
    pub eps: f64,
    /// Patterns of parameters to exclude; `None` excludes the model's last linear layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Vec<String>>,
    /// Definition of a unit.
    pub compat: AgcCompat,
}

/// The `[clipping.autoclip]` table, validated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AutoclipConfig {
    /// Percentile of past norms to use as the limit.
    pub percentile: f64,
    /// Number of past norms to keep.
    pub history: usize,
}

named_enum! {
    /// Spike test and treatment of a spike.
    pub enum ZclipMode {
        /// A spike is more than `z_thresh` standard deviations above the mean. `clip_option` reduces it.
        Zscore = "zscore",
        /// The same test, but a spike is cut to mean + `z_thresh` standard deviations.
        Percentile = "percentile",
    }
}

named_enum! {
    /// Norm to which a spike is reduced.
    pub enum ZclipOption {
        /// Closer to the mean for larger spikes.
        AdaptiveScaling = "adaptive_scaling",
        /// The mean.
        Mean = "mean",
    }
}

/// The `[clipping.zclip]` table, validated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ZclipConfig {
    /// Decay of the running mean and variance: the fraction kept at each step.
    pub alpha: f64,
    /// Number of standard deviations above the mean from which a norm is a spike.
    pub z_thresh: f64,
    /// Upper limit on every norm after the spike test; infinity for no limit.
    pub max_grad_norm: f64,
    /// Steps that compute the first mean and variance.
    pub warmup_steps: u64,
    /// Spike test and treatment of a spike.
    pub mode: ZclipMode,
    /// Norm to which a spike is reduced.
    pub clip_option: ZclipOption,
    /// Factor on the reduced norm, for adaptive scaling.
    pub clip_factor: f64,
    /// Whether spikes are excluded from the running mean and variance.
    pub skip_update_on_spike: bool,
}

/// The `[clipping.adagc]` table, validated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdagcConfig {
    /// Decay of the running norm: the fraction kept at each step.
    pub beta: f64,
    /// Largest total norm during the warm-up.
    pub lambda_abs: f64,
    /// Largest ratio of a tensor's norm to its running norm.
    pub lambda_rel: f64,
    /// Steps during which each running norm is the smallest norm so far.
    pub warmup_steps: u64,
}

impl Default for ClippingConfig {
    fn default() -> Self {
        Self {
            mode: ClippingMode::None,
            max_norm: 1.0,
            norm_type: 2.0,
            per_group: false,
            clip_value: 1.0,
            agc: AgcConfig::default(),
            autoclip: AutoclipConfig::default(),
            zclip: ZclipConfig::default(),
            adagc: AdagcConfig::default(),
        }
    }
}

impl ClippingConfig {
    pub(super) fn read(mut table: Section<'_>) -> Self {
        let default = Self::default();
        let config = Self {
            mode: table.choice("mode", default.mode),
            max_norm: table.number("max_norm", default.max_norm, &GRADIENT),
            norm_type: table.number("norm_type", default.norm_type, &NORM_TYPE),
            per_group: table.any("per_group", default.per_group),
            clip_value: table.number("clip_value", default.clip_value, &GRADIENT),
            agc: AgcConfig::read(table.section("agc")),
            autoclip: AutoclipConfig::read(table.section("autoclip")),
            zclip: ZclipConfig::read(table.section("zclip")),
            adagc: AdagcConfig::read(table.section("adagc")),
        };
        if config.per_group && config.norm_type != 2.0 {
            table.problem("norm_type", format!("got {} with clipping.per_group, want 2", config.norm_type));
        }
        table.finish();
        config
    }
}

impl Default for AgcConfig {
    fn default() -> Self {
        Self { clip_factor: 0.01, eps: 1e-3, exclude: None, compat: AgcCompat::Paper }
    }
}

impl AgcConfig {
    fn read(mut table: Section<'_>) -> Self {
        let default = Self::default();
        let config = Self {
            clip_factor: table.number("clip_factor", default.clip_factor, &FACTOR),
            eps: table.number("eps", default.eps, &EPS),
            exclude: table.optional("exclude", |_: &Vec<String>| true, "").or(default.exclude),
            compat: table.choice("compat", default.compat),
        };
        table.finish();
        config
    }
}

impl Default for AutoclipConfig {
    fn default() -> Self {
        Self { percentile: 10.0, history: 1000 }
    }
}

impl AutoclipConfig {
    fn read(mut table: Section<'_>) -> Self {
        let default = Self::default();
        let config = Self {
            percentile: table.number("percentile", default.percentile, &PERCENT),
            history: table.count("history", default.history, 1..=1 << 20),
        };
        table.finish();
        config
    }
}

impl Default for ZclipConfig {
    fn default() -> Self {
        Self {
            alpha: 0.97,
            z_thresh: 2.5,
            max_grad_norm: 1.0,
            warmup_steps: 25,
            mode: ZclipMode::Zscore,
            clip_option: ZclipOption::AdaptiveScaling,
            clip_factor: 1.0,
            skip_update_on_spike: false,
        }
    }
}

impl ZclipConfig {
    fn read(mut table: Section<'_>) -> Self {
        let default = Self::default();
        let config = Self {
            alpha: table.number("alpha", default.alpha, &BELOW_ONE),
            z_thresh: table.number("z_thresh", default.z_thresh, &FACTOR),
            max_grad_norm: table.number("max_grad_norm", default.max_grad_norm, &GRADIENT.or_infinity()),
            warmup_steps: table.count("warmup_steps", default.warmup_steps, FROM_ONE),
            mode: table.choice("mode", default.mode),
            clip_option: table.choice("clip_option", default.clip_option),
            clip_factor: table.number("clip_factor", default.clip_factor, &FACTOR),
            skip_update_on_spike: table.any("skip_update_on_spike", default.skip_update_on_spike),
        };
        table.finish();
        config
    }
}

impl Default for AdagcConfig {
    fn default() -> Self {
        Self { beta: 0.98, lambda_abs: 1.0, lambda_rel: 1.05, warmup_steps: 100 }
    }
}

impl AdagcConfig {
    fn read(mut table: Section<'_>) -> Self {
        let default = Self::default();
        let config = Self {
            beta: table.number("beta", default.beta, &BELOW_ONE),
            lambda_abs: table.number("lambda_abs", default.lambda_abs, &GRADIENT),
            lambda_rel: table.number("lambda_rel", default.lambda_rel, &FACTOR_FROM_ONE),
            warmup_steps: table.count("warmup_steps", default.warmup_steps, COUNT),
        };
        table.finish();
        config
    }
}
