//! NFNet (Brock et al. 2021, arXiv:2102.06171): a network without normalization, for which adaptive gradient clipping
//! was developed. Has the layout and names of timm.

use tch::{Device, Kind, TchError, Tensor};

use crate::model::{
    Model, ModelError, Pass,
    blocks::{Gate, ScaledConv2d, SqueezeExcitation, StochasticDepth},
    layer::{Dropout, Linear, Window, average},
    parameter::Path,
    tap::Activate,
};
use crate::{config::Activation, data::ImageShape};

/// Number of channels of the first stage in the paper.
pub(super) const DEFAULT_WIDTH: i64 = 256;
/// Number of blocks per stage of F0; F1 has twice as many, and F2 three times as many.
const BLOCKS: [usize; 4] = [1, 2, 6, 3];
/// Number of channels per stage, as multiples of the first stage's.
const STAGES: [i64; 4] = [1, 2, 6, 6];
/// Factor of each block's branch.
const ALPHA: f64 = 0.2;
/// Compensates for the gate of squeeze-and-excitation.
const ATTENTION_GAIN: f64 = 2.0;
/// Group size of the 3x3 convolutions at the paper's width, in channels.
const GROUP: i64 = 128;

/// One of the networks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Multiple of F0's number of blocks.
    pub times: usize,
    /// The authors' original variant: padding as in TensorFlow, the activation's scale after the activation, and a
    /// learned scalar on each branch that starts at 0 (SkipInit).
    pub is_original: bool,
}

/// Constants shared by all layers.
#[derive(Debug, Clone, Copy)]
struct Constants {
    is_original: bool,
    /// 1 / sqrt(Var f(z)) of the activation f.
    gamma: f64,
}

impl Constants {
    fn conv(self, path: &Path<'_>, channels: [i64; 2], window: Window) -> Result<ScaledConv2d, ModelError> {
        let scale = if self.is_original { 1.0 } else { self.gamma };
        ScaledConv2d::new(path, channels, window, scale, self.is_original)
    }

    fn activate(self, activate: &Activate, maps: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let maps = activate.forward(maps, pass)?;
        if self.is_original { maps.f_mul_scalar(self.gamma) } else { Ok(maps) }
    }
}

/// `stem.conv1` to `4`, `stages.0` to `.3`, `final_conv`, global average pooling, `head.fc`. All channels scale with
/// the width.
#[derive(Debug)]
pub(super) struct NfNet {
    constants: Constants,
    stem: Vec<(ScaledConv2d, Option<Activate>)>,
    blocks: Vec<Block>,
    last: ScaledConv2d,
    activate: Activate,
    classifier: Linear,
    dropout: Dropout,
}

impl NfNet {
    /// Creates a network with `width` channels in the first stage, a multiple of 16.
    pub(super) fn new(
        root: &Path<'_>,
        input: ImageShape,
        plan: Plan,
        width: i64,
        classes: i64,
    ) -> Result<Self, ModelError> {
        let Plan { times, is_original } = plan;
        let constants = Constants { is_original, gamma: gamma(root.config().activation) };
        let [mut inputs, ..] = input.sizes();
        let mut stem = Vec::new();
        for (index, (parts, stride)) in (1..).zip([(16, 2), (8, 1), (4, 1), (2, 2)]) {
            let path = root / "stem" / format!("conv{index}");
            let conv = constants.conv(&path, [inputs, width / parts], Window::three(stride))?;
            stem.push((conv, if index < 4 { Some(Activate::behind(&path)?) } else { None }));
            inputs = width / parts;
        }
        let count = BLOCKS.iter().sum::<usize>() * times;
        let (mut blocks, mut variance, mut before) = (Vec::new(), 1.0_f64, root / "stem" / "conv4");
        for (stage, (depth, multiple)) in BLOCKS.into_iter().zip(STAGES).enumerate() {
            for index in 0..depth * times {
                let path = root / "stages" / stage / index;
                let place = Place {
                    channels: [inputs, multiple * width],
                    stride: if stage > 0 && index == 0 { 2 } else { 1 },
                    group: (GROUP * width / DEFAULT_WIDTH).max(1),
                    beta: variance.sqrt().recip(),
                    drop: StochasticDepth::of_block(root, blocks.len(), count),
                };
                blocks.push(Block::new(&path, constants, place, &before)?);
                variance = if index == 0 { 1.0 } else { variance } + ALPHA * ALPHA;
                (inputs, before) = (multiple * width, path / "conv3");
            }
        }
        let path = root / "final_conv";
        let last = constants.conv(&path, [inputs, 2 * inputs], Window::one(1))?;
        let classifier = Linear::classifier(&(root / "head" / "fc"), 2 * inputs, classes)?;
        let (activate, dropout) = (Activate::behind(&path)?, Dropout::new(root));
        Ok(Self { constants, stem, blocks, last, activate, classifier, dropout })
    }
}

impl Model for NfNet {
    fn head(&self) -> &str {
        "head.fc"
    }

    fn forward(&self, images: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let mut maps = images.shallow_clone();
        for (conv, activate) in &self.stem {
            maps = conv.forward(&maps)?;
            if let Some(activate) = activate {
                maps = self.constants.activate(activate, &maps, pass)?;
            }
        }
        for block in &self.blocks {
            maps = block.forward(&maps, pass)?;
        }
        let maps = self.constants.activate(&self.activate, &self.last.forward(&maps)?, pass)?;
        let features = average(&pass.show_feature_maps(maps)?)?;
        self.classifier.forward(&self.dropout.forward(&features, pass)?)
    }
}

/// Position-dependent settings of a block.
struct Place {
    channels: [i64; 2],
    stride: i64,
    group: i64,
    /// Inverse of the initial standard deviation of the block's input.
    beta: f64,
    drop: StochasticDepth,
}

/// Activation, then 1x1, 3x3, 3x3, and 1x1 convolutions, squeeze-and-excitation, and addition of the input.
#[derive(Debug)]
struct Block {
    constants: Constants,
    skip_gain: Option<Tensor>,
    shortcut: Option<(ScaledConv2d, i64)>,
    activate: Activate,
    layers: Vec<(ScaledConv2d, Activate)>,
    last: ScaledConv2d,
    squeeze: SqueezeExcitation,
    beta: f64,
    drop: StochasticDepth,
}

impl Block {
    fn new(path: &Path<'_>, constants: Constants, place: Place, before: &Path<'_>) -> Result<Self, ModelError> {
        let Place { channels: [inputs, outputs], stride, group, beta, drop } = place;
        let zero = || Tensor::f_zeros([0_i64; 0], (Kind::Float, Device::Cpu));
        let skip_gain = if constants.is_original { Some(path.parameter("skipinit_gain", &zero()?)?) } else { None };
        let has_shortcut = inputs != outputs || stride != 1;
        let conv = |name: &str, channels, window| constants.conv(&(path / name), channels, window);
        let shortcut = match has_shortcut {
            true => Some((conv("downsample.conv", [inputs, outputs], Window::one(1))?, stride)),
            false => None,
        };
        let middle = (outputs / 2).max(1);
        let groups = (middle / group).max(1);
        let middle = (middle / groups) * groups;
        let three = |stride| Window::three(stride).grouped(groups);
        let mut layers = Vec::new();
        for (name, channels, window) in [
            ("conv1", [inputs, middle], Window::one(1)),
            ("conv2", [middle; 2], three(stride)),
            ("conv2b", [middle; 2], three(1)),
        ] {
            layers.push((conv(name, channels, window)?, Activate::behind(&(path / name))?));
        }
        let last = conv("conv3", [middle, outputs], Window::one(1))?;
        let squeezed = crate::model::layer::round_channels(outputs as f64 / 2.0);
        let squeeze =
            SqueezeExcitation::new(&(path / "attn_last"), outputs, squeezed, Activation::Relu, Gate::Sigmoid)?;
        let activate = Activate::behind(before)?;
        Ok(Self { constants, skip_gain, shortcut, activate, layers, last, squeeze, beta, drop })
    }

    fn forward(&self, images: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let mut maps = self.constants.activate(&self.activate, images, pass)?.f_mul_scalar(self.beta)?;
        let shortcut = match &self.shortcut {
            None => images.shallow_clone(),
            Some((conv, 1)) => conv.forward(&maps)?,
            Some((conv, stride)) => {
                conv.forward(&maps.f_avg_pool2d([2, 2], [*stride; 2], [0, 0], true, false, None)?)?
            }
        };
        for (conv, activate) in &self.layers {
            maps = self.constants.activate(activate, &conv.forward(&maps)?, pass)?;
        }
        maps = self.squeeze.forward(&self.last.forward(&maps)?)?.f_mul_scalar(ATTENTION_GAIN)?;
        maps = self.drop.forward(maps, pass)?;
        if let Some(gain) = &self.skip_gain {
            maps = maps.f_mul(gain)?;
        }
        maps.f_mul_scalar(ALPHA)?.f_add(&shortcut)
    }
}

/// 1 / sqrt(Var f(z)) for normal z. If the authors published a number (sampled, accurate to three digits), this is
/// theirs. The others come from quadrature.
fn gamma(activation: Activation) -> f64 {
    match activation {
        Activation::Relu => 1.713_958_859_443_664_6,
        Activation::Relu6 => 1.713_148_474_693_298_3,
        Activation::LeakyRelu => 1.705_903_410_911_56,
        Activation::Elu => 1.271_600_484_848_022_5,
        Activation::Selu => 1.000_851_511_952_561_2,
        Activation::Gelu => 1.701_504_349_708_557_1,
        Activation::Silu => 1.788_129_329_681_396_5,
        Activation::Sigmoid => 4.803_835_391_998_291,
        Activation::Tanh => 1.593_911_767_005_920_4,
        Activation::Softplus => 1.920_332_312_583_923_3,
        Activation::Mish => 1.592_025_381_099_446,
        Activation::Hardswish => 1.813_871_470_873_446,
        Activation::Hardtanh => 1.392_036_031_664_797,
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use super::*;

    /// Computes gamma by the trapezoidal rule on -12..=12 with step 1e-3.
    fn by_quadrature(activation: Activation) -> f64 {
        let z = (Tensor::arange(24_001, (Kind::Double, Device::Cpu)) - 12_000.0) * 1e-3;
        let density = (&z * &z * -0.5).exp() / (2.0 * PI).sqrt() * 1e-3;
        let values = crate::model::activate(activation, &z).unwrap();
        let mean = (&values * &density).sum(Kind::Double).double_value(&[]);
        let square = (values.square() * density).sum(Kind::Double).double_value(&[]);
        (square - mean * mean).sqrt().recip()
    }

    #[test]
    fn gammas_give_the_activation_a_variance_of_one() {
        for &activation in Activation::ALL {
            let (got, want) = (gamma(activation), by_quadrature(activation));
            let is_theirs = ![Activation::Mish, Activation::Hardswish, Activation::Hardtanh].contains(&activation);
            let tolerance = if is_theirs { 2e-3 } else { 1e-9 };
            assert!((got / want - 1.0).abs() < tolerance, "{activation}: got {got}, quadrature says {want}");
        }
    }
}
