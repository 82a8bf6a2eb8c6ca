//! What the tables beside `[data]` and `[model]` say: the run, the optimization and what is watched.

use std::path::PathBuf;

use serde::Serialize;

use super::names::named_enum;

named_enum! {
    /// In which numbers the passes compute; weights and gradients are always float32.
    pub enum Precision {
        /// float32.
        Fp32 = "fp32",
        /// bfloat16 where libtorch's autocast holds that safe.
        Bf16 = "bf16",
        /// float16 there, with a scaled loss.
        Fp16 = "fp16",
    }
}

/// The `[run]` table, validated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunConfig {
    /// Folder in which the run's own folder is made.
    pub logdir: PathBuf,
    /// Every random draw of the run follows from it.
    pub seed: u64,
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// Threads of a CPU operation; 0 is one per core.
    pub threads: usize,
    /// In which numbers the passes compute.
    pub precision: Precision,
    /// Whether images and weights of convolutions lie in memory channel by channel of a pixel.
    pub channels_last: bool,
    /// CUDA: whether float32 products may be rounded to TF32.
    pub tf32: bool,
    /// CUDA: whether cuDNN tries which algorithm is fastest.
    pub cudnn_benchmark: bool,
    /// CUDA: whether cuDNN takes only algorithms that give the same result again.
    pub deterministic: bool,
    /// Passes over the training images after which the run ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_epochs: Option<u64>,
    /// Optimizer steps after which the run ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u64>,
    /// Minutes of wall time after which the run ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_minutes: Option<f64>,
}

named_enum! {
    /// How the loss weighs the classes.
    pub enum ClassBalance {
        /// Every image counts the same.
        None = "none",
        /// Every class counts the same: images / (classes * images of the class).
        Balanced = "balanced",
        /// As `class_weights` says.
        Given = "given",
    }
}

/// The `[loss]` table, validated. The loss is cross-entropy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LossConfig {
    /// Probability mass that is spread evenly over the classes.
    pub label_smoothing: f64,
    /// How the classes are weighed.
    pub class_balance: ClassBalance,
    /// One weight per class for `class_balance = "given"`; else empty.
    pub class_weights: Vec<f64>,
}

named_enum! {
    /// How closely a run is watched.
    pub enum MonitorPreset {
        /// No hooks; loss and total gradient norm alone.
        Off = "off",
        /// The norm of each gradient at every reading, all else now and then.
        Light = "light",
        /// Distributions of each gradient at every reading.
        Full = "full",
    }
}

named_enum! {
    /// What computes statistics and clips on a GPU.
    pub enum Kernels {
        /// Kernels of gradwatch's own, compiled for the GPU that is there; libtorch's operations where that fails.
        Auto = "auto",
        /// libtorch's operations.
        Aten = "aten",
    }
}

/// The `[monitor]` table, validated. Steps are optimizer steps; 0 is never.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MonitorConfig {
    /// How closely the run is watched; sets the defaults of the rest.
    pub preset: MonitorPreset,
    /// Steps at the beginning that are looked at in everything.
    pub first_steps: u64,
    /// Steps between two readings of loss and gradients, beside those that are due for what follows; each costs one wait for the
    /// device.
    pub every_steps: u64,
    /// Steps between two sets of per-parameter scalars in TensorBoard.
    pub parameters_every_steps: u64,
    /// Steps between two sets of histograms in TensorBoard.
    pub histograms_every_steps: u64,
    /// Steps between two looks at the layers: activations, dLoss/dz, the depth profile.
    pub layers_every_steps: u64,
    /// Steps between two looks at weights and updates.
    pub weights_every_steps: u64,
    /// Steps between two sets of pictures in TensorBoard.
    pub pictures_every_steps: u64,
    /// Steps between two estimates of the gradient noise scale; each costs a step where there are no micro-batches.
    pub noise_scale_every_steps: u64,
    /// Whether each gradient is compared with the one of the step before, which takes a copy of the gradients.
    pub previous_cosine: bool,
    /// Steps that are kept in memory, to be written when the run dies.
    pub recent_steps: usize,
    /// What computes statistics and clips on a GPU; the CPU has one way.
    pub kernels: Kernels,
}

named_enum! {
    /// The validation figure that tells the best weights.
    pub enum Metric {
        /// Share of right predictions; higher is better.
        Accuracy = "accuracy",
        /// Mean of the classes' F1; higher is better.
        F1 = "f1",
        /// Mean cross-entropy; lower is better.
        Loss = "loss",
        /// Mean of the classes' precision; higher is better.
        Precision = "precision",
        /// Mean of the classes' recall; higher is better.
        Recall = "recall",
        /// Share of images whose class is among the first five guesses; higher is better.
        Top5Accuracy = "top5_accuracy",
    }
}

impl Metric {
    /// Whether less of it is better.
    pub fn lower_is_better(self) -> bool {
        self == Self::Loss
    }
}

/// The `[evaluate]` table, validated. Where both `every_*` are 0, a run evaluates nothing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvaluateConfig {
    /// Epochs between two evaluations; 0 is off. Where either is on, the last step is followed by one too.
    pub every_epochs: u64,
    /// Steps between two evaluations, beside those of `every_epochs`; 0 is off.
    pub every_steps: u64,
    /// Images per batch of an evaluation; 0 is twice `data.batch_size`.
    pub batch_size: usize,
    /// The validation figure that tells the best weights and when to stop early.
    pub metric: Metric,
    /// Validation images of which Grad-CAM shows at each evaluation what speaks for the model's guess.
    pub explain_images: usize,
    /// Classes that they are of; all where there are none.
    pub explain_classes: Vec<String>,
}

impl EvaluateConfig {
    /// Whether the run looks at the validation images.
    pub fn is_on(&self) -> bool {
        self.every_epochs > 0 || self.every_steps > 0
    }
}

named_enum! {
    /// What becomes of a run that cannot write a checkpoint.
    pub enum OnError {
        /// It goes on, says so, and tells it again by its exit code.
        Continue = "continue",
        /// It ends.
        Stop = "stop",
    }
}

/// The `[checkpoint]` table, validated. Where all three `every_*` are 0, a run takes no checkpoints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckpointConfig {
    /// Epochs between two checkpoints; 0 is never.
    pub every_epochs: u64,
    /// Optimizer steps between two checkpoints; 0 is never.
    pub every_steps: u64,
    /// Minutes between two checkpoints; 0 is never.
    pub every_minutes: f64,
    /// The newest so many stay.
    pub keep_last: usize,
    /// The best so many stay, and are taken whenever an evaluation is among them.
    pub keep_best: usize,
    /// The validation figure that tells the best.
    pub metric: Metric,
    /// Every so many-th stays; 0 is none.
    pub keep_every: u64,
    /// What becomes of a run that cannot write one.
    pub on_error: OnError,
}

impl CheckpointConfig {
    /// Whether the run takes checkpoints.
    pub fn is_on(&self) -> bool {
        self.every_epochs > 0 || self.every_steps > 0 || self.every_minutes > 0.0
    }
}

/// The `[ema]` table, validated: an average of the weights, evaluated beside them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EmaConfig {
    /// Share of the average that a step leaves; 0 is no average.
    pub decay: f64,
    /// Whether the first steps leave less.
    pub warmup: bool,
}

/// The `[early_stopping]` table, validated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EarlyStoppingConfig {
    /// Evaluations without improvement after which the run ends; 0 is off.
    pub patience: u64,
    /// What counts as an improvement of `evaluate.metric`.
    pub min_delta: f64,
}
