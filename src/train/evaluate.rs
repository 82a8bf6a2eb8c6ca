//! One pass over the validation images, without gradients.

use tch::{Device, Tensor};

use super::{Loss, Metrics, Numerics, StopSignal, Tally, TrainError};
use crate::{
    data::{Batch, Loader},
    model::{Network, Pass},
};

/// All figures of `network` in evaluation mode over every image of `loader`; `None` where `stop` came first.
///
/// # Errors
/// Where the data cannot be read, no image is left, or libtorch refuses.
pub fn evaluate(
    network: &Network,
    loader: &Loader,
    loss: &Loss,
    classes: &[String],
    numerics: Numerics,
    stop: &StopSignal,
) -> Result<Option<Metrics>, TrainError> {
    let _no_grad = tch::no_grad_guard();
    let device = numerics.device();
    let mut tally = Tally::new(classes.len(), device)?;
    for batch in loader.epoch(0, 0) {
        if stop.signal().is_some() {
            return Ok(None);
        }
        let batch = batch?;
        let (images, labels) = to_device(&batch, device)?;
        let images = numerics.lay_out(images)?;
        let (logits, loss_sum) = {
            let _autocast = numerics.enter()?;
            let logits = network.forward(&images, &Pass::evaluation())?;
            let loss_sum = loss.sum(&logits, &labels)?;
            (logits, loss_sum)
        };
        tally.add(&logits, &labels, &loss_sum, loss.weight_of(&batch.labels))?;
    }
    if tally.images() == 0 {
        return Err(TrainError::NoImages { split: "validation" });
    }
    // Device sync here, once per evaluation.
    Ok(Some(tally.read(classes)?))
}

/// A batch as tensors: images `[n, channels, height, width]` f32, labels `[n]` i64.
pub(super) fn to_device(batch: &Batch, device: Device) -> Result<(Tensor, Tensor), TrainError> {
    let shape = batch.shape.map(|size| size as i64);
    let images = Tensor::f_from_slice(&batch.images)?.f_reshape(shape)?.f_to_device(device)?;
    let labels = Tensor::f_from_slice(&batch.labels)?.f_to_device(device)?;
    Ok((images, labels))
}
