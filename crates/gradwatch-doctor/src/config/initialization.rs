//! The `[model.initialization]` table, and the expected scales of initial weights.

use serde::Serialize;

use super::{
    Activation, Architecture, InitializationMethod as Method,
    names::named_enum,
    range::{GAIN, SPREAD, WEIGHT},
    reader::Section,
};

/// Mean of `yilmaz_poli` times `fan_in`; the mean is at least [`LEAST_MEAN`].
const YILMAZ_POLI_MEAN: f64 = -8.0;
const LEAST_MEAN: f64 = -1.0;

named_enum! {
    /// Weight initialization. Biases are zero except with `default` and `centered_logistic`.
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
        CenteredLogistic = "centered_logistic" | "centred_logistic",
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

impl Default for Initialization {
    fn default() -> Self {
        Self {
            method: InitializationMethod::Default,
            gain: None,
            fan: Fan::FanIn,
            mean: 0.0,
            std: 0.01,
            value: 0.0,
            zero_residual: false,
            skip_init: false,
        }
    }
}

impl Initialization {
    /// The initialization that an architecture needs, where torch's layer defaults do not train it: without normalization,
    /// they shrink the gradient of a VGG to a third at each layer. torchvision also draws its weights as He et al. 2015.
    pub(super) fn as_published(name: Architecture) -> Self {
        match name {
            Architecture::Vgg11 | Architecture::Vgg13 | Architecture::Vgg16 | Architecture::Vgg19 => {
                Self { method: Method::KaimingNormal, ..Self::default() }
            }
            _ => Self::default(),
        }
    }

    pub(super) fn read(mut table: Section<'_>, default: Self) -> Self {
        let config = Self {
            method: table.choice("method", default.method),
            gain: table.optional_number("gain", &GAIN),
            fan: table.choice("fan", default.fan),
            mean: table.number("mean", default.mean, &WEIGHT),
            std: table.number("std", default.std, &SPREAD),
            value: table.number("value", default.value, &WEIGHT),
            zero_residual: table.any("zero_residual", default.zero_residual),
            skip_init: table.any("skip_init", default.skip_init),
        };
        table.finish();
        config
    }

    /// Standard deviation of `yilmaz_poli`.
    pub const YILMAZ_POLI_STD: f64 = 0.1;
    /// Standard deviation of a hidden layer times the root of `fan_in` under `centered_logistic`. Because sigmoid(z) =
    /// (1 + tanh(z / 2)) / 2, a sigmoid net with centered biases computes the same function as a tanh net with weights
    /// W / 4, and W / 2 in its first and last layer. All weights of that net have variance 1 / fan_in, which is critical
    /// for tanh.
    pub const CENTERED_HIDDEN: f64 = 4.0;
    /// The same for the first and the last layer.
    pub const CENTERED_ENDS: f64 = 2.0;

    /// Mean of `yilmaz_poli` for a layer with `fan_in` inputs per unit.
    pub fn yilmaz_poli_mean(fan_in: f64) -> f64 {
        (YILMAZ_POLI_MEAN / fan_in).max(LEAST_MEAN)
    }

    /// Gain of a layer before `activation`; `None` stands for the classifier, whose output goes to the loss.
    ///
    /// A gain in the config applies to every layer. Without one, the gain is the activation's, 1 for the classifier,
    /// and 1 for the lecun methods, which are defined by a variance of 1 / fan_in. Methods without a gain ignore the
    /// config's.
    pub fn gain_before(&self, activation: Option<Activation>) -> f64 {
        let fitting = match self.method {
            Method::LecunUniform | Method::LecunNormal => 1.0,
            Method::Lsuv => return 1.0,
            Method::CenteredLogistic => {
                return if activation.is_some() { Self::CENTERED_HIDDEN } else { Self::CENTERED_ENDS };
            }
            _ => activation.map_or(1.0, Activation::gain),
        };
        self.gain.unwrap_or(fitting)
    }

    /// Mean square of a hidden layer's weights times `fan_in` under this method, within a factor of a few. `None` if it
    /// is not informative: the weights are fitted to data, shortcuts carry the signal, or most weights are 0.
    pub fn expected_scale(&self, fan_in: f64) -> Option<f64> {
        match self.method {
            Method::YilmazPoli => {
                Some(fan_in * (Self::yilmaz_poli_mean(fan_in).powi(2) + Self::YILMAZ_POLI_STD.powi(2)))
            }
            Method::CenteredLogistic => Some(Self::CENTERED_HIDDEN.powi(2)),
            Method::Lsuv | Method::Fixup | Method::DeltaOrthogonal | Method::Identity => None,
            _ => Some(1.0),
        }
    }

    /// Whether fitting to data changes the model.
    pub fn depends_on_data(&self) -> bool {
        matches!(self.method, Method::Lsuv | Method::CenteredLogistic)
    }

    /// The key in `model`, and its value, that makes residual branches contribute nothing initially.
    pub fn silencer(&self) -> Option<(&'static str, String)> {
        match self {
            Self { zero_residual: true, .. } => Some(("initialization.zero_residual", true.to_string())),
            Self { skip_init: true, .. } => Some(("initialization.skip_init", true.to_string())),
            Self { method: Method::Fixup, .. } => Some(("initialization.method", Method::Fixup.to_string())),
            _ => None,
        }
    }

    /// Whether residual branches contribute nothing initially, so that almost no gradient reaches their layers.
    pub fn has_silent_branches(&self) -> bool {
        self.silencer().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Fan;

    fn initialization(method: Method, fan: Fan) -> Initialization {
        Initialization { method, fan, mean: 0.25, std: 0.5, value: -0.75, ..Initialization::default() }
    }

    #[test]
    fn the_scale_that_is_expected_of_weights_is_that_of_the_formula() {
        let scale = |method, fan_in| initialization(method, Fan::FanIn).expected_scale(fan_in);
        assert_eq!(scale(Method::KaimingNormal, 64.0), Some(1.0));
        assert_eq!(scale(Method::CenteredLogistic, 64.0), Some(16.0));
        // 64 (1 / 64 + 1 / 100); 4 (1 + 1 / 100).
        assert!((scale(Method::YilmazPoli, 64.0).unwrap() - 1.64).abs() < 1e-12);
        assert!((scale(Method::YilmazPoli, 4.0).unwrap() - 4.04).abs() < 1e-12);
        assert_eq!(scale(Method::Lsuv, 64.0), None);
    }

    #[test]
    fn a_given_gain_holds_for_every_layer_and_a_fitting_one_for_those_before_an_activation() {
        let mut kaiming = initialization(Method::KaimingNormal, Fan::FanIn);
        assert_eq!(kaiming.gain_before(Some(Activation::Tanh)), 5.0 / 3.0);
        assert_eq!(kaiming.gain_before(None), 1.0);
        kaiming.gain = Some(0.1);
        assert_eq!(kaiming.gain_before(Some(Activation::Tanh)), 0.1);
        assert_eq!(kaiming.gain_before(None), 0.1);
        assert_eq!(initialization(Method::LecunNormal, Fan::FanIn).gain_before(Some(Activation::Relu)), 1.0);
        let centered = Initialization { gain: Some(0.1), ..initialization(Method::CenteredLogistic, Fan::FanIn) };
        assert_eq!(centered.gain_before(Some(Activation::Sigmoid)), 4.0);
        assert_eq!(centered.gain_before(None), 2.0);
    }
}
