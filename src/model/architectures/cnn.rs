//! A plain stack of 3x3 convolutions with pooling in between.

use tch::{TchError, Tensor};

use crate::data::ImageShape;
use crate::model::{
    Model, ModelError, Pass,
    blocks::SkipGain,
    layer::{Conv2d, Dropout, Linear, Window, average, halve},
    normalization::Normalization,
    parameter::Path,
    residual::{Branch, Carried, Shortcut},
    tap::Activate,
};

/// Number of channels in the first stage, unless the config sets it.
pub(super) const DEFAULT_WIDTH: i64 = 32;
/// Number of convolutions, unless the config sets it.
pub(super) const DEFAULT_DEPTH: usize = 6;
/// Number of convolutions before each pooling.
const STAGE: usize = 2;
/// Maximum number of poolings: a deeper stack continues at an eighth of the side length.
const MOST_POOLINGS: usize = 3;

/// `layers.i.conv`, `layers.i.norm`, and activation; pooling after every second layer, at most three times and not at
/// the end, each time doubling the channels; global average pooling; `classifier`.
///
/// With `residual`, a shortcut goes around each pair of convolutions of equal shape, and around a remaining single one.
/// With `multi_skip`, each also adds the input of the first between the same poolings.
#[derive(Debug)]
pub(super) struct Cnn {
    layers: Vec<Layer>,
    classifier: Linear,
    dropout: Dropout,
    is_multi_skip: bool,
}

#[derive(Debug)]
struct Layer {
    conv: Conv2d,
    norm: Normalization,
    skip_gain: SkipGain,
    shortcut: Shortcut,
    activate: Activate,
    is_pooled: bool,
}

impl Cnn {
    /// Creates a network with `depth` convolutions and `width` channels in the first two.
    pub(super) fn new(
        root: &Path<'_>,
        input: ImageShape,
        width: i64,
        depth: usize,
        classes: i64,
    ) -> Result<Self, ModelError> {
        let [input_channels, ..] = input.sizes();
        let config = root.config();
        let outputs_of = |layer: usize| width << poolings(layer);
        let inputs_of = |layer: usize| layer.checked_sub(1).map_or(input_channels, outputs_of);
        let keeps_shape = |layer| config.residual && inputs_of(layer) == outputs_of(layer);
        let shortcuts = Shortcut::place(&(0..depth).map(keeps_shape).collect::<Vec<_>>());
        let layer = |(index, (&shortcut, branch)): (usize, (&Shortcut, Option<Branch>))| {
            let (path, channels) = ((root / "layers" / index).in_branch(branch), outputs_of(index));
            let (window, activate) = (Window::three(1), Activate::behind(&(&path / "conv"))?);
            let conv = Conv2d::before_normalization(&(&path / "conv"), inputs_of(index), channels, window)?;
            let norm = Normalization::of_maps(&(&path / "norm"), channels)?;
            let is_pooled = index + 1 < depth && poolings(index + 1) > poolings(index);
            Ok(Layer { conv, norm, skip_gain: SkipGain::new(&path)?, shortcut, activate, is_pooled })
        };
        Ok(Self {
            layers: shortcuts
                .iter()
                .zip(Branch::places(&shortcuts))
                .enumerate()
                .map(layer)
                .collect::<Result<_, ModelError>>()?,
            classifier: Linear::classifier(&(root / "classifier"), inputs_of(depth), classes)?,
            dropout: Dropout::new(root),
            is_multi_skip: config.multi_skip,
        })
    }

    /// Minimum side length of an image such that the poolings of `depth` convolutions leave at least one pixel.
    pub(super) fn least_side(depth: usize) -> usize {
        1 << poolings(depth.saturating_sub(1))
    }
}

/// Number of poolings before convolution `layer`.
fn poolings(layer: usize) -> usize {
    (layer / STAGE).min(MOST_POOLINGS)
}

impl Model for Cnn {
    fn head(&self) -> &str {
        "classifier"
    }

    fn forward(&self, images: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let mut maps = images.shallow_clone();
        let mut carried = Carried::new(self.is_multi_skip);
        for Layer { conv, norm, skip_gain, shortcut, activate, is_pooled } in &self.layers {
            let sums = skip_gain.forward(norm.forward(&conv.forward(&maps)?, pass)?)?;
            carried.open(*shortcut, maps);
            let active = activate.forward(&carried.close(*shortcut, sums)?, pass)?;
            maps = if *is_pooled { halve(&active)? } else { active };
        }
        self.classifier.forward(&self.dropout.forward(&average(&pass.show_feature_maps(maps)?)?, pass)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pooling_stands_between_two_stages_and_a_deep_stack_has_three() {
        assert_eq!([1, 2, 3, 4, 5, 6, 8, 100].map(Cnn::least_side), [1, 1, 2, 2, 4, 4, 8, 8]);
    }
}
