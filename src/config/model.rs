//! What `[model]` says: the architecture, and the knobs that make its gradients vanish or explode.

use std::{fmt, path::PathBuf};

use serde::{Serialize, Serializer};

use super::{matches, names::named_enum};

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
        /// Sandler et al. 2018.
        MobilenetV2 = "mobilenet_v2",
        /// Howard et al. 2019, table 2.
        MobilenetV3Small = "mobilenet_v3_small",
        /// Table 1.
        MobilenetV3Large = "mobilenet_v3_large",
        /// Tan and Le 2019, the smallest.
        EfficientnetB0 = "efficientnet_b0",
        /// Scaled up.
        EfficientnetB1 = "efficientnet_b1",
        /// Scaled up.
        EfficientnetB2 = "efficientnet_b2",
        /// Scaled up.
        EfficientnetB3 = "efficientnet_b3",
        /// Scaled up.
        EfficientnetB4 = "efficientnet_b4",
        /// Scaled up.
        EfficientnetB5 = "efficientnet_b5",
        /// Scaled up.
        EfficientnetB6 = "efficientnet_b6",
        /// Scaled up.
        EfficientnetB7 = "efficientnet_b7",
        /// Huang et al. 2017, table 1.
        Densenet121 = "densenet121",
        /// The widest: 96 channels, 48 a layer.
        Densenet161 = "densenet161",
        /// Deeper.
        Densenet169 = "densenet169",
        /// Deeper still.
        Densenet201 = "densenet201",
        /// Liu et al. 2022.
        ConvnextTiny = "convnext_tiny",
        /// Deeper.
        ConvnextSmall = "convnext_small",
        /// Wider.
        ConvnextBase = "convnext_base",
        /// Wider still.
        ConvnextLarge = "convnext_large",
        /// Dosovitskiy et al. 2021, 192 numbers a token.
        VitTiny = "vit_tiny",
        /// 384 numbers a token.
        VitSmall = "vit_small",
        /// 768 numbers a token.
        VitBase = "vit_base",
        /// Touvron et al. 2021, with the token that learns from a teacher; 192 numbers a token.
        DeitTiny = "deit_tiny",
        /// 384 numbers a token.
        DeitSmall = "deit_small",
        /// 768 numbers a token.
        DeitBase = "deit_base",
        /// Brock et al. 2021, as timm has it.
        NfnetF0 = "nfnet_f0",
        /// Twice as deep.
        NfnetF1 = "nfnet_f1",
        /// Three times as deep.
        NfnetF2 = "nfnet_f2",
        /// As its authors wrote it.
        DmNfnetF0 = "dm_nfnet_f0",
        /// Twice as deep.
        DmNfnetF1 = "dm_nfnet_f1",
        /// Three times as deep.
        DmNfnetF2 = "dm_nfnet_f2",
        /// Zoph et al. 2018, 4 @ 1056.
        NasnetMobile = "nasnet_mobile",
        /// 6 @ 4032.
        NasnetLarge = "nasnet_large",
        /// 6 @ 768, for small images.
        NasnetCifar = "nasnet_cifar",
        /// Weights and inputs of one bit, in the CIFAR resnet of n = 3.
        BinaryResnet20 = "binary_resnet20",
        /// The same in the ImageNet resnet of basic blocks.
        BinaryResnet18 = "binary_resnet18",
        /// Whatever a file holds.
        Torchscript = "torchscript",
    }
}

/// What a config need not say because the architecture's authors did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    /// `model.activation`.
    pub activation: Activation,
    /// `model.normalization`.
    pub normalization: Normalization,
    /// `model.residual`.
    pub residual: bool,
}

impl Architecture {
    /// Channels, height and width of the images that it was made for.
    pub fn default_input(self) -> [usize; 3] {
        let square = |side| [3, side, side];
        match self {
            Self::Mlp | Self::Lenet5 => [1, 28, 28],
            Self::Cnn | Self::NasnetCifar | Self::BinaryResnet20 => square(32),
            Self::Resnet8 | Self::Resnet20 | Self::Resnet32 | Self::Resnet44 | Self::Resnet56 | Self::Resnet110 => {
                square(32)
            }
            Self::EfficientnetB1 => square(240),
            Self::EfficientnetB2 => square(288),
            Self::EfficientnetB3 => square(300),
            Self::EfficientnetB4 => square(380),
            Self::EfficientnetB5 => square(456),
            Self::EfficientnetB6 => square(528),
            Self::EfficientnetB7 => square(600),
            Self::NfnetF0 | Self::DmNfnetF0 => square(192),
            Self::NfnetF2 | Self::DmNfnetF2 => square(256),
            Self::NasnetLarge => square(331),
            _ => square(224),
        }
    }

    /// What its authors chose.
    pub fn defaults(self) -> Defaults {
        use Activation::{Gelu, Hardswish, Hardtanh, Relu, Relu6, Silu};
        let of = |activation, normalization, residual| Defaults { activation, normalization, residual };
        let (none, batch, layer) = (Normalization::None, Normalization::Batch, Normalization::Layer);
        match self.name().split(['_', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']).next() {
            Some("resnet") => of(Relu, batch, true),
            Some("mobilenet") if self == Self::MobilenetV2 => of(Relu6, batch, true),
            Some("mobilenet") => of(Hardswish, batch, true),
            Some("efficientnet") => of(Silu, batch, true),
            Some("densenet" | "nasnet") => of(Relu, batch, false),
            Some("convnext" | "vit" | "deit") => of(Gelu, layer, true),
            Some("nfnet" | "dm") => of(Gelu, none, true),
            Some("binary") => of(Hardtanh, batch, true),
            _ => of(Relu, none, false),
        }
    }
}

named_enum! {
    /// The function between layers.
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
    /// How weights are drawn. Biases are zero except under `default` and `centred_logistic`.
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
        /// Xiao et al. 2018: of a kernel only the centre is not 0, and that is orthogonal; linear layers as `orthogonal`. A
        /// convolution with fewer outputs than inputs, which the paper has none of, keeps no norm: its rows are orthogonal.
        DeltaOrthogonal = "delta_orthogonal",
        /// As torch's `eye_` and `dirac_`: output i is input i, and 0 where there is no such input.
        Identity = "identity",
        /// Yilmaz and Poli 2022, for sigmoid: normal with mean max(-1, -8 / fan_in) and standard deviation 0.1; the
        /// classifier, which no sigmoid follows, as `lecun_normal`.
        YilmazPoli = "yilmaz_poli",
        /// For sigmoid: normal with variance 16 / fan_in, and biases that take away what the mean of the inputs adds, which
        /// makes the net a tanh net at the edge of chaos. First layer and classifier have variance 4 / fan_in. The bias of the
        /// first layer is from the first batches.
        CentredLogistic = "centred_logistic",
        /// Mishkin and Matas 2016: orthonormal, then scaled layer by layer to outputs of variance 1 on the first batches.
        Lsuv = "lsuv",
        /// Zhang et al. 2019, for residual nets without normalization, without the scalars: the last layer of each branch and
        /// the classifier are 0, the others in branches kaiming_normal times L^(-1 / (2 m - 2)), for L branches of m layers.
        Fixup = "fixup",
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
        /// Over all channels (and space), per image; in ConvNeXt and transformers over the channels of each position.
        Layer = "layer",
        /// `batch`, times sigmoid(w m + b) of each image's own mean m of the channel (Liang et al. 2020).
        AttentionBatch = "attention_batch",
    }
}

/// The `[model.initialization]` table, validated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Initialization {
    /// How weights are drawn.
    pub method: InitializationMethod,
    /// Factor on the standard deviation of xavier, kaiming, lecun, the orthogonal ones and fixup; `None` is what fits the
    /// activation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gain: Option<f64>,
    /// Fan of kaiming and fixup.
    pub fan: Fan,
    /// Mean of `normal`.
    pub mean: f64,
    /// Standard deviation of `normal`.
    pub std: f64,
    /// Value of `constant`.
    pub value: f64,
    /// Whether the gain of the last normalization of each residual branch begins at 0 (Goyal et al. 2017).
    pub zero_residual: bool,
    /// Whether each residual branch ends with a factor that is learned and begins at 0, `skip_gain` (De and Smith 2020).
    pub skip_init: bool,
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
    /// Probability with which the branch of the last block is left out for an image; it rises in a straight line from 0 for the
    /// first. In residual nets of blocks that end without an activation.
    pub stochastic_depth: f64,
    /// Side of a patch of a transformer; `None` is 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_size: Option<usize>,
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
    /// The file of weights to start from, in place of those that were drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Whether every tensor of `weights` has to fit, but for a head of another number of classes.
    pub weights_strict: bool,
    /// Patterns of names: batch normalization that has one uses its running statistics in training too, and keeps them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub freeze_batch_norm_statistics: Vec<String>,
}

impl ModelConfig {
    /// What a config says that has nothing but a name.
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
            weights_strict: true,
            freeze_batch_norm_statistics: Vec::new(),
        }
    }

    /// Itself where the layers are our own; `None` where a file has them, of which nothing is known before it runs.
    pub fn known(&self) -> Option<&Self> {
        (self.name != Architecture::Torchscript).then_some(self)
    }

    /// Whether the batch normalization of this name keeps its running statistics. A pattern may name the layer (`bn1`) or what it
    /// holds (`bn1.*`), so that the patterns of a frozen group do here too.
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
        match (path, weights) {
            (Some(path), _) => write!(f, "{name} ({})", path.display()),
            (None, Some(weights)) => write!(
                f,
                "{name} ({activation} activation, {normalization} normalization, weights of {})",
                weights.display()
            ),
            (None, None) => write!(
                f,
                "{name} ({activation} activation, {normalization} normalization, {} initialization)",
                initialization.method
            ),
        }
    }
}
