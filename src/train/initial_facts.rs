//! Collects the facts about a run before its first step, from data and model.

use super::{Gradients, TrainError};
use crate::{
    config::Config,
    data::{Batch, Loader},
    diagnosis::{ChannelFacts, Facts, LISTED_CLASSES},
    gradient::GradientMonitor,
    model::Network,
};

/// Measures the classes, the first batch, and the initial weights. One device sync.
pub(super) fn initial_facts(
    config: &Config,
    training: &Loader,
    first_batch: Option<&Batch>,
    validation: &Loader,
    network: &Network,
    gradients: &Gradients,
) -> Result<Facts, TrainError> {
    let images = training.dataset();
    let [channels, height, width] = images.shape().sizes();
    let channels = first_batch.map(|batch| {
        ChannelFacts::of(&batch.images.normalized(batch.shape), channels as usize, (height * width) as usize)
    });
    let channels = channels.unwrap_or_default();
    Ok(Facts {
        batch_size: config.data.batch_size,
        image_side: height.min(width) as usize,
        validation_images: validation.dataset().len() as u64,
        frozen_fraction: frozen_fraction(config, network),
        has_running_statistics: has_running_statistics(config, network),
        steps_per_epoch: training.batches_per_epoch().div_ceil(config.optimizer.accumulation_steps) as u64,
        channels,
        parameters: gradients.monitor().map(GradientMonitor::parameter_facts).transpose()?.unwrap_or_default(),
        // Evaluations count them.
        lost_images: Vec::new(),
        ranks: Vec::new(),
        ..class_facts(training)
    })
}

/// Whether evaluations use running statistics of batch normalization that training updates.
pub(super) fn has_running_statistics(config: &Config, network: &Network) -> bool {
    network.parameters.batch_norms().any(|layer| !config.model.keeps_statistics(layer))
}

/// The facts about the classes of the training images.
pub(super) fn class_facts(training: &Loader) -> Facts {
    let images = training.dataset();
    let mut class_counts: Vec<u64> = images.class_counts().into_iter().map(|count| count as u64).collect();
    if class_counts.len() > LISTED_CLASSES {
        // In the order in which a checkpoint stores them, so that sums over them are bit-identical after a resume.
        class_counts.sort_unstable();
    }
    let multi_label_images = if images.label_sets().is_multi_label() { images.len() as u64 } else { 0 };
    Facts { classes: images.classes().len(), class_counts, multi_label_images, ..Facts::default() }
}

/// Fraction of the elements of all parameters that a group freezes for the whole run.
fn frozen_fraction(config: &Config, network: &Network) -> f64 {
    let is_frozen =
        |name: &str| config.optimizer.groups.iter().find(|group| group.has(name)).is_some_and(|it| it.freeze);
    let (mut frozen, mut all) = (0, 0);
    for parameter in network.parameters.trainable() {
        let elements = parameter.tensor.numel();
        all += elements;
        frozen += if is_frozen(parameter.name.as_str()) { elements } else { 0 };
    }
    frozen as f64 / all.max(1) as f64
}
