//! Common parts of the mobile networks: a stem, inverted residuals, a last convolution, and global average pooling.

use tch::{TchError, Tensor};

use super::{ConvNormActivation, InvertedResidual};
use crate::model::{Pass, layer::average};

/// All layers before the classifier.
#[derive(Debug)]
pub(crate) struct Trunk {
    /// The first convolution.
    pub stem: ConvNormActivation,
    /// The blocks in order.
    pub blocks: Vec<InvertedResidual>,
    /// The last convolution.
    pub last: ConvNormActivation,
}

impl Trunk {
    /// Computes features `[batch, channels]` from images.
    pub(crate) fn forward(&self, images: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let mut maps = self.stem.forward(images, pass)?;
        for block in &self.blocks {
            maps = block.forward(&maps, pass)?;
        }
        average(&pass.show_feature_maps(self.last.forward(&maps, pass)?)?)
    }
}
