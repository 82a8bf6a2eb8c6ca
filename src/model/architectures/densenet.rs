//! DenseNet (Huang et al. 2017), with the layout and names of torchvision.

use tch::{TchError, Tensor};

use crate::data::ImageShape;
use crate::model::{
    Model, ModelError, Pass,
    layer::{Conv2d, Dropout, Linear, Window, average},
    normalization::Normalization,
    parameter::Path,
    tap::Activate,
};

/// Minimum side length of an image, so that five halvings leave at least one pixel.
pub(super) const LEAST_SIDE: usize = 29;
/// Ratio of the channels of a layer's 1x1 convolution to the channels that the layer adds.
const BOTTLENECK: i64 = 4;

/// Number of layers per block, and default number of channels of the first convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Number of layers per block.
    pub layers: [usize; 4],
    /// Number of channels of the first convolution.
    pub width: i64,
}

/// `features.conv0`, `.norm0`, pooling, `.denseblock1` to `4` with `.transition1` to `3` in between, `.norm5`, global
/// average pooling, `classifier`. The input of a layer is the output of all earlier layers of its block. Each layer
/// adds half as many channels as the first convolution has.
#[derive(Debug)]
pub(super) struct DenseNet {
    conv0: Conv2d,
    norm0: Normalization,
    activate0: Activate,
    stages: Vec<(Vec<Layer>, Option<Transition>)>,
    norm5: Normalization,
    activate5: Activate,
    classifier: Linear,
    dropout: Dropout,
}

impl DenseNet {
    /// Creates a network with `width` channels in the first convolution.
    pub(super) fn new(
        root: &Path<'_>,
        input: ImageShape,
        plan: Plan,
        width: i64,
        classes: i64,
    ) -> Result<Self, ModelError> {
        let features = root / "features";
        let [channels, ..] = input.sizes();
        let path = &features / "conv0";
        let conv0 = Conv2d::before_normalization(&path, channels, width, Window::new(7, 2))?;
        let (norm0, activate0) = (Normalization::of_maps(&(&features / "norm0"), width)?, Activate::behind(&path)?);
        let (growth, mut inputs) = ((width / 2).max(1), width);
        let mut stages = Vec::new();
        for (stage, count) in (1..).zip(plan.layers) {
            let block = &features / format!("denseblock{stage}");
            let mut layers = Vec::new();
            for index in 1..=count {
                layers.push(Layer::new(&(&block / format!("denselayer{index}")), inputs, growth)?);
                inputs += growth;
            }
            let is_last = stage == plan.layers.len();
            let path = &features / format!("transition{stage}");
            let transition = if is_last { None } else { Some(Transition::new(&path, inputs)?) };
            inputs = if is_last { inputs } else { (inputs / 2).max(1) };
            stages.push((layers, transition));
        }
        let path = &features / "norm5";
        let (norm5, activate5) = (Normalization::of_maps(&path, inputs)?, Activate::behind_normalization(&path)?);
        let classifier = Linear::classifier(&(root / "classifier"), inputs, classes)?;
        let dropout = Dropout::new(root);
        Ok(Self { conv0, norm0, activate0, stages, norm5, activate5, classifier, dropout })
    }
}

impl Model for DenseNet {
    fn head(&self) -> &str {
        "classifier"
    }

    fn forward(&self, images: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let sums = self.norm0.forward(&self.conv0.forward(images)?, pass)?;
        let mut maps = self.activate0.forward(&sums, pass)?.f_max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false)?;
        for (layers, transition) in &self.stages {
            let mut seen = vec![maps];
            for layer in layers {
                seen.push(layer.forward(&seen, pass)?);
            }
            maps = Tensor::f_cat(&seen, 1)?;
            if let Some(transition) = transition {
                maps = transition.forward(&maps, pass)?;
            }
        }
        let maps = self.activate5.forward(&self.norm5.forward(&maps, pass)?, pass)?;
        let features = average(&pass.show_feature_maps(maps)?)?;
        self.classifier.forward(&self.dropout.forward(&features, pass)?)
    }
}

/// Normalization, activation, and 1x1 convolution, followed by the same with a 3x3 convolution.
#[derive(Debug)]
struct Layer {
    norm1: Normalization,
    activate1: Activate,
    conv1: Conv2d,
    norm2: Normalization,
    activate2: Activate,
    conv2: Conv2d,
}

impl Layer {
    fn new(path: &Path<'_>, inputs: i64, growth: i64) -> Result<Self, ModelError> {
        let middle = BOTTLENECK * growth;
        let norm1 = Normalization::of_maps(&(path / "norm1"), inputs)?;
        let conv1 = Conv2d::before_normalization(&(path / "conv1"), inputs, middle, Window::one(1))?;
        let norm2 = Normalization::of_maps(&(path / "norm2"), middle)?;
        let conv2 = Conv2d::before_normalization(&(path / "conv2"), middle, growth, Window::three(1))?;
        let activate1 = Activate::behind_normalization(&(path / "norm1"))?;
        Ok(Self { norm1, activate1, conv1, norm2, activate2: Activate::behind(&(path / "conv1"))?, conv2 })
    }

    fn forward(&self, seen: &[Tensor], pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let all = Tensor::f_cat(seen, 1)?;
        let maps = self.activate1.forward(&self.norm1.forward(&all, pass)?, pass)?;
        let sums = self.norm2.forward(&self.conv1.forward(&maps)?, pass)?;
        self.conv2.forward(&self.activate2.forward(&sums, pass)?)
    }
}

/// Halves the number of channels and the side length.
#[derive(Debug)]
struct Transition {
    norm: Normalization,
    activate: Activate,
    conv: Conv2d,
}

impl Transition {
    fn new(path: &Path<'_>, inputs: i64) -> Result<Self, ModelError> {
        let norm = Normalization::of_maps(&(path / "norm"), inputs)?;
        let outputs = (inputs / 2).max(1);
        let conv = Conv2d::before_normalization(&(path / "conv"), inputs, outputs, Window::one(1))?;
        Ok(Self { norm, activate: Activate::behind_normalization(&(path / "norm"))?, conv })
    }

    fn forward(&self, maps: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let maps = self.activate.forward(&self.norm.forward(maps, pass)?, pass)?;
        self.conv.forward(&maps)?.f_avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None)
    }
}
