//! A look at a model before its first step: the passes of a few batches, and no update.

use std::cell::RefCell;

use tch::Device;

use super::{Gradients, Prepared, TrainError, evaluate::to_device, facts::facts};
use crate::{
    config::{MonitorPreset, Precision},
    data::Batch,
    diagnosis::Facts,
    gradient::{DepthProfile, Due, GradientStatistics, LayerStatistics},
    libtorch::HostBlock,
    model::{Pass, Tap},
    optim::GradScaler,
};

/// What a few batches say of a model as it was drawn.
#[derive(Debug, Clone)]
pub struct Look {
    /// The data, and the weights.
    pub facts: Facts,
    /// Images that were looked at.
    pub images: usize,
    /// Their mean loss.
    pub loss: f64,
    /// L2 norm of all gradients of that.
    pub total_norm: f64,
    /// Each parameter's gradient.
    pub gradients: GradientStatistics,
    /// Each tapped layer, in the order of the forward pass; none of a model without taps.
    pub layers: Vec<LayerStatistics>,
    /// The shape of what each of them puts out for one image.
    pub shapes: Vec<Vec<i64>>,
}

impl Look {
    /// Each layer of the [profile](Self::depth_profile): as it was tapped, or with NaN for what only a tap sees.
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
            gradient_rms: Some(size),
        };
        self.depth_profile().layers.into_iter().map(row).collect()
    }

    /// The gradient's size from layer to layer.
    pub fn depth_profile(&self) -> DepthProfile {
        DepthProfile::of_step(&self.layers, &self.gradients.parameters)
    }
}

impl Prepared {
    /// Looks at the model over the first `batches` batches, as one step would see it that accumulates over them. No weight
    /// changes; the random generator and the running statistics of batch normalization move on, as in training.
    ///
    /// # Errors
    /// Where images cannot be read, or libtorch refuses.
    pub fn look(&self, batches: usize) -> Result<Look, TrainError> {
        let Self { config, device, network, training, .. } = self;
        // Hooks on everything, whatever the run itself will look at.
        let monitor = crate::config::MonitorConfig { preset: MonitorPreset::Full, ..config.monitor.clone() };
        let mut gradients = Gradients::new(network, &monitor, &config.optimizer, *device)?;
        if config.run.precision == Precision::Fp16 {
            gradients.scaler = Some(GradScaler::new(*device)?);
        }
        let facts = facts(config, training, &gradients)?;
        let due = Due { reading: true, distributions: true, ..Due::default() };
        gradients.start_step(due)?;
        let group = training.epoch(0, 0).take(batches.max(1)).collect::<Result<Vec<_>, _>>()?;
        if group.is_empty() {
            return Err(TrainError::NoImages { split: "training" });
        }
        let shapes = self.propagate(&group, *device, &mut gradients)?;
        gradients.unscale()?;
        let measurement = gradients.measure(due)?;
        let mut block = HostBlock::default();
        let (loss, norm) = (block.add(&gradients.loss)?, block.add(measurement.grads.total_norm())?);
        let parts = measurement.add_to(&mut block)?;
        let layers = gradients.taps.add_to(&mut block, gradients.loss_scale.as_ref())?;
        // Device sync here.
        let values = block.read()?;
        Ok(Look {
            facts,
            images: group.iter().map(|batch| batch.labels.len()).sum(),
            loss: values[&loss][0],
            total_norm: values[&norm][0],
            gradients: parts.take(&values),
            layers: layers.take(&values),
            shapes,
        })
    }

    /// The passes of every batch. Returns the shapes of what the layers put out for one image.
    fn propagate(
        &self,
        group: &[Batch],
        device: Device,
        gradients: &mut Gradients,
    ) -> Result<Vec<Vec<i64>>, TrainError> {
        let weight = self.loss.weight_of_group(group);
        let mut shapes = Vec::new();
        for batch in group {
            let (images, labels) = to_device(batch, device)?;
            let images = self.numerics.lay_out(images)?;
            let (loss, seen) = {
                let _autocast = self.numerics.enter()?;
                let seen = RefCell::new(Vec::new());
                let see = gradients.tap();
                let tap = |tap: &Tap<'_>| {
                    seen.borrow_mut().push(tap.output.size()[1..].to_vec());
                    see(tap)
                };
                let logits = self.network.forward(&images, &Pass::training().with_tap(&tap))?;
                (self.loss.sum(&logits, &labels)?, seen.into_inner())
            };
            gradients.backward(&loss.f_div_scalar(weight)?, batch.labels.len())?;
            shapes = seen;
        }
        Ok(shapes)
    }
}
