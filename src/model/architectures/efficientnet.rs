//! EfficientNet (Tan and Le 2019), with the layout and names of torchvision.

use tch::{TchError, Tensor};

use crate::data::ImageShape;
use crate::model::{
    Model, ModelError, Pass,
    blocks::{ConvNormActivation, Gate, InvertedResidual, Layout, Squeeze, StochasticDepth, Trunk},
    layer::{Dropout, Linear, Window, round_channels},
    normalization::Normalization,
    parameter::Path,
};

/// Number of channels of B0's first convolution.
const STEM: i64 = 32;
/// B0, table 1: expansion ratio, kernel size, stride of the first block, channels, number of blocks.
const STAGES: [(i64, i64, i64, i64, usize); 7] = [
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
];

/// Width and depth relative to B0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    width: f64,
    depth: f64,
    has_small_momentum: bool,
}

impl Plan {
    /// Returns the plan of B0 to B7.
    pub(super) const fn b(number: usize) -> Self {
        const FACTORS: [(f64, f64); 8] =
            [(1.0, 1.0), (1.0, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8), (1.6, 2.2), (1.8, 2.6), (2.0, 3.1)];
        let (width, depth) = FACTORS[number];
        Self { width, depth, has_small_momentum: number >= 5 }
    }

    /// Number of channels of the first convolution, unless the config sets it.
    pub(super) fn default_width(self) -> i64 {
        round_channels(self.width * STEM as f64)
    }

    /// Applies torchvision's constants, which differ for B5 and larger.
    fn make(self) -> impl Fn(Normalization) -> Normalization + Copy {
        move |norm| if self.has_small_momentum { norm.with_eps(1e-3).with_momentum(0.01) } else { norm }
    }
}

/// `features.0` is the stem, `features.1` to `.7` are stages of blocks (`block`), and `features.8` is the last
/// convolution. Then global average pooling and `classifier.1`. All channels scale with the width.
#[derive(Debug)]
pub(super) struct EfficientNet {
    trunk: Trunk,
    classifier: Linear,
    dropout: Dropout,
}

impl EfficientNet {
    /// Creates a network with `width` channels in the stem, rounded to a multiple of 8 like all others.
    pub(super) fn new(
        root: &Path<'_>,
        input: ImageShape,
        plan: Plan,
        width: i64,
        classes: i64,
    ) -> Result<Self, ModelError> {
        let factor = if width == plan.default_width() { plan.width } else { width as f64 / STEM as f64 };
        let scaled = |channels: i64| round_channels(channels as f64 * factor);
        let repeats = |count: usize| (count as f64 * plan.depth).ceil() as usize;
        let (features, activation) = (root / "features", root.config().activation);
        let [channels, ..] = input.sizes();
        let mut inputs = scaled(STEM);
        let path = &features / 0;
        let stem = ConvNormActivation::new(&path, [channels, inputs], Window::three(2), activation, plan.make())?;
        let count = STAGES.iter().map(|(.., count)| repeats(*count)).sum();
        let mut blocks = Vec::new();
        for (stage, (widening, side, stride, outputs, depth)) in (1..).zip(STAGES) {
            for repeat in 0..repeats(depth) {
                let (outputs, stride) = (scaled(outputs), if repeat == 0 { stride } else { 1 });
                let squeeze = Squeeze { channels: (inputs / 4).max(1), activation, gate: Gate::Sigmoid };
                let channels = [inputs, round_channels((inputs * widening) as f64), outputs];
                let layout = Layout { channels, side, stride, squeeze: Some(squeeze), activation };
                let drop = StochasticDepth::of_block(root, blocks.len(), count);
                let path = &features / stage / repeat / "block";
                blocks.push(InvertedResidual::new(&path, &layout, false, plan.make(), drop)?);
                inputs = outputs;
            }
        }
        let path = &features / (STAGES.len() + 1);
        let last = ConvNormActivation::new(&path, [inputs, 4 * inputs], Window::one(1), activation, plan.make())?;
        let classifier = Linear::classifier(&(root / "classifier" / 1), 4 * inputs, classes)?;
        Ok(Self { trunk: Trunk { stem, blocks, last }, classifier, dropout: Dropout::new(root) })
    }
}

impl Model for EfficientNet {
    fn head(&self) -> &str {
        "classifier.1"
    }

    fn forward(&self, images: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let features = self.trunk.forward(images, pass)?;
        self.classifier.forward(&self.dropout.forward(&features, pass)?)
    }
}
