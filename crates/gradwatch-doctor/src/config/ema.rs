//! The `[ema]` table: averaged weights.

use serde::Serialize;

use super::{range::BELOW_ONE, reader::Section};

/// The `[ema]` table, validated: an exponential moving average of the weights, evaluated next to the raw weights.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EmaConfig {
    /// Decay: the fraction of the average kept at each step; 0 is off.
    pub decay: f64,
    /// Whether early steps use a smaller decay.
    pub warmup: bool,
}

impl Default for EmaConfig {
    fn default() -> Self {
        Self { decay: 0.0, warmup: true }
    }
}

impl EmaConfig {
    pub(super) fn read(mut table: Section<'_>) -> Self {
        let default = Self::default();
        let config = Self {
            decay: table.number("decay", default.decay, &BELOW_ONE),
            warmup: table.any("warmup", default.warmup),
        };
        table.finish();
        config
    }
}
