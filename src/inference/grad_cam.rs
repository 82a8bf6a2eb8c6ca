//! Grad-CAM (Selvaraju et al. 2017, section 3, equations 1 and 2): highlights the image regions that support a class.

use std::cell::RefCell;

use tch::{Kind, Tensor};

use super::{InferenceError, Prediction, Probabilities, TrainedModel};
use crate::{
    data::{Preprocessing, Samples},
    libtorch::host_copy,
    model::{Network, Pass},
    picture::{Explanation, Picture, PictureError},
};

/// The Grad-CAM map of one image.
#[derive(Debug, Clone, PartialEq)]
pub struct GradCam {
    /// The class and its probability.
    pub guess: Prediction,
    /// Rows and columns of the model's last feature maps. Each cell covers a part of the image.
    pub grid: [usize; 2],
    /// How strongly each cell supports the class, row by row: 1 at the strongest cell, or 0 everywhere if no cell
    /// supports it.
    pub heat: Vec<f32>,
}

/// Computes Grad-CAM of each of `images` `[n, channels, height, width]` in evaluation mode, for `class` or for the top
/// prediction of each image. `None` if the model has no feature maps.
///
/// Uses the feature maps before global average pooling or, in a transformer, the normalized patches that the last block
/// attends to. It does not change any parameter's gradient, call hooks, or use random numbers. Device sync here.
///
/// # Errors
/// If libtorch reports an error.
pub fn grad_cam(
    network: &Network,
    images: &Tensor,
    class: Option<usize>,
    probabilities: Probabilities,
) -> Result<Option<Vec<GradCam>>, InferenceError> {
    let seen = RefCell::new(None);
    let see = |maps: &Tensor| {
        // A leaf of its own: backward stops here, even if parts of the model are frozen.
        let leaf = maps.f_detach()?.f_set_requires_grad(true)?;
        *seen.borrow_mut() = Some(leaf.shallow_clone());
        Ok(leaf)
    };
    let logits = network.forward(images, &Pass::evaluation().with_feature_maps(&see))?;
    let Some(maps) = seen.into_inner() else { return Ok(None) };
    let classes = match class {
        Some(class) => Tensor::f_full([logits.size2()?.0], class as i64, (Kind::Int64, logits.device()))?,
        None => logits.f_argmax(1, false)?,
    };
    let places = classes.f_unsqueeze(1)?;
    let chosen = logits.f_gather(1, &places, false)?.f_sum(logits.kind())?;
    let grads = Tensor::f_run_backward(&[chosen], &[&maps], false, false)?;
    let _no_grad = tch::no_grad_guard();
    let Some(grad) = grads.first() else { return Ok(None) };
    let weights = grad.f_mean_dim([2_i64, 3].as_slice(), true, Kind::Float)?;
    let heat = weights.f_mul(&maps)?.f_sum_dim_intlist([1_i64].as_slice(), false, Kind::Float)?.f_relu()?;
    let strongest = heat.f_amax([1_i64, 2].as_slice(), true)?;
    let heat = heat.f_div(&strongest.f_where_self(&strongest.f_gt(0.0)?, &strongest.f_ones_like()?)?)?;
    let shares = probabilities.of(&logits)?.f_gather(1, &places, false)?;
    let (_, rows, columns) = heat.size3()?;
    let [heat, shares, classes] = [&heat, &shares, &classes].map(|tensor| host_copy(&tensor.f_to_kind(Kind::Double)?));
    let (heat, shares, classes) = (heat?, shares?, classes?);
    let each = heat.chunks((rows * columns).max(1) as usize).zip(shares).zip(classes);
    Ok(Some(
        each.map(|((heat, probability), class)| GradCam {
            guess: Prediction { class: class as usize, probability },
            grid: [rows as usize, columns as usize],
            heat: heat.iter().map(|&value| value as f32).collect(),
        })
        .collect(),
    ))
}

impl GradCam {
    /// Draws the image in the pixels that the model sees, and again with the heat map on top, above `captions`, one per
    /// line.
    ///
    /// # Errors
    /// If the number of pixels does not match such an image.
    pub fn draw(
        &self,
        preprocessing: &Preprocessing,
        pixels: &[u8],
        captions: &[String],
    ) -> Result<Picture, PictureError> {
        let Preprocessing { channels, height, width, .. } = *preprocessing;
        let (heat, grid) = (&self.heat[..], self.grid);
        Explanation { captions, pixels, shape: [channels, height, width], heat, grid }.draw()
    }
}

impl TrainedModel {
    /// Computes [`grad_cam`] of images from [`Preprocessing::decode`](crate::data::Preprocessing::decode).
    ///
    /// # Errors
    /// [`InferenceError::NoFeatureMaps`], or if libtorch reports an error.
    pub fn explain(&self, images: &[Samples<'_>], class: Option<usize>) -> Result<Vec<GradCam>, InferenceError> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let maps = grad_cam(&self.network, &self.to_tensor(images)?, class, self.probabilities)?;
        maps.ok_or(InferenceError::NoFeatureMaps { name: self.config.name })
    }
}
