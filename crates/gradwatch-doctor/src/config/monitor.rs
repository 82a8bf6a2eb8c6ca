//! The `[monitor]` table: measured statistics and their intervals.

use serde::Serialize;

use super::{names::named_enum, range::COUNT, reader::Section};

named_enum! {
    /// Monitoring level.
    pub enum MonitorPreset {
        /// No hooks; only the loss and the total gradient norm.
        Off = "off",
        /// Norm of each gradient at every tracked step, everything else at its interval.
        Light = "light",
        /// Distribution of each gradient at every tracked step.
        Full = "full",
    }
}

named_enum! {
    /// Implementation of statistics and clipping on a GPU.
    pub enum Kernels {
        /// gradwatch's own kernels, compiled for the GPU at run time; libtorch operations if that fails.
        Auto = "auto",
        /// libtorch operations.
        Aten = "aten",
    }
}

/// The `[monitor]` table, validated. Intervals are in optimizer steps; 0 is never.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MonitorConfig {
    /// Monitoring level; sets the defaults of the other keys.
    pub preset: MonitorPreset,
    /// Number of initial steps to measure in full.
    pub first_steps: u64,
    /// Interval of the loss and gradient norms. The other intervals add tracked steps. Each tracked step costs one
    /// device sync.
    pub every_steps: u64,
    /// Interval of per-parameter scalars in TensorBoard.
    pub parameters_every_steps: u64,
    /// Interval of histograms in TensorBoard.
    pub histograms_every_steps: u64,
    /// Interval of layer statistics: activations, dLoss/dz, the depth profile.
    pub layers_every_steps: u64,
    /// Interval of weight and update statistics.
    pub weights_every_steps: u64,
    /// Interval of pictures in TensorBoard.
    pub pictures_every_steps: u64,
    /// Interval of gradient noise scale estimates. Without micro-batches, each costs an extra forward and backward
    /// pass.
    pub noise_scale_every_steps: u64,
    /// Whether to compare each gradient with that of the previous step. Keeps a copy of the gradients.
    pub previous_cosine: bool,
    /// Tracked steps to keep in memory. They are written to a file if the run dies.
    pub recent_steps: usize,
    /// Implementation of statistics and clipping on a GPU. The CPU has only one.
    pub kernels: Kernels,
}

impl Default for MonitorConfig {
    fn default() -> Self {
        Self::new(MonitorPreset::Full)
    }
}

impl MonitorConfig {
    /// Defaults of a preset.
    pub fn new(preset: MonitorPreset) -> Self {
        let full = Self {
            preset,
            first_steps: 10,
            every_steps: 1,
            parameters_every_steps: 10,
            histograms_every_steps: 100,
            layers_every_steps: 25,
            weights_every_steps: 25,
            pictures_every_steps: 500,
            noise_scale_every_steps: 0,
            previous_cosine: false,
            recent_steps: 32,
            kernels: Kernels::Auto,
        };
        match preset {
            MonitorPreset::Off | MonitorPreset::Full => full,
            MonitorPreset::Light => Self {
                first_steps: 3,
                parameters_every_steps: 50,
                histograms_every_steps: 500,
                layers_every_steps: 100,
                weights_every_steps: 100,
                pictures_every_steps: 1000,
                ..full
            },
        }
    }

    pub(super) fn read(mut table: Section<'_>) -> Self {
        let default = Self::new(table.choice("preset", Self::default().preset));
        let mut steps = |key, default| table.count(key, default, COUNT);
        let config = Self {
            preset: default.preset,
            first_steps: steps("first_steps", default.first_steps),
            every_steps: steps("every_steps", default.every_steps),
            parameters_every_steps: steps("parameters_every_steps", default.parameters_every_steps),
            histograms_every_steps: steps("histograms_every_steps", default.histograms_every_steps),
            layers_every_steps: steps("layers_every_steps", default.layers_every_steps),
            weights_every_steps: steps("weights_every_steps", default.weights_every_steps),
            pictures_every_steps: steps("pictures_every_steps", default.pictures_every_steps),
            noise_scale_every_steps: steps("noise_scale_every_steps", default.noise_scale_every_steps),
            previous_cosine: table.any("previous_cosine", default.previous_cosine),
            recent_steps: table.count("recent_steps", default.recent_steps, 0..=1000),
            kernels: table.choice("kernels", default.kernels),
        };
        table.finish();
        config
    }
}
