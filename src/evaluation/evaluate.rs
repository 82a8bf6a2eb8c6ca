//! Evaluation: one pass over the validation images, without gradients.

use tch::Tensor;

use super::{EvaluationError, Loss, Metrics, Numerics, Tally, ThresholdCounts, forward};
use crate::{
    data::Loader,
    distributed::Ranks,
    events::PrecisionRecall,
    model::{Network, Pass},
};

/// Most classes with precision-recall curves, which take 3,216 bytes each.
const MOST_CURVES: usize = 100;

/// Computes all metrics of `network` in evaluation mode over every image of `loader`; `None` if `should_stop` returned
/// true on any rank. Each of the `ranks` passes a part of the batches; all of them get the metrics of all images, which
/// do not depend on their number.
///
/// # Errors
/// If the data cannot be read, no image is left, another rank is gone, or libtorch reports an error.
pub fn evaluate(
    network: &Network,
    loader: &Loader,
    loss: &Loss,
    classes: &[String],
    numerics: Numerics,
    ranks: &Ranks,
    should_stop: impl Fn() -> bool,
) -> Result<Option<Metrics>, EvaluationError> {
    let mut tally = Tally::of_evaluation(loader.dataset(), numerics.device())?;
    let pass = PassOver { network, loader, loss, numerics, ranks };
    let is_whole = pass.count(&mut tally, should_stop, |_| Ok(()))?;
    // Device sync here, once per evaluation.
    Ok(if is_whole { Some(tally.read(classes)?) } else { None })
}

/// Like [`evaluate`] on one rank, with precision-recall curves of the first 100 classes.
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
    let pass = PassOver { network, loader, loss: &loss, numerics, ranks: &Ranks::alone() };
    let is_whole = pass.count(&mut tally, should_stop, |batch| counts.add(&batch.logits, &batch.labels))?;
    // Device syncs here, once per evaluation.
    Ok(if is_whole { Some((tally.read(classes)?, counts.read()?)) } else { None })
}

/// Results of a batch.
struct BatchResults {
    logits: Tensor,
    labels: Tensor,
}

/// A pass over the images of a loader.
struct PassOver<'a> {
    network: &'a Network,
    loader: &'a Loader,
    loss: &'a Loss,
    numerics: Numerics,
    ranks: &'a Ranks,
}

impl PassOver<'_> {
    /// Passes this rank's part of the images through the network, and counts those of all ranks. Returns false if
    /// `should_stop` returned true on any rank.
    fn count(
        &self,
        tally: &mut Tally,
        should_stop: impl Fn() -> bool,
        mut see: impl FnMut(&BatchResults) -> Result<(), EvaluationError>,
    ) -> Result<bool, EvaluationError> {
        let Self { network, loader, loss, numerics, ranks } = *self;
        let _no_grad = tch::no_grad_guard();
        let batches = loader.batches_per_epoch();
        let mut own_batches = loader.part_of_epoch(0, ranks.share(0..batches).collect());
        let (mut images_seen, mut weight_seen) = (0, 0.0);
        // A row per batch: adding those of all ranks is exact, and their sum has the order of the batches.
        let rows = tally.empty_sums(if ranks.are_alone() { 0 } else { batches })?;
        while let Some(batch) = own_batches.next_unless(&should_stop) {
            let batch = batch?;
            let (images, targets) = numerics.to_device(&batch)?;
            let (logits, loss_sum) = forward(network, loss, numerics, &images, &targets, &Pass::evaluation())?;
            images_seen += batch.len() as u64;
            let weight = loss.weight_of(&batch);
            weight_seen += weight;
            if ranks.are_alone() {
                tally.add(&logits, &targets.labels, &loss_sum, weight)?;
            } else {
                let sums = tally.sums_of(&logits, &targets.labels, &loss_sum)?;
                rows.f_select(0, batch.number as i64)?.f_copy_(&sums)?;
            }
            see(&BatchResults { logits, labels: targets.labels })?;
        }
        let is_stopped = f64::from(u8::from(should_stop()));
        let words = ranks.gather(&[is_stopped, images_seen as f64, weight_seen])?;
        let total = |index: usize| words.iter().map(|rank| rank[index]).sum::<f64>();
        if total(0) > 0.0 {
            return Ok(false);
        }
        if total(1) == 0.0 {
            return Err(EvaluationError::NoImages { split: "validation" });
        }
        if !ranks.are_alone() {
            ranks.sum(&rows)?;
            tally.add_sums(&rows, total(1) as u64, total(2))?;
            tally.gather_predictions(ranks)?;
        }
        Ok(true)
    }
}
