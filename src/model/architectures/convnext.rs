//! ConvNeXt (Liu et al. 2022), with the layout and names of torchvision.

use tch::{Device, Kind, TchError, Tensor};

use crate::data::ImageShape;
use crate::model::{
    Model, ModelError, Pass,
    blocks::StochasticDepth,
    layer::{Conv2d, Dropout, Linear, Window},
    normalization::Normalization,
    parameter::Path,
    tap::Activate,
};

/// Minimum side length of an image, so that patches of 4 and three halvings leave at least one pixel.
pub(super) const LEAST_SIDE: usize = 32;
const EPS: f64 = 1e-6;
/// Ratio of hidden units to channels in a block.
const WIDENING: i64 = 4;
/// Initial scale of a block's branch.
const LAYER_SCALE: f64 = 1e-6;

/// Number of blocks per stage, and default number of channels of the first stage.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Number of blocks per stage.
    pub blocks: [usize; 4],
    /// Number of channels of the first stage; it doubles with each further stage.
    pub width: i64,
}

/// `features.0` splits the image into 4x4 patches. `features.1`, `.3`, `.5`, and `.7` are stages, with a normalization
/// and a 2x2 convolution in between. Then global average pooling, `classifier.0`, and `classifier.2`.
#[derive(Debug)]
pub(super) struct ConvNext {
    stages: Vec<(Entry, Vec<Block>)>,
    norm: Normalization,
    classifier: Linear,
    dropout: Dropout,
}

impl ConvNext {
    /// Creates a network with `width` channels in the first stage.
    pub(super) fn new(
        root: &Path<'_>,
        input: ImageShape,
        plan: Plan,
        width: i64,
        classes: i64,
    ) -> Result<Self, ModelError> {
        let features = root / "features";
        let [mut inputs, ..] = input.sizes();
        let count: usize = plan.blocks.iter().sum();
        let (mut stages, mut before) = (Vec::new(), 0);
        for (stage, depth) in plan.blocks.into_iter().enumerate() {
            let channels = width << stage;
            let entry = Entry::new(&(&features / (2 * stage)), inputs, channels, stage == 0)?;
            let block = |index: usize| {
                let drop = StochasticDepth::of_block(root, before + index, count);
                Block::new(&(&features / (2 * stage + 1) / index), channels, drop)
            };
            stages.push((entry, (0..depth).map(block).collect::<Result<_, _>>()?));
            (inputs, before) = (channels, before + depth);
        }
        let path = root / "classifier";
        let norm = Normalization::of_pooled(&(&path / 0), inputs)?.with_eps(EPS);
        let classifier = Linear::classifier(&(&path / 2), inputs, classes)?;
        Ok(Self { stages, norm, classifier, dropout: Dropout::new(root) })
    }
}

impl Model for ConvNext {
    fn head(&self) -> &str {
        "classifier.2"
    }

    fn forward(&self, images: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let mut maps = images.shallow_clone();
        for (entry, blocks) in &self.stages {
            maps = entry.forward(&maps, pass)?;
            for block in blocks {
                maps = block.forward(&maps, pass)?;
            }
        }
        let means = pass.show_feature_maps(maps)?.f_adaptive_avg_pool2d([1, 1])?;
        let features = self.norm.forward(&means, pass)?.f_flatten(1, -1)?;
        self.classifier.forward(&self.dropout.forward(&features, pass)?)
    }
}

/// Input layers of a stage: patches and a normalization for the first stage; a normalization and patches for all
/// others.
#[derive(Debug)]
struct Entry {
    conv: Conv2d,
    norm: Normalization,
    is_first: bool,
}

impl Entry {
    fn new(path: &Path<'_>, inputs: i64, outputs: i64, is_first: bool) -> Result<Self, ModelError> {
        let norm = |channels| {
            Ok::<_, ModelError>(Normalization::of_positions(&(path / usize::from(is_first)), channels)?.with_eps(EPS))
        };
        let conv =
            |side| Conv2d::new(&(path / usize::from(!is_first)), [inputs, outputs], Window::patches(side), None, true);
        // Creates the layers in the order of the state_dict.
        Ok(if is_first {
            let conv = conv(4)?;
            Self { conv, norm: norm(outputs)?, is_first }
        } else {
            let norm = norm(inputs)?;
            Self { conv: conv(2)?, norm, is_first }
        })
    }

    fn forward(&self, maps: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        if self.is_first {
            self.norm.forward(&self.conv.forward(maps)?, pass)
        } else {
            self.conv.forward(&self.norm.forward(maps, pass)?)
        }
    }
}

/// A depthwise 7x7 convolution, a normalization, and two linear layers per position with the activation in between; the
/// input is added to the result.
///
/// Without `residual`, the block only consists of the branch, without its layer scale: a scale of 1e-6 would suppress
/// the signal.
#[derive(Debug)]
struct Block {
    layer_scale: Option<Tensor>,
    conv: Conv2d,
    norm: Normalization,
    widen: Linear,
    activate: Activate,
    narrow: Linear,
    drop: StochasticDepth,
}

impl Block {
    fn new(path: &Path<'_>, channels: i64, drop: StochasticDepth) -> Result<Self, ModelError> {
        let layer_scale = if path.config().residual {
            let values = Tensor::f_full([channels, 1, 1], LAYER_SCALE, (Kind::Float, Device::Cpu))?;
            Some(path.parameter("layer_scale", &values)?)
        } else {
            None
        };
        let path = path / "block";
        let conv = Conv2d::new(&(&path / 0), [channels; 2], Window::new(7, 1).grouped(channels), None, true)?;
        let norm = Normalization::of_positions(&(&path / 2), channels)?.with_eps(EPS);
        let widen = Linear::hidden(&(&path / 3), channels, WIDENING * channels)?;
        let narrow = Linear::projection(&(&path / 5), WIDENING * channels, channels)?;
        Ok(Self {
            layer_scale,
            conv,
            norm,
            widen,
            activate: Activate::behind(&(&path / 3))?.of_positions(),
            narrow,
            drop,
        })
    }

    fn forward(&self, maps: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let positions = self.norm.forward(&self.conv.forward(maps)?, pass)?.f_movedim_int(1, -1)?;
        let hidden = self.activate.forward(&self.widen.forward(&positions)?, pass)?;
        let branch = self.narrow.forward(&hidden)?.f_movedim_int(-1, 1)?;
        match &self.layer_scale {
            Some(scale) => self.drop.forward(scale.f_mul(&branch)?, pass)?.f_add(maps),
            None => Ok(branch),
        }
    }
}
