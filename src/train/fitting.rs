//! Data-dependent initialization.

use tch::Tensor;

use super::{Prepared, TrainError};
use crate::{evaluation::EvaluationError, model::fit_to_data};

/// Number of images to use. With this many, the mean of an input is accurate to a sixteenth of its standard deviation.
const ENOUGH_IMAGES: i64 = 256;
/// Most pixel values to use (64 MB), so that the activations fit into memory too.
const ENOUGH_VALUES: usize = 1 << 24;

impl Prepared {
    /// Fits the weights to the first batches of the training images if `model.initialization` asks for it; see
    /// [`fit_to_data`]. [`start`](Self::start) calls this. Does nothing if the weights come from a file.
    ///
    /// # Errors
    /// If images cannot be read, or libtorch reports an error.
    pub fn fit_to_data(&self) -> Result<(), TrainError> {
        if !self.config.model.initialization.depends_on_data() || self.config.model.weights.is_some() {
            return Ok(());
        }
        Ok(fit_to_data(&self.network, &self.fitting_images()?)?)
    }

    /// The first training images, normalized and on the device.
    pub(super) fn fitting_images(&self) -> Result<Tensor, TrainError> {
        let (mut batches, mut count, mut values) = (Vec::new(), 0, 0);
        for batch in self.training.epoch(0, 0) {
            let (images, _) = self.numerics.to_device(&batch?)?;
            (count, values) = (count + images.size()[0], values + images.numel());
            batches.push(images);
            if count >= ENOUGH_IMAGES || values >= ENOUGH_VALUES {
                break;
            }
        }
        if batches.is_empty() {
            return Err(EvaluationError::NoImages { split: "training" }.into());
        }
        Ok(Tensor::f_cat(&batches, 0)?)
    }
}
