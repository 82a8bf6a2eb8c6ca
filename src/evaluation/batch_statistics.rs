//! Accuracy with the batch's own statistics in batch normalization, which shows whether the running ones lag behind.

use std::sync::Arc;

use super::{EvaluationError, Loss, Numerics, Tally, forward};
use crate::{
    data::{DataError, Loader, LoaderOptions},
    model::{Network, Pass},
};

/// Number of images that is enough for the accuracy, with a standard error of at most 2.2 points.
const ENOUGH_IMAGES: usize = 512;

/// Computes the accuracy of `network` on a shuffled part of the images of `loader` in evaluation mode, but with each
/// batch normalized by its own statistics; `None` if the network has no running statistics, or if `should_stop`
/// returned true. `is_kept` returns whether a layer's running statistics are frozen.
///
/// Changes nothing in the network, except in a TorchScript program, whose layers know only training mode for that: the
/// caller restores its buffers and the random numbers.
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
    let has_statistics = network.parameters.batch_norms().any(|layer| !is_kept(layer));
    if !has_statistics {
        return Ok(None);
    }
    let is_program = network.model.torchscript().is_some();
    let pass = || if is_program { Pass::training() } else { Pass::evaluation_by_batch() };
    let _no_grad = tch::no_grad_guard();
    let (loss, mut tally) = (Loss::plain(), Tally::new(network.classes, numerics.device())?);
    let (mut images_seen, mut batches) = (0, shuffled(loader, batch_size)?.epoch(0, 0));
    while images_seen < ENOUGH_IMAGES
        && let Some(batch) = batches.next_unless(&should_stop)
    {
        let batch = batch?;
        let (images, targets) = numerics.to_device(&batch)?;
        let (logits, loss_sum) = forward(network, &loss, numerics, &images, &targets, &pass())?;
        tally.add(&logits, &targets.labels, &loss_sum, loss.weight_of(&batch))?;
        images_seen += batch.len();
    }
    let names: Vec<String> = (0..network.classes).map(|class| class.to_string()).collect();
    // Device sync here, once per call.
    Ok(if images_seen == 0 || should_stop() { None } else { Some(tally.read(&names)?.accuracy) })
}

/// A loader of the same images in random order, without augmentation, in whole batches of at most `batch_size`.
fn shuffled(loader: &Loader, batch_size: usize) -> Result<Loader, DataError> {
    let batch_size = batch_size.clamp(1, loader.dataset().len());
    let options =
        LoaderOptions { batch_size, drop_last: true, shuffle: true, augment: None, ..loader.options().clone() };
    Loader::new(Arc::clone(loader.dataset()), options)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use tch::{Device, Tensor};

    use super::*;
    use crate::{
        config::{Config, DataConfig},
        data::{Dataset, ImageShape, PixelScale},
        model,
    };

    #[test]
    fn a_shuffled_loader_has_the_same_images_in_another_order_and_whole_batches() {
        let shape = ImageShape { channels: 1, height: 1, width: 1 };
        let dataset = Dataset::in_memory(Path::new("here"), shape, vec!["a".into()], vec![0; 20], vec![7; 20]).unwrap();
        let options = LoaderOptions::for_validation(&DataConfig::default(), PixelScale::identity(1));
        let plain = Loader::new(Arc::new(dataset), options).unwrap();
        let indices = |batch_size: usize| -> Vec<Vec<u32>> {
            shuffled(&plain, batch_size).unwrap().epoch(0, 0).map(|batch| batch.unwrap().indices).collect()
        };
        let batches = indices(3);
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [3; 6]);
        let order = batches.concat();
        let distinct: BTreeSet<u32> = order.iter().copied().collect();
        assert_eq!(distinct.len(), order.len());
        assert!(!order.is_sorted(), "{order:?}");
        // A batch size above the number of images is one batch of all.
        assert_eq!(indices(200).concat().len(), 20);
    }

    #[test]
    fn a_torchscript_network_is_evaluated_by_batch_too() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/torchscript_cnn.pt");
        let toml = format!(
            "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel = {{ name = \"torchscript\", path = {file:?} }}"
        );
        let config = Config::parse(&toml, "test").unwrap();
        let shape = ImageShape { channels: 1, height: 8, width: 8 };
        // Tests on other threads draw random numbers, which looks like a trace from training mode.
        let build = |_| model::build(&config.model, shape, 4, Device::Cpu).ok();
        let network = (0..100).find_map(build).expect("no attempt without random numbers of another test");
        let before: Vec<Tensor> = network.parameters.buffers().map(|buffer| buffer.tensor.copy()).collect();
        let pixels = (0..20 * 64).map(|place| (place * 7 % 256) as u8).collect();
        let classes = (0..4).map(|class| class.to_string()).collect();
        let labels = (0..20).map(|image| image % 4).collect();
        let dataset = Dataset::in_memory(Path::new("here"), shape, classes, labels, pixels).unwrap();
        let options = LoaderOptions::for_validation(&config.data, PixelScale::identity(1));
        let loader = Loader::new(Arc::new(dataset), options).unwrap();
        let accuracy =
            accuracy_by_batch(&network, &loader, 5, Numerics::plain(Device::Cpu), |_| false, || false).unwrap();
        assert!(accuracy.is_some_and(|accuracy| (0.0..=1.0).contains(&accuracy)), "{accuracy:?}");
        // Its layers move their statistics, so the trainer restores them.
        let has_moved = network.parameters.buffers().zip(&before).any(|(now, before)| now.tensor != *before);
        assert!(has_moved);
    }
}
