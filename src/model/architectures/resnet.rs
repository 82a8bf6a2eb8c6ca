//! Residual networks (He et al. 2016), with the layout and names of torchvision.

use tch::{TchError, Tensor};

use crate::data::ImageShape;
use crate::model::{
    Model, ModelError, Pass,
    blocks::SkipGain,
    layer::{Conv2d, Dropout, Linear, Window, average},
    normalization::Normalization,
    parameter::Path,
    residual::Branch,
    tap::Activate,
};

/// One of the paper's two families, with the number of blocks per stage.
#[derive(Debug, Clone, Copy)]
pub(super) enum Plan {
    /// Section 4.2: a 3x3 stem and three stages of `blocks` basic blocks. If the shape changes, the shortcut is a 1x1
    /// convolution with a normalization (option B), not the paper's zero padding.
    Cifar {
        /// n in depth 6 n + 2.
        blocks: usize,
    },
    /// Table 1: a 7x7 stem of stride 2 with pooling, and four stages.
    Imagenet {
        /// Number of blocks per stage.
        blocks: [usize; 4],
        /// Two 3x3 convolutions, or 1x1, 3x3, and 1x1.
        kind: BlockKind,
    },
}

/// Layers of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockKind {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1, 3x3, and 1x1 convolutions; the last one has four times as many channels. The 3x3 convolution has the
    /// stride, as in torchvision.
    Bottleneck,
}

impl Plan {
    /// Number of channels of the first stage, unless the config sets it.
    pub(super) const fn default_width(self) -> i64 {
        match self {
            Self::Cifar { .. } => 16,
            Self::Imagenet { .. } => 64,
        }
    }

    fn stages(self) -> (Vec<usize>, BlockKind) {
        match self {
            Self::Cifar { blocks } => (vec![blocks; 3], BlockKind::Basic),
            Self::Imagenet { blocks, kind } => (blocks.to_vec(), kind),
        }
    }
}

/// `conv1`, `bn1`, `layer1` to `layer4` (CIFAR: `layer3`), global average pooling, `fc`. The normalizations are named
/// `bn`, regardless of their type.
///
/// Without `residual`, there are no additions and no `downsample` convolutions.
#[derive(Debug)]
pub(super) struct Resnet {
    conv1: Conv2d,
    bn1: Normalization,
    activate: Activate,
    has_pooling: bool,
    blocks: Vec<Block>,
    fc: Linear,
    dropout: Dropout,
}

impl Resnet {
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
        let has_pooling = matches!(plan, Plan::Imagenet { .. });
        let stem = if has_pooling { Window::new(7, 2) } else { Window::three(1) };
        let conv1 = Conv2d::before_normalization(&(root / "conv1"), channels, width, stem)?;
        let bn1 = Normalization::of_maps(&(root / "bn1"), width)?;
        let activate = Activate::behind(&(root / "conv1"))?;
        let (stages, kind) = plan.stages();
        let mut blocks = Vec::new();
        let all_blocks = stages.iter().sum();
        let mut inputs = width;
        for (stage, count) in stages.into_iter().enumerate() {
            for index in 0..count {
                let path = root / format!("layer{}", stage + 1) / index;
                let stride = if stage > 0 && index == 0 { 2 } else { 1 };
                let block = Block::new(&path, kind, [inputs, width << stage], stride, all_blocks)?;
                inputs = block.outputs;
                blocks.push(block);
            }
        }
        let fc = Linear::classifier(&(root / "fc"), inputs, classes)?;
        Ok(Self { conv1, bn1, activate, has_pooling, blocks, fc, dropout: Dropout::new(root) })
    }
}

impl Model for Resnet {
    fn head(&self) -> &str {
        "fc"
    }

    fn forward(&self, images: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let mut maps = self.activate.forward(&self.bn1.forward(&self.conv1.forward(images)?, pass)?, pass)?;
        if self.has_pooling {
            maps = maps.f_max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false)?;
        }
        for block in &self.blocks {
            maps = block.forward(&maps, pass)?;
        }
        self.fc.forward(&self.dropout.forward(&average(&pass.show_feature_maps(maps)?)?, pass)?)
    }
}

/// Convolutions with a normalization and an activation each, and the shortcut, which is added before the last
/// activation.
#[derive(Debug)]
struct Block {
    layers: Vec<(Conv2d, Normalization, Activate)>,
    skip_gain: SkipGain,
    shortcut: Shortcut,
    outputs: i64,
}

#[derive(Debug)]
enum Shortcut {
    Absent,
    Identity,
    Projection(Conv2d, Normalization),
}

impl Block {
    /// Creates one of `all_blocks` blocks of a model, from `inputs` channels to `width` (or a multiple of it, depending
    /// on the kind).
    fn new(
        path: &Path<'_>,
        kind: BlockKind,
        [inputs, width]: [i64; 2],
        stride: i64,
        all_blocks: usize,
    ) -> Result<Self, ModelError> {
        let plan = match kind {
            BlockKind::Basic => vec![(width, Window::three(stride)), (width, Window::three(1))],
            BlockKind::Bottleneck => {
                vec![(width, Window::one(1)), (width, Window::three(stride)), (4 * width, Window::one(1))]
            }
        };
        let (depth, outputs_of_block) = (plan.len(), plan.last().map_or(inputs, |(outputs, _)| *outputs));
        let is_around_identity = stride == 1 && inputs == outputs_of_block;
        let place = |index| Branch { layers: depth, count: all_blocks, is_last: index == depth, is_around_identity };
        let inside = |index| path.clone().in_branch(path.config().residual.then(|| place(index)));
        let mut layers = Vec::new();
        let mut channels = inputs;
        for (index, (outputs, window)) in (1..).zip(plan) {
            let path = inside(index);
            let conv_path = &path / format!("conv{index}");
            let conv = Conv2d::before_normalization(&conv_path, channels, outputs, window)?;
            let norm = Normalization::of_maps(&(path / format!("bn{index}")), outputs)?;
            layers.push((conv, norm, Activate::behind(&conv_path)?));
            channels = outputs;
        }
        let skip_gain = SkipGain::new(&inside(depth))?;
        let shortcut = match (path.config().residual, is_around_identity) {
            (false, _) => Shortcut::Absent,
            (true, true) => Shortcut::Identity,
            (true, false) => {
                let path = path / "downsample";
                let conv = Conv2d::before_normalization(&(&path / 0), inputs, channels, Window::one(stride))?;
                Shortcut::Projection(conv, Normalization::of_maps(&(path / 1), channels)?)
            }
        };
        Ok(Self { layers, skip_gain, shortcut, outputs: channels })
    }

    fn forward(&self, images: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let mut maps = images.shallow_clone();
        for (index, (conv, norm, activate)) in self.layers.iter().enumerate() {
            let mut sums = norm.forward(&conv.forward(&maps)?, pass)?;
            if index + 1 == self.layers.len() {
                sums = match &self.shortcut {
                    Shortcut::Absent => sums,
                    Shortcut::Identity => self.skip_gain.forward(sums)?.f_add(images)?,
                    Shortcut::Projection(conv, norm) => {
                        let around = norm.forward(&conv.forward(images)?, pass)?;
                        self.skip_gain.forward(sums)?.f_add(&around)?
                    }
                };
            }
            maps = activate.forward(&sums, pass)?;
        }
        Ok(maps)
    }
}
