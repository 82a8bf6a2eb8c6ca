//! Accuracy with the batch's own statistics in batch normalization, which shows whether the running ones lag behind.

use super::{EvaluationError, Loss, Numerics, Tally, forward};
use crate::{
    data::Loader,
    model::{Network, Pass},
};

/// Number of images that is enough for the accuracy, with a standard error of at most 2.2 points.
const ENOUGH_IMAGES: usize = 512;

/// Whether some batch normalization of the network has running statistics that training updates.
fn has_running_statistics(network: &Network, is_kept: impl Fn(&str) -> bool) -> bool {
    // A TorchScript program has no pass that uses the statistics of the batch but leaves the running ones alone.
    let layers = network.parameters.buffers().filter_map(|buffer| buffer.name.as_str().strip_suffix(".running_mean"));
    network.model.torchscript().is_none() && layers.into_iter().any(|layer| !is_kept(layer))
}

/// Computes the accuracy of `network` on a shuffled part of the images of `loader` in evaluation mode, but with each
/// batch normalized by its own statistics; `None` if the network has no running statistics, or if `should_stop`
/// returned true. Changes nothing in the network. `is_kept` returns whether a layer's running statistics are frozen.
///
/// # Errors
/// If the data cannot be read, or libtorch reports an error.
pub(crate) fn accuracy_by_batch(
    network: &Network,
    loader: &Loader,
    batch_size: usize,
    numerics: Numerics,
    is_kept: impl Fn(&str) -> bool,
    should_stop: impl Fn() -> bool,
) -> Result<Option<f64>, EvaluationError> {
    if !has_running_statistics(network, is_kept) {
        return Ok(None);
    }
    let _no_grad = tch::no_grad_guard();
    let (loss, mut tally) = (Loss::plain(), Tally::new(network.classes, numerics.device())?);
    let (mut images_seen, mut batches) = (0, loader.shuffled(batch_size).epoch(0, 0));
    while images_seen < ENOUGH_IMAGES
        && let Some(batch) = batches.next_unless(&should_stop)
    {
        let batch = batch?;
        let (images, labels) = numerics.to_device(&batch)?;
        let (logits, loss_sum) = forward(network, &loss, numerics, &images, &labels, &Pass::evaluation_by_batch())?;
        tally.add(&logits, &labels, &loss_sum, loss.weight_of(&batch.labels))?;
        images_seen += batch.labels.len();
    }
    let names: Vec<String> = (0..network.classes).map(|class| class.to_string()).collect();
    // Device sync here, once per call.
    Ok(if images_seen == 0 || should_stop() { None } else { Some(tally.read(&names)?.accuracy) })
}
