//! The `[run]` table: log folder, seed, device, and end conditions.

use std::path::PathBuf;

use serde::Serialize;

use super::{
    names::named_enum,
    range::{FROM_ONE, MINUTES},
    reader::Section,
};

named_enum! {
    /// Number format of the forward and backward passes. Weights and gradients are always float32.
    pub enum Precision {
        /// float32.
        Fp32 = "fp32",
        /// bfloat16 for the operations that libtorch's autocast considers safe.
        Bf16 = "bf16",
        /// float16 for these operations, with loss scaling.
        Fp16 = "fp16",
    }
}

/// The `[run]` table, validated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunConfig {
    /// Folder that contains the run folders.
    pub logdir: PathBuf,
    /// Seed of all random numbers of the run.
    pub seed: u64,
    /// `auto`, `cpu`, `cuda`, or `cuda:N`.
    pub device: String,
    /// Threads per CPU operation; 0 is one per core.
    pub threads: usize,
    /// Number format of the forward and backward passes.
    pub precision: Precision,
    /// Whether to store images and convolution weights in channels-last memory format.
    pub channels_last: bool,
    /// CUDA: whether float32 products may use TF32.
    pub tf32: bool,
    /// CUDA: whether cuDNN benchmarks its algorithms and picks the fastest.
    pub cudnn_benchmark: bool,
    /// CUDA: whether to use only deterministic algorithms.
    pub deterministic: bool,
    /// Epochs after which the run ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_epochs: Option<u64>,
    /// Optimizer steps after which the run ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u64>,
    /// Minutes of wall-clock time after which the run ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_minutes: Option<f64>,
}

/// No end: a run also needs `max_epochs`, `max_steps`, or `max_minutes`.
impl Default for RunConfig {
    fn default() -> Self {
        Self {
            logdir: "logs".into(),
            seed: 42,
            device: "auto".into(),
            threads: 0,
            precision: Precision::Fp32,
            channels_last: false,
            tf32: false,
            cudnn_benchmark: false,
            deterministic: false,
            max_epochs: None,
            max_steps: None,
            max_minutes: None,
        }
    }
}

impl RunConfig {
    pub(super) fn read(mut table: Section<'_>) -> Self {
        // An invalid end is reported as such, not as a missing one.
        let has_end = table.has_any(&["max_epochs", "max_steps", "max_minutes"]);
        let default = Self::default();
        let config = Self {
            logdir: table.optional_path("logdir", "a folder").unwrap_or(default.logdir),
            seed: table.count("seed", default.seed, 0..=i64::MAX as u64),
            device: table.any("device", default.device),
            threads: table.count("threads", default.threads, 0..=1024),
            precision: table.choice("precision", default.precision),
            channels_last: table.any("channels_last", default.channels_last),
            tf32: table.any("tf32", default.tf32),
            cudnn_benchmark: table.any("cudnn_benchmark", default.cudnn_benchmark),
            deterministic: table.any("deterministic", default.deterministic),
            max_epochs: table.optional_count("max_epochs", FROM_ONE),
            max_steps: table.optional_count("max_steps", FROM_ONE),
            max_minutes: table.optional_number("max_minutes", &MINUTES),
        };
        if !has_end {
            table.missing("max_epochs", "max_epochs, max_steps, or max_minutes, so that the run ends");
        }
        table.finish();
        config
    }
}
