//! The `[model]` table: the architecture, and the settings that make its gradients vanish or explode.

use std::{fmt, path::PathBuf};

use serde::{Serialize, Serializer};
use toml::{Table, Value};

use super::{
    Architecture, Defaults, Initialization, from_toml::Patterns, matches, names::named_enum, range::BELOW_ONE,
    reader::Section,
};

named_enum! {
    /// Activation function between layers.
    pub enum Activation {
        /// max(x, 0).
        Relu = "relu",
        /// min(max(x, 0), 6).
        Relu6 = "relu6",
        /// Slope 0.01 below zero.
        LeakyRelu = "leaky_relu",
        /// Clevert et al. 2016, alpha 1.
        Elu = "elu",
        /// Klambauer et al. 2017.
        Selu = "selu",
        /// Exact, with the error function.
        Gelu = "gelu",
        /// x * sigmoid(x), also called swish.
        Silu = "silu",
        /// x * tanh(softplus(x)).
        Mish = "mish",
        /// x * relu6(x + 3) / 6.
        Hardswish = "hardswish",
        /// Logistic function.
        Sigmoid = "sigmoid",
        /// Hyperbolic tangent.
        Tanh = "tanh",
        /// Clamp to -1..=1.
        Hardtanh = "hardtanh",
        /// ln(1 + exp(x)).
        Softplus = "softplus",
    }
}

named_enum! {
    /// Normalization layer.
    pub enum Normalization {
        /// No normalization layers.
        None = "none",
        /// Over batch and space, per channel.
        Batch = "batch",
        /// Over groups of channels and space, per image.
        Group = "group",
        /// Over all channels (and space), per image; in ConvNeXt and transformers, over the channels at each position.
        Layer = "layer",
        /// `batch`, times sigmoid(w m + b), with m the image's own mean of the channel (Liang et al. 2020).
        AttentionBatch = "attention_batch",
    }
}

/// Keys of `[model]` that define layers and weights.
const OF_OUR_LAYERS: [&str; 15] = [
    "activation",
    "normalization",
    "groups",
    "dropout",
    "stochastic_depth",
    "patch_size",
    "residual",
    "multi_skip",
    "width",
    "depth",
    "initialization",
    "weights",
    "weights_key",
    "weights_strict",
    "freeze_batch_norm_statistics",
];

/// The `[model]` table, validated. For `torchscript`, only name and path are used and serialized.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(remote = "Self")]
pub struct ModelConfig {
    /// Architecture.
    pub name: Architecture,
    /// File of `torchscript`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Activation function between layers.
    pub activation: Activation,
    /// Normalization layer.
    pub normalization: Normalization,
    /// Most groups with `normalization = "group"`; each layer uses the largest divisor of its channels up to this
    /// number. A group of vector elements has at least two.
    pub groups: usize,
    /// Dropout probability before the classifier (and between the layers of an MLP).
    pub dropout: f64,
    /// Probability of dropping the last block's branch for an image; it rises linearly from 0 at the first block. For
    /// residual networks whose blocks end without an activation.
    pub stochastic_depth: f64,
    /// Patch side of a transformer; `None` is 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_size: Option<usize>,
    /// Whether blocks add their input to their output. In MLP and CNN: around every two layers of equal shape.
    pub residual: bool,
    /// Whether each shortcut of an MLP or CNN also adds the input of the first one of its shape, so that the features of
    /// the first layer reach every block (Creus Castanyer et al. 2025).
    pub multi_skip: bool,
    /// Hidden units (MLP) or channels of the first stage (others); `None` is the architecture's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// Hidden layers (MLP) or convolutions (CNN); `None` is the architecture's default. Other names include the depth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// Weight initialization.
    pub initialization: Initialization,
    /// File of initial weights, instead of a random initialization.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Dotted key of the state dict in `weights`; `None` selects the one that fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights_key: Option<String>,
    /// Whether `weights` must match the model's layers exactly, except for a head with another number of classes.
    pub weights_strict: bool,
    /// Name patterns of batch normalization layers that use and keep their running statistics in training.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub freeze_batch_norm_statistics: Vec<String>,
}

/// A multilayer perceptron.
impl Default for ModelConfig {
    fn default() -> Self {
        Self::as_published(Architecture::Mlp)
    }
}

impl ModelConfig {
    /// The config with only a name: all other keys at their defaults.
    pub fn as_published(name: Architecture) -> Self {
        let Defaults { activation, normalization, residual } = name.defaults();
        Self {
            name,
            path: None,
            activation,
            normalization,
            groups: 8,
            dropout: 0.0,
            stochastic_depth: 0.0,
            patch_size: None,
            residual,
            multi_skip: false,
            width: None,
            depth: None,
            initialization: Initialization::as_published(name),
            weights: None,
            weights_key: None,
            weights_strict: true,
            freeze_batch_norm_statistics: Vec::new(),
        }
    }

    /// The config itself if gradwatch builds the layers; `None` if they come from a file and are unknown before it
    /// runs.
    pub fn known(&self) -> Option<&Self> {
        (self.name != Architecture::Torchscript).then_some(self)
    }

    /// Whether the batch normalization layer with this name keeps its running statistics. A pattern may match the layer
    /// (`bn1`) or its contents (`bn1.*`), so the patterns of a frozen group also work here.
    pub fn keeps_statistics(&self, layer: &str) -> bool {
        let is_meant = |pattern: &String| matches(pattern, layer) || matches(pattern, &format!("{layer}.running_mean"));
        self.freeze_batch_norm_statistics.iter().any(is_meant)
    }
}

impl ModelConfig {
    pub(super) fn read(mut table: Section<'_>) -> Self {
        let name = table.required_choice::<Architecture>("name");
        let is_file = name == Some(Architecture::Torchscript);
        if is_file {
            table.forbid(&OF_OUR_LAYERS, "a TorchScript file has its own layers and weights");
        } else {
            table.forbid(&["path"], "only model.name = \"torchscript\" loads a file");
        }
        let path = table.optional_path("path", "a path");
        if is_file && path.is_none() {
            table.missing("path", "the TorchScript file");
        }
        let short = |value: &Value| {
            let method = Value::String(value.as_str()?.to_owned());
            Some(Table::from_iter([("method".to_owned(), method)]))
        };
        let weights = table.optional_path("weights", "a path");
        if weights.is_none() && !is_file {
            table.forbid(&["weights_key"], "got a key without model.weights, want the weights file that has this key");
        }
        let default = name.map_or_else(Self::default, Self::as_published);
        let frozen = Patterns(default.freeze_batch_norm_statistics);
        let Patterns(frozen) = table.any("freeze_batch_norm_statistics", frozen);
        let config = Self {
            name: default.name,
            path,
            activation: table.choice("activation", default.activation),
            normalization: table.choice("normalization", default.normalization),
            groups: table.count("groups", default.groups, 1..=1 << 20),
            dropout: table.number("dropout", default.dropout, &BELOW_ONE),
            stochastic_depth: table.number("stochastic_depth", default.stochastic_depth, &BELOW_ONE),
            patch_size: table.optional_count("patch_size", 1..=1024),
            residual: table.any("residual", default.residual),
            multi_skip: table.any("multi_skip", default.multi_skip),
            width: table.optional_count("width", 1..=1 << 20),
            depth: table.optional_count("depth", 1..=10_000),
            initialization: Initialization::read(table.section_or("initialization", short), default.initialization),
            weights,
            weights_key: table.optional("weights_key", |key: &String| !key.is_empty(), "a key, such as model_ema"),
            weights_strict: table.any("weights_strict", default.weights_strict),
            freeze_batch_norm_statistics: frozen,
        };
        table.finish();
        config
    }
}

impl Serialize for ModelConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct OfFile<'a> {
            name: Architecture,
            path: &'a Option<PathBuf>,
        }
        match self.known() {
            Some(known) => Self::serialize(known, serializer),
            None => OfFile { name: self.name, path: &self.path }.serialize(serializer),
        }
    }
}

impl fmt::Display for ModelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, path, activation, normalization, initialization, weights, .. } = self;
        if let Some(path) = path {
            return write!(f, "{name} ({})", path.display());
        }
        write!(f, "{name} ({activation} activation, ")?;
        match normalization {
            Normalization::None => f.write_str("no normalization, ")?,
            normalization => write!(f, "{normalization} normalization, ")?,
        }
        match weights {
            Some(weights) => write!(f, "weights of {})", weights.display()),
            None => write!(f, "{} initialization)", initialization.method),
        }
    }
}
