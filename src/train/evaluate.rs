//! Evaluation: one pass over the validation images, without gradients.

use tch::Tensor;

use super::{Loss, Metrics, Numerics, StopSignal, Tally, ThresholdCounts, TrainError};
use crate::{
    data::Loader,
    events::PrecisionRecall,
    model::{Network, Pass},
};

/// Most classes with precision-recall curves, which take 3,216 bytes each.
const MOST_CURVES: usize = 100;

/// Computes all metrics of `network` in evaluation mode over every image of `loader`; `None` if `stop` has a signal.
///
/// # Errors
/// If the data cannot be read, no image is left, or libtorch reports an error.
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

/// Like [`evaluate`], with precision-recall curves of the first 100 classes.
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

/// Results of a batch.
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

/// Passes every image of `loader` through `network` and the results to `see`. Returns false if `stop` has a signal.
fn pass_over(
    network: &Network,
    loader: &Loader,
    loss: &Loss,
    numerics: Numerics,
    stop: &StopSignal,
    mut see: impl FnMut(&Seen) -> Result<(), TrainError>,
) -> Result<bool, TrainError> {
    let _no_grad = tch::no_grad_guard();
    let mut images_seen = 0;
    let mut batches = loader.epoch(0, 0);
    while let Some(batch) = batches.next_unless(|| stop.signal().is_some()) {
        let batch = batch?;
        let (images, labels) = numerics.to_device(&batch)?;
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
