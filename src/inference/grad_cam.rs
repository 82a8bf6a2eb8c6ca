//! Grad-CAM (Selvaraju et al. 2017, section 3, equations 1 and 2): which places of an image speak for a class.

use std::cell::RefCell;

use tch::{Kind, Tensor};

use super::{InferenceError, Prediction, TrainedModel};
use crate::{
    data::Preprocessing,
    libtorch::host_copy,
    model::{Network, Pass},
    picture::{Explanation, Picture, PictureError},
};

/// What speaks for a class in one image.
#[derive(Debug, Clone, PartialEq)]
pub struct GradCam {
    /// The class, and its probability.
    pub guess: Prediction,
    /// Rows and columns of the model's last feature maps, each of which stands for a part of the image.
    pub grid: [usize; 2],
    /// How much each place speaks for the class, row by row: 1 at the strongest, and 0 everywhere where none does.
    pub heat: Vec<f32>,
}

/// Grad-CAM of each of `images` `[n, channels, height, width]`, for `class` or each image's first guess, in evaluation mode; `None`
/// for a model without feature maps.
///
/// The maps are those before the mean over space; of a transformer, the normalised patches that the last block attends to. No
/// gradient of a parameter is touched, no hook fires, nothing random is drawn. Device sync here.
///
/// # Errors
/// Where libtorch refuses.
pub fn grad_cam(
    network: &Network,
    images: &Tensor,
    class: Option<usize>,
) -> Result<Option<Vec<GradCam>>, InferenceError> {
    let seen = RefCell::new(None);
    let see = |maps: &Tensor| {
        // A leaf of its own: the way back ends here, whatever of the model is frozen.
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
    let shares = logits.f_softmax(1, Kind::Double)?.f_gather(1, &places, false)?;
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
    /// The image that it is of, in the pixels that the model sees, and the same with the heat over it; `captions` below, a line each.
    ///
    /// # Errors
    /// Where the pixels are not those of such an image.
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
    /// [`grad_cam`] of images of [`Preprocessing::decode`](crate::data::Preprocessing::decode).
    ///
    /// # Errors
    /// [`InferenceError::NoFeatureMaps`], and where libtorch refuses.
    pub fn explain(&self, images: &[Vec<u8>], class: Option<usize>) -> Result<Vec<GradCam>, InferenceError> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let maps = grad_cam(&self.network, &self.to_tensor(images)?, class)?;
        maps.ok_or(InferenceError::NoFeatureMaps { name: self.config.name })
    }
}
