//! MobileNetV3 (Howard et al. 2019), with the layout and names of torchvision.

use tch::{TchError, Tensor};

use crate::model::{
    Model, ModelError, Pass,
    blocks::{ConvNormActivation, Gate, InvertedResidual, Layout, Squeeze, StochasticDepth, Trunk},
    layer::{Dropout, Linear, Window, round_channels},
    normalization::Normalization,
    parameter::Path,
    tap::Activate,
};
use crate::{config::Activation, data::ImageShape};

/// Number of channels of the first convolution in the paper.
pub(super) const DEFAULT_WIDTH: i64 = 16;

/// Kernel size, expanded channels, output channels, squeeze-and-excitation, hardswish, stride.
type Row = (i64, i64, i64, bool, bool, i64);

/// The paper's table 1, and the number of units before the classifier.
pub(super) const LARGE: Plan = Plan {
    rows: &[
        (3, 16, 16, false, false, 1),
        (3, 64, 24, false, false, 2),
        (3, 72, 24, false, false, 1),
        (5, 72, 40, true, false, 2),
        (5, 120, 40, true, false, 1),
        (5, 120, 40, true, false, 1),
        (3, 240, 80, false, true, 2),
        (3, 200, 80, false, true, 1),
        (3, 184, 80, false, true, 1),
        (3, 184, 80, false, true, 1),
        (3, 480, 112, true, true, 1),
        (3, 672, 112, true, true, 1),
        (5, 672, 160, true, true, 2),
        (5, 960, 160, true, true, 1),
        (5, 960, 160, true, true, 1),
    ],
    units: 1280,
};

/// The paper's table 2, and the number of units before the classifier.
pub(super) const SMALL: Plan = Plan {
    rows: &[
        (3, 16, 16, true, false, 2),
        (3, 72, 24, false, false, 2),
        (3, 88, 24, false, false, 1),
        (5, 96, 40, true, true, 2),
        (5, 240, 40, true, true, 1),
        (5, 240, 40, true, true, 1),
        (5, 120, 48, true, true, 1),
        (5, 144, 48, true, true, 1),
        (5, 288, 96, true, true, 2),
        (5, 576, 96, true, true, 1),
        (5, 576, 96, true, true, 1),
    ],
    units: 1024,
};

/// One of the paper's two networks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    rows: &'static [Row],
    units: i64,
}

/// `features.0` is the stem, followed by blocks (`block`), the last convolution, global average pooling, `classifier.0`
/// with an activation, and `classifier.3`. All channels scale with the width.
///
/// If the activation is hardswish, the first blocks use ReLU, as in the paper. Any other activation applies to all
/// blocks.
#[derive(Debug)]
pub(super) struct MobileNetV3 {
    trunk: Trunk,
    hidden: Linear,
    activate: Activate,
    classifier: Linear,
    dropout: Dropout,
}

/// Applies torchvision's constants for this network.
fn make(norm: Normalization) -> Normalization {
    norm.with_eps(1e-3).with_momentum(0.01)
}

impl MobileNetV3 {
    /// Creates a network with `width` channels in the stem, rounded to a multiple of 8 like all others.
    pub(super) fn new(
        root: &Path<'_>,
        input: ImageShape,
        plan: Plan,
        width: i64,
        classes: i64,
    ) -> Result<Self, ModelError> {
        let factor = width as f64 / DEFAULT_WIDTH as f64;
        let scaled = |channels: i64| round_channels(channels as f64 * factor);
        let (features, late) = (root / "features", root.config().activation);
        let early = if late == Activation::Hardswish { Activation::Relu } else { late };
        let [channels, ..] = input.sizes();
        let mut inputs = scaled(DEFAULT_WIDTH);
        let stem = ConvNormActivation::new(&(&features / 0), [channels, inputs], Window::three(2), late, make)?;
        let mut blocks = Vec::new();
        for &(side, middle, outputs, is_squeezed, is_late, stride) in plan.rows {
            let (middle, outputs) = (scaled(middle), scaled(outputs));
            let squeezed = round_channels((middle / 4) as f64);
            let squeeze = Squeeze { channels: squeezed, activation: early, gate: Gate::Hardsigmoid };
            let squeeze = is_squeezed.then_some(squeeze);
            let activation = if is_late { late } else { early };
            let layout = Layout { channels: [inputs, middle, outputs], side, stride, squeeze, activation };
            let drop = StochasticDepth::of_block(root, blocks.len(), plan.rows.len());
            let path = &features / (blocks.len() + 1) / "block";
            blocks.push(InvertedResidual::new(&path, &layout, false, make, drop)?);
            inputs = outputs;
        }
        let path = &features / (plan.rows.len() + 1);
        let last = ConvNormActivation::new(&path, [inputs, 6 * inputs], Window::one(1), late, make)?;
        let (path, units) = (root / "classifier", scaled(plan.units));
        let hidden = Linear::hidden(&(&path / 0), 6 * inputs, units)?;
        let activate = Activate::behind(&(&path / 0))?;
        let classifier = Linear::classifier(&(&path / 3), units, classes)?;
        Ok(Self { trunk: Trunk { stem, blocks, last }, hidden, activate, classifier, dropout: Dropout::new(root) })
    }
}

impl Model for MobileNetV3 {
    fn head(&self) -> &str {
        "classifier.3"
    }

    fn forward(&self, images: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let features = self.trunk.forward(images, pass)?;
        let hidden = self.activate.forward(&self.hidden.forward(&features)?, pass)?;
        self.classifier.forward(&self.dropout.forward(&hidden, pass)?)
    }
}
