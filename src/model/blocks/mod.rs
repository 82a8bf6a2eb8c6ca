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

pub(super) use attention::Attention;
pub(super) use conv_norm::{ConvNorm, ConvNormActivation};
pub(super) use inverted_residual::{InvertedResidual, Layout, Squeeze};
pub(super) use same::pad_same;
pub(super) use scaled_conv::ScaledConv2d;
pub(super) use skip_gain::SkipGain;
pub(super) use squeeze_excitation::{Gate, SqueezeExcitation};
pub(super) use stochastic_depth::StochasticDepth;
pub(super) use trunk::Trunk;
