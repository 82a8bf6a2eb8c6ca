//! What the `[clipping]` table says.

use serde::Serialize;

use super::{
    names::named_enum,
    range::{BELOW_ONE, COUNT, EPS, FACTOR, FACTOR_FROM_ONE, FROM_ONE, GRADIENT, NORM_TYPE, PERCENT},
    reader::Section,
};

named_enum! {
    /// How gradients are kept small; see [`clipping`](crate::clipping).
    pub enum ClippingMode {
        /// Not at all.
        None = "none",
        /// Each element to `clip_value`.
        Value = "value",
        /// All gradients together, to a total norm of `max_norm` (Pascanu et al. 2013).
        Norm = "norm",
        /// Each unit to a share of its weights' norm (Brock et al. 2021).
        Agc = "agc",
        /// To a percentile of past norms (Seetharaman et al. 2020).
        Autoclip = "autoclip",
        /// Norms that stand out from the running distribution (Kumar et al. 2025).
        Zclip = "zclip",
        /// Each tensor to its running norm (Wang et al. 2025).
        Adagc = "adagc",
    }
}

/// The `[clipping]` table, validated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClippingConfig {
    /// How gradients are kept small.
    pub mode: ClippingMode,
    /// norm: the largest total norm that passes.
    pub max_norm: f64,
    /// norm: p of the norm, from 1 to infinity.
    pub norm_type: f64,
    /// norm: whether each of `optimizer.groups`, and what is in none, has a norm of its own.
    pub per_group: bool,
    /// value: the largest absolute value that passes.
    pub clip_value: f64,
    /// agc.
    pub agc: AgcConfig,
    /// autoclip.
    pub autoclip: AutoclipConfig,
    /// zclip.
    pub zclip: ZclipConfig,
    /// adagc.
    pub adagc: AdagcConfig,
}

named_enum! {
    /// Whose units adaptive gradient clipping has.
    pub enum AgcCompat {
        /// The paper's: what belongs to one output.
        Paper = "paper",
        /// timm's, which tells a gain of shape (C, 1, 1, 1) from one of shape (C), and takes the last two parameters for the
        /// head.
        Timm = "timm",
    }
}

/// The `[clipping.agc]` table, validated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AgcConfig {
    /// Largest share that a unit's gradient norm may be of its weights' norm.
    pub clip_factor: f64,
    /// Smallest norm of weights that counts.
    pub eps: f64,
    /// Parameters that are not clipped, by pattern; without it, the model's last linear layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Vec<String>>,
    /// Whose units these are.
    pub compat: AgcCompat,
}

/// The `[clipping.autoclip]` table, validated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AutoclipConfig {
    /// The share of past norms, in percent, that lie below what passes.
    pub percentile: f64,
    /// Past norms that are remembered.
    pub history: usize,
}

named_enum! {
    /// What makes a norm a spike.
    pub enum ZclipMode {
        /// Its distance from the mean in standard deviations; it is brought back by `clip_option`.
        Zscore = "zscore",
        /// The same distance; it is cut off there.
        Percentile = "percentile",
    }
}

named_enum! {
    /// What a spike is brought back to.
    pub enum ZclipOption {
        /// The closer to the mean, the further out it was.
        AdaptiveScaling = "adaptive_scaling",
        /// The mean.
        Mean = "mean",
    }
}

/// The `[clipping.zclip]` table, validated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ZclipConfig {
    /// Share of the running mean and variance that a step leaves.
    pub alpha: f64,
    /// Standard deviations from the mean beyond which a norm is a spike.
    pub z_thresh: f64,
    /// The largest norm that passes in any case; infinity for any.
    pub max_grad_norm: f64,
    /// Steps that make the first mean and variance.
    pub warmup_steps: u64,
    /// What makes a norm a spike.
    pub mode: ZclipMode,
    /// What a spike is brought back to.
    pub clip_option: ZclipOption,
    /// Times what a spike is brought back to by adaptive scaling.
    pub clip_factor: f64,
    /// Whether a spike leaves the running mean and variance alone.
    pub skip_update_on_spike: bool,
}

/// The `[clipping.adagc]` table, validated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AdagcConfig {
    /// Share of the running norm that a step leaves.
    pub beta: f64,
    /// Total norm that passes during the warm-up.
    pub lambda_abs: f64,
    /// How far above its running norm a tensor's norm may be, as a factor.
    pub lambda_rel: f64,
    /// Steps during which the running norms are the smallest so far.
    pub warmup_steps: u64,
}

impl ClippingConfig {
    pub(super) fn read(mut table: Section<'_>) -> Self {
        let config = Self {
            mode: table.choice("mode").unwrap_or(ClippingMode::None),
            max_norm: table.number("max_norm", 1.0, &GRADIENT),
            norm_type: table.number("norm_type", 2.0, &NORM_TYPE),
            per_group: table.any("per_group", false),
            clip_value: table.number("clip_value", 1.0, &GRADIENT),
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

impl AgcConfig {
    fn read(mut table: Section<'_>) -> Self {
        let config = Self {
            clip_factor: table.number("clip_factor", 0.01, &FACTOR),
            eps: table.number("eps", 1e-3, &EPS),
            exclude: table.optional("exclude", |_: &Vec<String>| true, ""),
            compat: table.choice("compat").unwrap_or(AgcCompat::Paper),
        };
        table.finish();
        config
    }
}

impl AutoclipConfig {
    fn read(mut table: Section<'_>) -> Self {
        let config = Self {
            percentile: table.number("percentile", 10.0, &PERCENT),
            history: table.count("history", 1000, 1..=1 << 20),
        };
        table.finish();
        config
    }
}

impl ZclipConfig {
    fn read(mut table: Section<'_>) -> Self {
        let config = Self {
            alpha: table.number("alpha", 0.97, &BELOW_ONE),
            z_thresh: table.number("z_thresh", 2.5, &FACTOR),
            max_grad_norm: table.number("max_grad_norm", 1.0, &GRADIENT.or_infinity()),
            warmup_steps: table.count("warmup_steps", 25, FROM_ONE),
            mode: table.choice("mode").unwrap_or(ZclipMode::Zscore),
            clip_option: table.choice("clip_option").unwrap_or(ZclipOption::AdaptiveScaling),
            clip_factor: table.number("clip_factor", 1.0, &FACTOR),
            skip_update_on_spike: table.any("skip_update_on_spike", false),
        };
        table.finish();
        config
    }
}

impl AdagcConfig {
    fn read(mut table: Section<'_>) -> Self {
        let config = Self {
            beta: table.number("beta", 0.98, &BELOW_ONE),
            lambda_abs: table.number("lambda_abs", 1.0, &GRADIENT),
            lambda_rel: table.number("lambda_rel", 1.05, &FACTOR_FROM_ONE),
            warmup_steps: table.count("warmup_steps", 100, COUNT),
        };
        table.finish();
        config
    }
}
