//! Evaluation: one pass over the validation images, without gradients.

use tch::Tensor;

use super::{EvaluationError, Loss, Metrics, Numerics, Tally, ThresholdCounts, forward};
use crate::{
    data::Loader,
    events::PrecisionRecall,
    model::{Network, Pass},
};

/// Most classes with precision-recall curves, which take 3,216 bytes each.
const MOST_CURVES: usize = 100;

/// Computes all metrics of `network` in evaluation mode over every image of `loader`; `None` if `should_stop` returned
/// true.
///
/// # Errors
/// If the data cannot be read, no image is left, or libtorch reports an error.
pub fn evaluate(
    network: &Network,
    loader: &Loader,
    loss: &Loss,
    classes: &[String],
    numerics: Numerics,
    should_stop: impl Fn() -> bool,
) -> Result<Option<Metrics>, EvaluationError> {
    let mut tally = Tally::of_evaluation(loader.dataset(), numerics.device())?;
    let is_whole = pass_over(network, loader, loss, numerics, should_stop, |batch| batch.count_into(&mut tally))?;
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
    should_stop: impl Fn() -> bool,
) -> Result<Option<(Metrics, Vec<PrecisionRecall>)>, EvaluationError> {
    let mut tally = Tally::of_evaluation(loader.dataset(), numerics.device())?;
    let loss = Loss::of_evaluation(loader.dataset());
    let mut counts = ThresholdCounts::new(classes.len().min(MOST_CURVES), numerics.device())?;
    let is_whole = pass_over(network, loader, &loss, numerics, should_stop, |batch| {
        counts.add(&batch.logits, &batch.labels)?;
        batch.count_into(&mut tally)
    })?;
    // Device syncs here, once per evaluation.
    Ok(if is_whole { Some((tally.read(classes)?, counts.read()?)) } else { None })
}

/// Results of a batch.
struct BatchResults {
    logits: Tensor,
    labels: Tensor,
    loss_sum: Tensor,
    weight: f64,
}

impl BatchResults {
    fn count_into(&self, tally: &mut Tally) -> Result<(), EvaluationError> {
        tally.add(&self.logits, &self.labels, &self.loss_sum, self.weight)
    }
}

/// Passes every image of `loader` through `network` and the results to `consume`. Returns false if `should_stop` returned
/// true.
fn pass_over(
    network: &Network,
    loader: &Loader,
    loss: &Loss,
    numerics: Numerics,
    should_stop: impl Fn() -> bool,
    mut consume: impl FnMut(&BatchResults) -> Result<(), EvaluationError>,
) -> Result<bool, EvaluationError> {
    let _no_grad = tch::no_grad_guard();
    let mut images_seen = 0;
    let mut batches = loader.epoch(0, 0);
    while let Some(batch) = batches.next_unless(&should_stop) {
        let batch = batch?;
        let (images, targets) = numerics.to_device(&batch)?;
        let (logits, loss_sum) = forward(network, loss, numerics, &images, &targets, &Pass::evaluation())?;
        images_seen += batch.len();
        consume(&BatchResults { logits, labels: targets.labels, loss_sum, weight: loss.weight_of(&batch) })?;
    }
    if should_stop() {
        return Ok(false);
    }
    if images_seen == 0 {
        return Err(EvaluationError::NoImages { split: "validation" });
    }
    Ok(true)
}
