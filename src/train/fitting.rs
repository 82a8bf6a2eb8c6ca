//! The part of an initialization that needs images.

use tch::Tensor;

use super::{Prepared, TrainError, evaluate::to_device};
use crate::model::fit_to_data;

/// Of so many images, the mean of an input is off by a sixteenth of its standard deviation.
const ENOUGH_IMAGES: i64 = 256;
/// Images of more pixels are fewer: 64 MB of them, as what goes through the layers has to fit too.
const ENOUGH_VALUES: usize = 1 << 24;

impl Prepared {
    /// Fits the weights to the first batches of the training images, where `model.initialization` asks for it; see
    /// [`fit_to_data`]. Where a run starts this is done by itself; a checkpoint has its weights already, and so has a file of them.
    ///
    /// # Errors
    /// Where images cannot be read, or libtorch refuses.
    pub fn fit_to_data(&self) -> Result<(), TrainError> {
        if !self.config.model.initialization.depends_on_data() || self.config.model.weights.is_some() {
            return Ok(());
        }
        let (mut batches, mut count, mut values) = (Vec::new(), 0, 0);
        for batch in self.training.epoch(0, 0) {
            let (images, _) = to_device(&batch?, self.device)?;
            (count, values) = (count + images.size()[0], values + images.numel());
            batches.push(images);
            if count >= ENOUGH_IMAGES || values >= ENOUGH_VALUES {
                break;
            }
        }
        if batches.is_empty() {
            return Err(TrainError::NoImages { split: "training" });
        }
        let images = Tensor::f_cat(&batches, 0)?;
        Ok(fit_to_data(&self.network, &self.numerics.lay_out(images)?)?)
    }
}
