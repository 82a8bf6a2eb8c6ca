//! LeNet-5 (LeCun et al. 1998) with max pooling.

use tch::{TchError, Tensor};

use crate::data::ImageShape;
use crate::model::{
    Model, ModelError, Pass,
    layer::{Conv2d, Dropout, Linear, Window, halve},
    normalization::Normalization,
    parameter::Path,
    tap::Activate,
};

/// Number of channels of the first convolution in the paper.
pub(super) const DEFAULT_WIDTH: i64 = 6;
/// Minimum side length of an image, so that the second pooling leaves at least one pixel.
pub(super) const LEAST_SIDE: usize = 12;
/// Side length of the paper's images. Smaller images are padded by [`PADDING`], which turns MNIST's 28 into 32.
const PAPER_SIDE: i64 = 32;
const PADDING: i64 = 2;
const KERNEL: i64 = 5;

/// `conv1`, `conv2`, `fc1`, `fc2`, and `fc3`, with `norm1` to `norm4` after the first four. Width 6 gives the paper's
/// 6, 16, 120, and 84 units; any other width scales all of them.
#[derive(Debug)]
pub(super) struct Lenet5 {
    convolutions: [(Conv2d, Normalization, Activate); 2],
    hidden: [(Linear, Normalization, Activate); 2],
    classifier: Linear,
    dropout: Dropout,
}

impl Lenet5 {
    /// Creates a network with `width` channels in the first convolution.
    pub(super) fn new(root: &Path<'_>, input: ImageShape, width: i64, classes: i64) -> Result<Self, ModelError> {
        let scaled = |units: i64| (units * width + DEFAULT_WIDTH / 2) / DEFAULT_WIDTH;
        let [channels, height, image_width] = input.sizes();
        let padding = [height, image_width].map(|side| if side < PAPER_SIDE { PADDING } else { 0 });
        let conv = |index: usize, inputs, outputs, padding| {
            let window = Window { side: KERNEL, stride: 1, padding, groups: 1 };
            let path = root / format!("conv{index}");
            let conv = Conv2d::before_normalization(&path, inputs, outputs, window)?;
            let norm = Normalization::of_maps(&(root / format!("norm{index}")), outputs)?;
            Ok::<_, ModelError>((conv, norm, Activate::behind(&path)?))
        };
        let linear = |index: usize, inputs, outputs| {
            let path = root / format!("fc{index}");
            let linear = Linear::hidden(&path, inputs, outputs)?;
            let norm = Normalization::of_vectors(&(root / format!("norm{}", index + 2)), outputs)?;
            Ok::<_, ModelError>((linear, norm, Activate::behind(&path)?))
        };
        let pixels = side_left(height) * side_left(image_width);
        Ok(Self {
            convolutions: [conv(1, channels, width, padding)?, conv(2, width, scaled(16), [0, 0])?],
            hidden: [linear(1, scaled(16) * pixels, scaled(120))?, linear(2, scaled(120), scaled(84))?],
            classifier: Linear::classifier(&(root / "fc3"), scaled(84), classes)?,
            dropout: Dropout::new(root),
        })
    }
}

/// Side length of the feature maps after both convolutions and poolings.
fn side_left(side: i64) -> i64 {
    let padded = if side < PAPER_SIDE { side + 2 * PADDING } else { side };
    ((padded - KERNEL + 1) / 2 - KERNEL + 1) / 2
}

impl Model for Lenet5 {
    fn head(&self) -> &str {
        "fc3"
    }

    fn forward(&self, images: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let mut maps = images.shallow_clone();
        for (index, (conv, norm, activate)) in self.convolutions.iter().enumerate() {
            maps = activate.forward(&norm.forward(&conv.forward(&maps)?, pass)?, pass)?;
            if index + 1 == self.convolutions.len() {
                maps = pass.show_feature_maps(maps)?;
            }
            maps = halve(&maps)?;
        }
        let mut hidden = maps.f_flatten(1, -1)?;
        for (linear, norm, activate) in &self.hidden {
            hidden = activate.forward(&norm.forward(&linear.forward(&hidden)?, pass)?, pass)?;
        }
        self.classifier.forward(&self.dropout.forward(&hidden, pass)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_28_and_of_32_leave_the_papers_5x5_maps() {
        assert_eq!([28, 32].map(side_left), [5, 5]);
    }

    #[test]
    fn the_least_side_leaves_one_pixel_and_one_less_leaves_none() {
        let least = i64::try_from(LEAST_SIDE).unwrap();
        assert_eq!([side_left(least), side_left(least - 1)], [1, 0]);
    }
}
