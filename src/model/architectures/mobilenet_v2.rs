//! MobileNetV2 (Sandler et al. 2018), with the layout and names of torchvision.

use tch::{TchError, Tensor};

use crate::data::ImageShape;
use crate::model::{
    Model, ModelError, Pass,
    blocks::{ConvNormActivation, InvertedResidual, Layout, StochasticDepth, Trunk},
    layer::{Dropout, Linear, Window, round_channels},
    parameter::Path,
};

/// Number of channels of the first convolution in the paper.
pub(super) const DEFAULT_WIDTH: i64 = 32;
/// The paper's table 2: expansion ratio, channels, number of blocks, stride of the first block.
const STAGES: [(i64, i64, usize, i64); 7] =
    [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];
/// Minimum number of channels of the last convolution.
const LAST: i64 = 1280;

/// `features.0` is the stem, `features.1` to `.17` are blocks (`conv`), and `features.18` is the last convolution. Then
/// global average pooling and `classifier.1`. All channels scale with the width, but the last ones never drop below
/// 1280.
#[derive(Debug)]
pub(super) struct MobileNetV2 {
    trunk: Trunk,
    classifier: Linear,
    dropout: Dropout,
}

impl MobileNetV2 {
    /// Creates a network with `width` channels in the stem, rounded to a multiple of 8 like all others.
    pub(super) fn new(root: &Path<'_>, input: ImageShape, width: i64, classes: i64) -> Result<Self, ModelError> {
        let factor = width as f64 / DEFAULT_WIDTH as f64;
        let scaled = |channels: i64| round_channels(channels as f64 * factor);
        let (features, activation) = (root / "features", root.config().activation);
        let [channels, ..] = input.sizes();
        let mut inputs = scaled(DEFAULT_WIDTH);
        let window = Window::three(2);
        let stem = ConvNormActivation::new(&(&features / 0), [channels, inputs], window, activation, |norm| norm)?;
        let count = STAGES.iter().map(|(_, _, count, _)| count).sum();
        let mut blocks = Vec::new();
        for (widening, outputs, repeats, stride) in STAGES {
            for repeat in 0..repeats {
                let (outputs, stride) = (scaled(outputs), if repeat == 0 { stride } else { 1 });
                let channels = [inputs, widening * inputs, outputs];
                let layout = Layout { channels, side: 3, stride, squeeze: None, activation };
                let drop = StochasticDepth::of_block(root, blocks.len(), count);
                let path = &features / (blocks.len() + 1) / "conv";
                blocks.push(InvertedResidual::new(&path, &layout, true, |norm| norm, drop)?);
                inputs = outputs;
            }
        }
        let outputs = round_channels(LAST as f64 * factor.max(1.0));
        let path = &features / (count + 1);
        let last = ConvNormActivation::new(&path, [inputs, outputs], Window::one(1), activation, |norm| norm)?;
        let classifier = Linear::classifier(&(root / "classifier" / 1), outputs, classes)?;
        Ok(Self { trunk: Trunk { stem, blocks, last }, classifier, dropout: Dropout::new(root) })
    }
}

impl Model for MobileNetV2 {
    fn head(&self) -> &str {
        "classifier.1"
    }

    fn forward(&self, images: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let features = self.trunk.forward(images, pass)?;
        self.classifier.forward(&self.dropout.forward(&features, pass)?)
    }
}
