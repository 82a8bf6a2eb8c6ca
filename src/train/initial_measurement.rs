//! Measures a model before its first step: passes of a few batches, without an update.

use std::cell::RefCell;

use super::{Gradients, Prepared, TrainError, initial_facts::initial_facts};
use crate::{
    config::{MonitorPreset, Precision},
    data::Batch,
    diagnosis::Facts,
    distributed::Ranks,
    evaluation::{EvaluationError, forward},
    gradient::{DepthProfile, Due, GradientStatistics, LayerStatistics},
    libtorch::HostBlock,
    model::{Pass, Tap},
    optim::GradScaler,
};

/// Measurements of an untrained model over a few batches.
#[derive(Debug, Clone)]
pub struct InitialMeasurement {
    /// Facts about data and initial weights.
    pub facts: Facts,
    /// Number of images.
    pub images: usize,
    /// Mean loss of these images.
    pub loss: f64,
    /// L2 norm of all gradients of this loss.
    pub total_norm: f64,
    /// Gradient statistics per parameter.
    pub gradients: GradientStatistics,
    /// Statistics per tapped layer, in the order of the forward pass; empty for a model without taps.
    pub layers: Vec<LayerStatistics>,
    /// Output shape of each tapped layer, for one image.
    pub shapes: Vec<Vec<i64>>,
}

impl InitialMeasurement {
    /// Statistics per layer of the [profile](Self::depth_profile), with NaN where only a tap could measure.
    pub fn rows(&self) -> Vec<LayerStatistics> {
        if !self.layers.is_empty() {
            return self.layers.clone();
        }
        let row = |(layer, size)| LayerStatistics {
            layer,
            mean: f64::NAN,
            rms: f64::NAN,
            nonpositive_fraction: f64::NAN,
            saturated_fraction: f64::NAN,
            dormant_fraction: None,
            gradient_rms: Some(size),
        };
        self.depth_profile().layers.into_iter().map(row).collect()
    }

    /// Gradient size per layer.
    pub fn depth_profile(&self) -> DepthProfile {
        DepthProfile::of_step(&self.layers, &self.gradients.parameters)
    }
}

impl Prepared {
    /// Measures the model over the first `batches` batches, as one step that accumulates over them would. Does not
    /// change weights, but advances the random number generator and the running statistics of batch normalization, as
    /// in training.
    ///
    /// # Errors
    /// If images cannot be read, or libtorch reports an error.
    pub fn measure(&self, batches: usize) -> Result<InitialMeasurement, TrainError> {
        let Self { config, device, network, training, validation, .. } = self;
        // Hooks on all parameters, whatever the run itself measures.
        let monitor = crate::config::MonitorConfig { preset: MonitorPreset::Full, ..config.monitor.clone() };
        let (ranks, reduction) = (Ranks::alone(), config.distributed.reduction);
        let mut gradients = Gradients::new(network, &monitor, &config.optimizer, *device, &ranks, reduction)?;
        if config.run.precision == Precision::Fp16 {
            gradients.scaler = Some(GradScaler::new(*device)?);
        }
        let facts =
            initial_facts(config, training, training.first_batch().ok().as_ref(), validation, network, &gradients)?;
        let due = Due { reading: true, distributions: true, ..Due::default() };
        gradients.start_step(due)?;
        let group = training.epoch(0, 0).take(batches.max(1)).collect::<Result<Vec<_>, _>>()?;
        if group.is_empty() {
            return Err(EvaluationError::NoImages { split: "training" }.into());
        }
        let shapes = self.propagate(&group, &mut gradients)?;
        gradients.unscale()?;
        let measurement = gradients.measure(due)?;
        let mut block = HostBlock::default();
        let (loss, norm) = (block.add(&gradients.loss)?, block.add(measurement.grads.total_norm())?);
        let parts = measurement.add_to(&mut block)?;
        let layers = gradients.taps.add_to(&mut block, gradients.loss_scale.as_ref())?;
        // Device sync here.
        let values = block.read()?;
        Ok(InitialMeasurement {
            facts,
            images: group.iter().map(|batch| batch.len()).sum(),
            loss: values[&loss][0],
            total_norm: values[&norm][0],
            gradients: parts.take(&values),
            layers: layers.take(&values),
            shapes,
        })
    }

    /// Runs the passes of every batch. Returns the output shapes of the tapped layers for one image.
    fn propagate(&self, group: &[Batch], gradients: &mut Gradients) -> Result<Vec<Vec<i64>>, TrainError> {
        let weight = self.loss.weight_of_group(group);
        let mut shapes = Vec::new();
        for batch in group {
            let (images, targets) = self.numerics.to_device(batch)?;
            let batch_shapes = RefCell::new(Vec::new());
            let (_, loss_sum) = {
                let measure = gradients.tap();
                let tap = |tap: &Tap<'_>| {
                    batch_shapes.borrow_mut().push(tap.output.size()[1..].to_vec());
                    measure(tap)
                };
                let pass = Pass::training().with_tap(&tap);
                forward(&self.network, &self.loss, self.numerics, &images, &targets, &pass)?
            };
            gradients.backward(&loss_sum.f_div_scalar(weight)?, batch.len())?;
            shapes = batch_shapes.into_inner();
        }
        Ok(shapes)
    }
}
