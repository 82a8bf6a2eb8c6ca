//! Binary residual networks: convolutions of the signs of weights and inputs (Rastegari et al. 2016), with a shortcut
//! around every convolution (Liu et al. 2018, Bi-Real Net).

use tch::{TchError, Tensor};

use crate::data::ImageShape;
use crate::model::{
    Model, ModelError, ParameterName, Pass,
    blocks::ConvNorm,
    cost_counter,
    initialization::draw_weight,
    layer::{Conv2d, Dropout, Linear, Window, average},
    normalization::Normalization,
    parameter::Path,
    tap::Activate,
};

/// Number of blocks per stage, and whether the images are small.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Number of blocks per stage, with two convolutions each.
    pub blocks: &'static [usize],
    /// Whether the first convolution is 3x3, instead of 7x7 with a stride and pooling.
    pub is_cifar: bool,
}

impl Plan {
    /// Number of channels in the first stage, unless the config sets it.
    pub(super) const fn default_width(self) -> i64 {
        if self.is_cifar { 16 } else { 64 }
    }
}

/// `conv1`, `bn1`, `layer1` and so on, global average pooling, `fc`. The first layer, the last layer, and the shortcuts
/// that change the shape have full precision.
#[derive(Debug)]
pub(super) struct BinaryResnet {
    conv1: Conv2d,
    bn1: Normalization,
    activate: Activate,
    has_pooling: bool,
    layers: Vec<Layer>,
    fc: Linear,
    dropout: Dropout,
}

impl BinaryResnet {
    /// Creates a network with `width` channels in the stem and the first stage, and twice as many in each further
    /// stage.
    pub(super) fn new(
        root: &Path<'_>,
        input: ImageShape,
        plan: Plan,
        width: i64,
        classes: i64,
    ) -> Result<Self, ModelError> {
        let [channels, ..] = input.sizes();
        let stem = if plan.is_cifar { Window::three(1) } else { Window::new(7, 2) };
        let conv1 = Conv2d::before_normalization(&(root / "conv1"), channels, width, stem)?;
        let bn1 = Normalization::of_maps(&(root / "bn1"), width)?;
        let activate = Activate::behind(&(root / "conv1"))?;
        let (mut layers, mut inputs) = (Vec::new(), width);
        for (stage, &count) in plan.blocks.iter().enumerate() {
            for index in 0..count {
                let path = root / format!("layer{}", stage + 1) / index;
                let (outputs, stride) = (width << stage, if stage > 0 && index == 0 { 2 } else { 1 });
                layers.push(Layer::new(&path, 1, [inputs, outputs], stride)?);
                layers.push(Layer::new(&path, 2, [outputs; 2], 1)?);
                inputs = outputs;
            }
        }
        let fc = Linear::classifier(&(root / "fc"), inputs, classes)?;
        let has_pooling = !plan.is_cifar;
        Ok(Self { conv1, bn1, activate, has_pooling, layers, fc, dropout: Dropout::new(root) })
    }
}

impl Model for BinaryResnet {
    fn head(&self) -> &str {
        "fc"
    }

    fn forward(&self, images: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let mut maps = self.activate.forward(&self.bn1.forward(&self.conv1.forward(images)?, pass)?, pass)?;
        if self.has_pooling {
            maps = maps.f_max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false)?;
        }
        for layer in &self.layers {
            maps = layer.forward(&maps, pass)?;
        }
        self.fc.forward(&self.dropout.forward(&average(&pass.show_feature_maps(maps)?)?, pass)?)
    }
}

/// A binary convolution, its normalization, the added shortcut, and the activation.
#[derive(Debug)]
struct Layer {
    conv: BinaryConv2d,
    norm: Normalization,
    shortcut: Shortcut,
    activate: Activate,
}

#[derive(Debug)]
enum Shortcut {
    Absent,
    Identity,
    /// The stride, and a 1x1 convolution after average pooling with that stride.
    Projection(i64, ConvNorm),
}

impl Layer {
    fn new(path: &Path<'_>, index: usize, channels: [i64; 2], stride: i64) -> Result<Self, ModelError> {
        let conv_path = path / format!("conv{index}");
        let conv = BinaryConv2d::new(&conv_path, channels, Window::three(stride))?;
        let norm = Normalization::of_maps(&(path / format!("bn{index}")), channels[1])?;
        let shortcut = match (path.config().residual, stride == 1 && channels[0] == channels[1]) {
            (false, _) => Shortcut::Absent,
            (true, true) => Shortcut::Identity,
            (true, false) => {
                let path = path / "downsample";
                let paths = [&(&path / 0), &(&path / 1)];
                Shortcut::Projection(stride, ConvNorm::projection(paths, channels, Window::one(1), |norm| norm)?)
            }
        };
        Ok(Self { conv, norm, shortcut, activate: Activate::behind(&conv_path)? })
    }

    fn forward(&self, maps: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let sums = self.norm.forward(&self.conv.forward(maps)?, pass)?;
        let sums = match &self.shortcut {
            Shortcut::Absent => sums,
            Shortcut::Identity => sums.f_add(maps)?,
            Shortcut::Projection(stride, conv) => {
                let means = maps.f_avg_pool2d([*stride; 2], [*stride; 2], [0, 0], true, false, None)?;
                sums.f_add(&conv.forward(&means, pass)?)?
            }
        };
        self.activate.forward(&sums, pass)
    }
}

/// A convolution of the signs of its input with the signs of its filters, multiplied by the mean magnitude of each
/// filter. The gradient does not flow through that magnitude.
#[derive(Debug)]
struct BinaryConv2d {
    name: ParameterName,
    weight: Tensor,
    window: Window,
}

impl BinaryConv2d {
    fn new(path: &Path<'_>, [inputs, outputs]: [i64; 2], window: Window) -> Result<Self, ModelError> {
        let initialization = &path.config().initialization;
        let gain = initialization.gain_before(Some(path.config().activation));
        let drawn = draw_weight(initialization, &[outputs, inputs, window.side, window.side], gain)?;
        Ok(Self { name: path.name()?, weight: path.parameter("weight", &drawn)?, window })
    }

    fn forward(&self, maps: &Tensor) -> Result<Tensor, TchError> {
        let signs = || {
            let kind = self.weight.kind();
            let scale = self.weight.f_detach()?.f_abs()?.f_mean_dim([1i64, 2, 3].as_slice(), true, kind)?;
            let filters = sign(&self.weight)?.f_mul(&scale)?;
            let Window { stride, padding, .. } = self.window;
            sign(maps)?.f_conv2d::<Tensor>(&filters, None, [stride; 2], padding, [1, 1], 1)
        };
        cost_counter::look_at(&self.name, &self.weight, || self.window.outputs(maps, &self.weight))
            .unwrap_or_else(signs)
    }
}

/// Returns 1 for values >= 0, and -1 otherwise. Its gradient passes straight through for inputs from -1 to 1, and is 0
/// elsewhere (Hubara et al. 2016): the code adds a clamp for its gradient and subtracts the clamp's value again.
fn sign(values: &Tensor) -> Result<Tensor, TchError> {
    let clamped = values.f_clamp(-1.0, 1.0)?;
    let signs = values.f_detach()?.f_ge(0.0)?.f_to_kind(values.kind())?.f_mul_scalar(2.0)?.f_sub_scalar(1.0)?;
    clamped.f_add(&signs.f_sub(&clamped.f_detach()?)?)
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    #[test]
    fn a_sign_lets_the_gradient_of_what_is_within_one_through() {
        let values = Tensor::from_slice(&[-2.0_f32, -1.0, -0.25, 0.0, 0.5, 3.0]).set_requires_grad(true);
        let signs = sign(&values).unwrap();
        assert_eq!(Vec::<f32>::try_from(&signs.detach()).unwrap(), [-1.0, -1.0, -1.0, 1.0, 1.0, 1.0]);
        (signs * Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0])).sum(Kind::Float).backward();
        assert_eq!(Vec::<f32>::try_from(&values.grad()).unwrap(), [0.0, 2.0, 3.0, 4.0, 5.0, 0.0]);
    }
}
