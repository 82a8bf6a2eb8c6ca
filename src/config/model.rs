//! What `[model]` says: the architecture, and the knobs that make its gradients vanish or explode.

use std::{fmt, path::PathBuf};

use serde::{Serialize, Serializer};

use super::names::named_enum;

named_enum! {
    /// The architectures that can be named in a config.
    pub enum Architecture {
        /// Fully connected layers of equal width.
        Mlp = "mlp",
        /// LeCun et al. 1998, with max pooling.
        Lenet5 = "lenet5",
        /// Plain 3x3 convolutions with a pooling every second block.
        Cnn = "cnn",
        /// Simonyan and Zisserman 2015, configuration A.
        Vgg11 = "vgg11",
        /// Configuration B.
        Vgg13 = "vgg13",
        /// Configuration D.
        Vgg16 = "vgg16",
        /// Configuration E.
        Vgg19 = "vgg19",
        /// He et al. 2016, section 4.2 (CIFAR), n = 1.
        Resnet8 = "resnet8",
        /// CIFAR, n = 3.
        Resnet20 = "resnet20",
        /// CIFAR, n = 5.
        Resnet32 = "resnet32",
        /// CIFAR, n = 7.
        Resnet44 = "resnet44",
        /// CIFAR, n = 9.
        Resnet56 = "resnet56",
        /// CIFAR, n = 18.
        Resnet110 = "resnet110",
        /// He et al. 2016, table 1 (ImageNet), basic blocks.
        Resnet18 = "resnet18",
        /// Basic blocks.
        Resnet34 = "resnet34",
        /// Bottleneck blocks.
        Resnet50 = "resnet50",
        /// Bottleneck blocks.
        Resnet101 = "resnet101",
        /// Bottleneck blocks.
        Resnet152 = "resnet152",
        /// Whatever a file holds.
        Torchscript = "torchscript",
    }
}

named_enum! {
    /// The function between layers.
    pub enum Activation {
        /// max(x, 0).
        Relu = "relu",
        /// Slope 0.01 below zero.
        LeakyRelu = "leaky_relu",
        /// Clevert et al. 2016, alpha 1.
        Elu = "elu",
        /// Klambauer et al. 2017.
        Selu = "selu",
        /// Exact, by the error function.
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
    /// How weights are drawn. Biases are zero except under `default`.
    pub enum InitializationMethod {
        /// What torch's own layers do: kaiming_uniform with a = sqrt(5), biases uniform in +-1/sqrt(fan_in).
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
        /// Normal with `mean` and `std`.
        Normal = "normal",
        /// Every weight is `value`.
        Constant = "constant",
    }
}

named_enum! {
    /// The side whose variance a kaiming initialization keeps.
    pub enum Fan {
        /// Inputs of a unit: keeps the forward pass.
        FanIn = "fan_in",
        /// Outputs that an input reaches: keeps the backward pass.
        FanOut = "fan_out",
    }
}

named_enum! {
    /// The layer that normalises activations.
    pub enum Normalization {
        /// No normalisation layers.
        None = "none",
        /// Over batch and space, per channel.
        Batch = "batch",
        /// Over groups of channels and space, per image.
        Group = "group",
        /// Over all channels (and space), per image.
        Layer = "layer",
    }
}

/// The `[model.initialization]` table, validated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Initialization {
    /// How weights are drawn.
    pub method: InitializationMethod,
    /// Factor on the standard deviation of xavier, kaiming, lecun and orthogonal; `None` is what fits the activation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gain: Option<f64>,
    /// Fan of kaiming.
    pub fan: Fan,
    /// Mean of `normal`.
    pub mean: f64,
    /// Standard deviation of `normal`.
    pub std: f64,
    /// Value of `constant`.
    pub value: f64,
}

/// The `[model]` table, validated. Of `torchscript`, name and path are all that counts, and all that is serialised.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(remote = "Self")]
pub struct ModelConfig {
    /// The architecture.
    pub name: Architecture,
    /// The file of `torchscript`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The function between layers.
    pub activation: Activation,
    /// The layer that normalises activations.
    pub normalization: Normalization,
    /// Groups of `normalization = "group"`; a layer with fewer channels uses one group per channel.
    pub groups: usize,
    /// Probability with which dropout zeroes a unit before the classifier (and between the layers of an MLP).
    pub dropout: f64,
    /// Whether blocks add their input to their output. For MLP and CNN: around every second layer of equal shape.
    pub residual: bool,
    /// Units of a hidden layer (MLP), channels of the first stage (others); `None` is the architecture's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// Hidden layers (MLP) or convolutions (CNN); `None` is the architecture's own. Others have it in their name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// How weights are drawn.
    pub initialization: Initialization,
}

impl ModelConfig {
    /// Itself where the layers are our own; `None` where a file has them, of which nothing is known before it runs.
    pub fn known(&self) -> Option<&Self> {
        (self.name != Architecture::Torchscript).then_some(self)
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
        let Self { name, path, activation, normalization, initialization, .. } = self;
        match path {
            Some(path) => write!(f, "{name} ({})", path.display()),
            None => write!(
                f,
                "{name} ({activation} activation, {normalization} normalization, {} initialization)",
                initialization.method
            ),
        }
    }
}
