//! A convolution with its normalization, and an activation behind them.

use tch::{TchError, Tensor};

use crate::{
    config::Activation,
    model::{
        ModelError, Pass,
        layer::{Conv2d, Window, lacks_normalization},
        normalization::Normalization,
        parameter::Path,
        tap::Activate,
    },
};

/// A convolution and its normalization.
#[derive(Debug)]
pub struct ConvNorm {
    conv: Conv2d,
    norm: Normalization,
}

impl ConvNorm {
    /// At two paths, where nothing follows but a sum; `make` gives the normalization its constants.
    pub fn projection(
        paths: [&Path<'_>; 2],
        channels: [i64; 2],
        window: Window,
        make: impl Fn(Normalization) -> Normalization,
    ) -> Result<Self, ModelError> {
        let conv = Conv2d::projection(paths[0], channels[0], channels[1], window)?;
        Ok(Self { conv, norm: make(Normalization::of_maps(paths[1], channels[1])?) })
    }

    /// Convolves and normalises.
    pub fn forward(&self, maps: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        self.norm.forward(&self.conv.forward(maps)?, pass)
    }
}

/// torchvision's `Conv2dNormActivation`: the convolution is `0`, its normalization `1`.
#[derive(Debug)]
pub struct ConvNormActivation {
    inner: ConvNorm,
    activate: Activate,
}

impl ConvNormActivation {
    /// With the activation that is given; `make` gives the normalization its constants.
    pub fn new(
        path: &Path<'_>,
        channels: [i64; 2],
        window: Window,
        activation: Activation,
        make: impl Fn(Normalization) -> Normalization,
    ) -> Result<Self, ModelError> {
        let conv = Conv2d::new(&(path / 0), channels, window, Some(activation), lacks_normalization(path))?;
        let norm = make(Normalization::of_maps(&(path / 1), channels[1])?);
        Ok(Self { inner: ConvNorm { conv, norm }, activate: Activate::with(&(path / 0), activation)? })
    }

    /// Convolves, normalises, activates.
    pub fn forward(&self, maps: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        self.activate.forward(&self.inner.forward(maps, pass)?, pass)
    }
}
