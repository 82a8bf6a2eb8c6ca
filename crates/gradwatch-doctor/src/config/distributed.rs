//! The `[distributed]` table: data-parallel training on several ranks.

use serde::Serialize;

use super::{names::named_enum, range::COUNT, reader::Section};

/// Seconds after which a rank counts as missing or hung.
const SECONDS: std::ops::RangeInclusive<u64> = 1..=86_400;

named_enum! {
    /// How the gradients of the ranks are summed.
    pub enum Reduction {
        /// All-reduce. The last bits of a sum depend on the number of ranks.
        Fast = "fast",
        /// In the order of the micro-batches: bit-equal for any number of ranks, at the cost of more communication if a
        /// rank has several micro-batches.
        Exact = "exact",
    }
}

/// The `[distributed]` table, validated. It has no effect on a run of one rank.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DistributedConfig {
    /// How the gradients of the ranks are summed.
    pub reduction: Reduction,
    /// Whether batch normalization uses the statistics of the micro-batches of all ranks.
    pub sync_batch_norm: bool,
    /// Optimizer steps between checks that all ranks have the same weights; 0 is off.
    pub check_weights_every_steps: u64,
    /// Seconds to wait at the start until all ranks have joined.
    pub start_timeout_seconds: u64,
    /// Seconds without a sign of life after which a rank counts as hung.
    pub hang_timeout_seconds: u64,
}

impl Default for DistributedConfig {
    fn default() -> Self {
        Self {
            reduction: Reduction::Fast,
            sync_batch_norm: false,
            check_weights_every_steps: 100,
            start_timeout_seconds: 300,
            hang_timeout_seconds: 45,
        }
    }
}

impl DistributedConfig {
    pub(super) fn read(mut table: Section<'_>) -> Self {
        let default = Self::default();
        let config = Self {
            reduction: table.choice("reduction", default.reduction),
            sync_batch_norm: table.any("sync_batch_norm", default.sync_batch_norm),
            check_weights_every_steps: table.count(
                "check_weights_every_steps",
                default.check_weights_every_steps,
                COUNT,
            ),
            start_timeout_seconds: table.count("start_timeout_seconds", default.start_timeout_seconds, SECONDS),
            hang_timeout_seconds: table.count("hang_timeout_seconds", default.hang_timeout_seconds, SECONDS),
        };
        table.finish();
        config
    }
}
