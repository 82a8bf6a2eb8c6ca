//! Building blocks shared by several architectures.

mod attention;
mod conv_norm;
mod inverted_residual;
mod same;
mod scaled_conv;
mod skip_gain;
mod squeeze_excitation;
mod stochastic_depth;
mod trunk;

pub use attention::Attention;
pub use conv_norm::{ConvNorm, ConvNormActivation};
pub use inverted_residual::{InvertedResidual, Layout, Squeeze};
pub use same::pad_same;
pub use scaled_conv::ScaledConv2d;
pub use skip_gain::SkipGain;
pub use squeeze_excitation::{Gate, SqueezeExcitation};
pub use stochastic_depth::StochasticDepth;
pub use trunk::Trunk;
