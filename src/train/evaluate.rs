//! One pass over the validation images, without gradients.

use tch::{Device, Tensor};

use super::{Loss, Metrics, Numerics, StopSignal, Tally, ThresholdCounts, TrainError};
use crate::{
    data::{Batch, Loader},
    events::PrecisionRecall,
    libtorch::upload,
    model::{Network, Pass},
};

/// Classes whose curves are counted: 3,216 bytes each, and nobody looks at thousands.
const MOST_CURVES: usize = 100;

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
    let mut tally = Tally::with_confusion(classes.len(), numerics.device())?;
    let is_whole = pass_over(network, loader, loss, numerics, stop, |seen| seen.count_into(&mut tally))?;
    // Device sync here, once per evaluation.
    Ok(if is_whole { Some(tally.read(classes)?) } else { None })
}

/// The same with the curve of precision and recall of each of the first 100 classes.
///
/// # Errors
/// As for [`evaluate`].
pub fn evaluate_with_curves(
    network: &Network,
    loader: &Loader,
    classes: &[String],
    numerics: Numerics,
    stop: &StopSignal,
) -> Result<Option<(Metrics, Vec<PrecisionRecall>)>, TrainError> {
    let mut tally = Tally::with_confusion(classes.len(), numerics.device())?;
    let mut counts = ThresholdCounts::new(classes.len().min(MOST_CURVES), numerics.device())?;
    let is_whole = pass_over(network, loader, &Loss::plain(), numerics, stop, |seen| {
        counts.add(&seen.logits, &seen.labels)?;
        seen.count_into(&mut tally)
    })?;
    // Device syncs here, once per evaluation.
    Ok(if is_whole { Some((tally.read(classes)?, counts.read()?)) } else { None })
}

/// What a batch gave.
struct Seen {
    logits: Tensor,
    labels: Tensor,
    loss_sum: Tensor,
    weight: f64,
}

impl Seen {
    fn count_into(&self, tally: &mut Tally) -> Result<(), TrainError> {
        tally.add(&self.logits, &self.labels, &self.loss_sum, self.weight)
    }
}

/// Shows every image of `loader` to `network`, and what came of it to `see`; whether all were, or `stop` came first.
fn pass_over(
    network: &Network,
    loader: &Loader,
    loss: &Loss,
    numerics: Numerics,
    stop: &StopSignal,
    mut see: impl FnMut(&Seen) -> Result<(), TrainError>,
) -> Result<bool, TrainError> {
    let _no_grad = tch::no_grad_guard();
    let device = numerics.device();
    let mut images_seen = 0;
    let mut batches = loader.epoch(0, 0);
    while let Some(batch) = batches.next_unless(|| stop.signal().is_some()) {
        let batch = batch?;
        let (images, labels) = to_device(&batch, device)?;
        let images = numerics.lay_out(images)?;
        let (logits, loss_sum) = {
            let _autocast = numerics.enter()?;
            let logits = network.forward(&images, &Pass::evaluation())?;
            let loss_sum = loss.sum(&logits, &labels)?;
            (logits, loss_sum)
        };
        images_seen += batch.labels.len();
        see(&Seen { logits, labels, loss_sum, weight: loss.weight_of(&batch.labels) })?;
    }
    if stop.signal().is_some() {
        return Ok(false);
    }
    if images_seen == 0 {
        return Err(TrainError::NoImages { split: "validation" });
    }
    Ok(true)
}

/// A batch as tensors: images `[n, channels, height, width]` f32, labels `[n]` i64. No sync.
pub(super) fn to_device(batch: &Batch, device: Device) -> Result<(Tensor, Tensor), TrainError> {
    let shape = batch.shape.map(|size| size as i64);
    let images = Tensor::f_from_slice(&batch.images)?.f_reshape(shape)?;
    let [images, labels] = upload([images, Tensor::f_from_slice(&batch.labels)?], device)?;
    Ok((images, labels))
}
