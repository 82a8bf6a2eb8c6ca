//! The tables of the run, optimization, and monitoring, other than `[data]` and `[model]`.

use std::path::PathBuf;

use serde::Serialize;

use super::names::named_enum;

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

named_enum! {
    /// Class weighting in the loss.
    pub enum ClassBalance {
        /// Each image counts the same.
        None = "none",
        /// Each class counts the same: images / (classes * images of the class).
        Balanced = "balanced",
        /// Uses `class_weights`.
        Given = "given",
    }
}

/// The `[loss]` table, validated. The loss is cross-entropy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LossConfig {
    /// Probability mass to spread evenly over the classes.
    pub label_smoothing: f64,
    /// Class weighting.
    pub class_balance: ClassBalance,
    /// One weight per class for `class_balance = "given"`; otherwise empty.
    pub class_weights: Vec<f64>,
}

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

named_enum! {
    /// Validation metric that selects the best weights.
    pub enum Metric {
        /// Fraction of correct predictions; higher is better.
        Accuracy = "accuracy",
        /// Mean F1 over the classes; higher is better.
        F1 = "f1",
        /// Mean cross-entropy; lower is better.
        Loss = "loss",
        /// Mean precision over the classes; higher is better.
        Precision = "precision",
        /// Mean recall over the classes; higher is better.
        Recall = "recall",
        /// Fraction of images whose class is among the top five predictions; higher is better.
        Top5Accuracy = "top5_accuracy",
    }
}

impl Metric {
    /// Whether a lower value is better.
    pub fn lower_is_better(self) -> bool {
        self == Self::Loss
    }
}

/// The `[evaluate]` table, validated. If both `every_*` are 0, the run evaluates nothing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvaluateConfig {
    /// Epochs between evaluations; 0 is off. If either interval is on, the last step is evaluated too.
    pub every_epochs: u64,
    /// Steps between evaluations, in addition to `every_epochs`; 0 is off.
    pub every_steps: u64,
    /// Batch size of evaluations; 0 is twice `data.batch_size`.
    pub batch_size: usize,
    /// Validation metric for the best weights and early stopping.
    pub metric: Metric,
    /// Number of validation images to explain with Grad-CAM at each evaluation.
    pub explain_images: usize,
    /// Classes of the images to explain; empty for all classes.
    pub explain_classes: Vec<String>,
}

impl EvaluateConfig {
    /// Whether the run evaluates validation images.
    pub fn is_on(&self) -> bool {
        self.every_epochs > 0 || self.every_steps > 0
    }
}

named_enum! {
    /// Handling of a failed checkpoint write.
    pub enum OnError {
        /// Continue, log the failure, and end with a nonzero exit code.
        Continue = "continue",
        /// End the run.
        Stop = "stop",
    }
}

/// The `[checkpoint]` table, validated. If all three `every_*` are 0, the run saves no checkpoints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckpointConfig {
    /// Epochs between checkpoints; 0 is off.
    pub every_epochs: u64,
    /// Optimizer steps between checkpoints; 0 is off.
    pub every_steps: u64,
    /// Minutes between checkpoints; 0 is off.
    pub every_minutes: f64,
    /// Number of newest checkpoints to keep.
    pub keep_last: usize,
    /// Number of best checkpoints to keep. An evaluation among the best triggers a checkpoint.
    pub keep_best: usize,
    /// Validation metric that ranks checkpoints.
    pub metric: Metric,
    /// Keep every N-th checkpoint; 0 is off.
    pub keep_every: u64,
    /// Handling of a failed checkpoint write.
    pub on_error: OnError,
}

impl CheckpointConfig {
    /// Whether the run saves checkpoints.
    pub fn is_on(&self) -> bool {
        self.every_epochs > 0 || self.every_steps > 0 || self.every_minutes > 0.0
    }
}

/// The `[ema]` table, validated: an exponential moving average of the weights, evaluated next to the raw weights.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EmaConfig {
    /// Decay: the fraction of the average kept at each step; 0 is off.
    pub decay: f64,
    /// Whether early steps use a smaller decay.
    pub warmup: bool,
}

/// The `[early_stopping]` table, validated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EarlyStoppingConfig {
    /// Evaluations without improvement after which the run ends; 0 is off.
    pub patience: u64,
    /// An evaluation must improve `evaluate.metric` by more than this to count as better.
    pub min_delta: f64,
}
