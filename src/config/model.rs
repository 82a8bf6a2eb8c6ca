//! What `[model]` says: the architecture, and the knobs that make its gradients vanish or explode.

use std::{fmt, path::PathBuf};

use serde::{Serialize, Serializer};

use super::{Architecture, Defaults, matches, names::named_enum};

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
    /// The keys, with dots between them, that lead to the state dict in `weights`; `None` is the one that fits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights_key: Option<String>,
    /// Whether `weights` must have all of the model and no more of its layers, but for a head of another number of classes.
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
            weights_key: None,
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
