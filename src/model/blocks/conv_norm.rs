//! A convolution with its normalization, and optionally an activation.

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
pub(crate) struct ConvNorm {
    conv: Conv2d,
    norm: Normalization,
}

impl ConvNorm {
    /// Creates the layers at two paths, without an activation. `make` sets the constants of the normalization.
    pub(crate) fn projection(
        paths: [&Path<'_>; 2],
        channels: [i64; 2],
        window: Window,
        make: impl Fn(Normalization) -> Normalization,
    ) -> Result<Self, ModelError> {
        let conv = Conv2d::projection(paths[0], channels[0], channels[1], window)?;
        Ok(Self { conv, norm: make(Normalization::of_maps(paths[1], channels[1])?) })
    }

    /// Applies the convolution and the normalization.
    pub(crate) fn forward(&self, maps: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        self.norm.forward(&self.conv.forward(maps)?, pass)
    }
}

/// torchvision's `Conv2dNormActivation`, in which the convolution is named `0` and its normalization `1`.
#[derive(Debug)]
pub(crate) struct ConvNormActivation {
    inner: ConvNorm,
    activate: Activate,
}

impl ConvNormActivation {
    /// Creates the layers with the given activation. `make` sets the constants of the normalization.
    pub(crate) fn new(
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

    /// Applies the convolution, the normalization, and the activation.
    pub(crate) fn forward(&self, maps: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        self.activate.forward(&self.inner.forward(maps, pass)?, pass)
    }
}
