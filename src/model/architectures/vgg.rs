//! VGG (Simonyan and Zisserman 2015), with the layout and names of torchvision.

use tch::{TchError, Tensor};

use crate::data::ImageShape;
use crate::model::{
    Model, ModelError, Pass,
    blocks::SkipGain,
    layer::{Conv2d, Dropout, Linear, Window, halve},
    normalization::Normalization,
    parameter::Path,
    residual::Branch,
    tap::Activate,
};

/// Number of channels of the first stage in the paper.
pub(super) const DEFAULT_WIDTH: i64 = 64;
/// Minimum side length of an image, so that five poolings leave at least one pixel.
pub(super) const LEAST_SIDE: usize = 32;
/// Number of channels per stage, as multiples of the first stage's.
const STAGES: [i64; 5] = [1, 2, 4, 8, 8];
/// Side length to which torchvision pools the last feature maps (or repeats them, if they are smaller).
const POOLED_SIDE: i64 = 7;
/// Number of units per hidden layer of the classifier, as a multiple of the width: 4096 at width 64.
const HIDDEN: i64 = 64;

/// `features.i` are convolutions, each followed by its normalization (if any) and an activation, with pooling after
/// each stage. `classifier.0`, `.3`, and `.6` are linear layers with activation and dropout in between. All sizes scale
/// with the width; at width 64, they equal torchvision's, regardless of the image size.
///
/// With `residual`, a shortcut goes around each convolution with equal input and output shapes.
#[derive(Debug)]
pub(super) struct Vgg {
    stages: Vec<Vec<Layer>>,
    hidden: [(Linear, Activate); 2],
    classifier: Linear,
    dropout: Dropout,
}

#[derive(Debug)]
struct Layer {
    conv: Conv2d,
    norm: Normalization,
    activate: Activate,
    skip_gain: SkipGain,
    is_residual: bool,
}

impl Vgg {
    /// Creates a network with `convolutions[i]` convolutions in stage i.
    pub(super) fn new(
        root: &Path<'_>,
        input: ImageShape,
        convolutions: [usize; 5],
        width: i64,
        classes: i64,
    ) -> Result<Self, ModelError> {
        let [mut inputs, ..] = input.sizes();
        let has_norm = root.config().normalization != crate::config::Normalization::None;
        let mut stages = Vec::new();
        // torchvision's indices also count normalizations, activations, and poolings.
        let mut index = 0;
        for (count, multiple) in convolutions.into_iter().zip(STAGES) {
            let outputs = multiple * width;
            let mut layers = Vec::new();
            for _ in 0..count {
                let is_residual = root.config().residual && inputs == outputs;
                let path = (root / "features").in_branch(is_residual.then_some(Branch::OF_ONE_LAYER));
                let conv = Conv2d::with_bias(&(&path / index), inputs, outputs, Window::three(1))?;
                let norm = Normalization::of_maps(&(&path / (index + 1)), outputs)?;
                let activate = Activate::behind(&(&path / index))?;
                let skip_gain = SkipGain::new(&(path / index))?;
                layers.push(Layer { conv, norm, activate, skip_gain, is_residual });
                index += if has_norm { 3 } else { 2 };
                inputs = outputs;
            }
            index += 1;
            stages.push(layers);
        }
        let path = root / "classifier";
        let linear = |index: usize, inputs, outputs| {
            let path = &path / index;
            Ok::<_, ModelError>((Linear::hidden(&path, inputs, outputs)?, Activate::behind(&path)?))
        };
        let (pooled, hidden) = (inputs * POOLED_SIDE * POOLED_SIDE, HIDDEN * width);
        Ok(Self {
            stages,
            hidden: [linear(0, pooled, hidden)?, linear(3, hidden, hidden)?],
            classifier: Linear::classifier(&(&path / 6), hidden, classes)?,
            dropout: Dropout::new(root),
        })
    }
}

impl Model for Vgg {
    fn head(&self) -> &str {
        "classifier.6"
    }

    fn forward(&self, images: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let mut maps = images.shallow_clone();
        for (number, stage) in self.stages.iter().enumerate() {
            for Layer { conv, norm, activate, skip_gain, is_residual } in stage {
                let mut sums = norm.forward(&conv.forward(&maps)?, pass)?;
                if *is_residual {
                    sums = skip_gain.forward(sums)?.f_add(&maps)?;
                }
                maps = activate.forward(&sums, pass)?;
            }
            if number + 1 == self.stages.len() {
                maps = pass.show_feature_maps(maps)?;
            }
            maps = halve(&maps)?;
        }
        let mut hidden = maps.f_adaptive_avg_pool2d([POOLED_SIDE, POOLED_SIDE])?.f_flatten(1, -1)?;
        for (linear, activate) in &self.hidden {
            hidden = self.dropout.forward(&activate.forward(&linear.forward(&hidden)?, pass)?, pass)?;
        }
        self.classifier.forward(&hidden)
    }
}
