//! The `[model]` table: the architecture, and the settings that make its gradients vanish or explode.

use std::{fmt, path::PathBuf};

use serde::{Serialize, Serializer};

use super::{Architecture, Defaults, matches, names::named_enum};

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
    /// Weight initialization. Biases are zero except with `default` and `centred_logistic`.
    pub enum InitializationMethod {
        /// PyTorch's default for its layers: kaiming_uniform with a = sqrt(5), biases uniform in +-1/sqrt(fan_in).
        Default = "default",
        /// Glorot and Bengio 2010, uniform.
        XavierUniform = "xavier_uniform",
        /// Glorot and Bengio 2010, normal.
        XavierNormal = "xavier_normal",
        /// He et al. 2015, uniform.
        KaimingUniform = "kaiming_uniform",
        /// He et al. 2015, normal.
        KaimingNormal = "kaiming_normal",
        /// LeCun et al. 1998: variance 1 / fan_in, uniform.
        LecunUniform = "lecun_uniform",
        /// LeCun et al. 1998: variance 1 / fan_in, normal.
        LecunNormal = "lecun_normal",
        /// Saxe et al. 2014.
        Orthogonal = "orthogonal",
        /// Xiao et al. 2018: kernels are zero except for the center, which is orthogonal. Linear layers use
        /// `orthogonal`. A convolution with fewer outputs than inputs, which the paper does not cover, has orthogonal
        /// rows and does not preserve the norm.
        DeltaOrthogonal = "delta_orthogonal",
        /// As PyTorch's `eye_` and `dirac_`: output i is input i, or 0 if there is no such input.
        Identity = "identity",
        /// Yilmaz and Poli 2022, for sigmoid: normal with mean max(-1, -8 / fan_in) and standard deviation 0.1. The
        /// classifier uses `lecun_normal` because no sigmoid follows it.
        YilmazPoli = "yilmaz_poli",
        /// For sigmoid: normal with variance 16 / fan_in, and biases that cancel the mean of the inputs. This makes the
        /// network equivalent to a tanh network at the edge of chaos. The first layer and the classifier have variance
        /// 4 / fan_in. The bias of the first layer is computed from the first batches.
        CentredLogistic = "centred_logistic",
        /// Mishkin and Matas 2016: orthonormal, then each layer is scaled to output variance 1 on the first batches.
        Lsuv = "lsuv",
        /// Zhang et al. 2019, for residual networks without normalization, without the scalars. The last layer of each
        /// branch and the classifier are 0; other layers in branches are kaiming_normal times L^(-1 / (2 m - 2)), for L
        /// branches of m layers.
        Fixup = "fixup",
        /// Normal with `mean` and `std`.
        Normal = "normal",
        /// Sets every weight to `value`.
        Constant = "constant",
    }
}

named_enum! {
    /// Fan mode of a kaiming initialization.
    pub enum Fan {
        /// Inputs of a unit: preserves the variance in the forward pass.
        FanIn = "fan_in",
        /// Units that an input reaches: preserves the variance in the backward pass.
        FanOut = "fan_out",
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

/// The `[model.initialization]` table, validated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Initialization {
    /// Weight initialization method.
    pub method: InitializationMethod,
    /// Factor on the standard deviation for the xavier, kaiming, lecun, orthogonal, and fixup methods; `None` uses the
    /// gain that fits the activation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gain: Option<f64>,
    /// Fan mode of kaiming and fixup.
    pub fan: Fan,
    /// Mean of `normal`.
    pub mean: f64,
    /// Standard deviation of `normal`.
    pub std: f64,
    /// Value of `constant`.
    pub value: f64,
    /// Whether the gain of the last normalization of each residual branch starts at 0 (Goyal et al. 2017).
    pub zero_residual: bool,
    /// Whether each residual branch ends with a learned factor, `skip_gain`, that starts at 0 (De and Smith 2020).
    pub skip_init: bool,
}

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
            width: None,
            depth: None,
            initialization: Initialization {
                method: InitializationMethod::Default,
                gain: None,
                fan: Fan::FanIn,
                mean: 0.0,
                std: 0.01,
                value: 0.0,
                zero_residual: false,
                skip_init: false,
            },
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
