//! Collects all measurements of a step and copies them to the host at once.

use std::{collections::HashMap, sync::Arc};

use tch::Tensor;

use super::{
    Gradients, TrainError,
    sharing::{ImagesOf, Sharing},
};
use crate::{
    clipping::ClipOutcome,
    evaluation::Tally,
    gradient::{DepthProfile, Due, GradientMeasurement, Measurement, ParameterUpdate, TensorStatistics},
    libtorch::{HostBlock, HostValues, Part},
    optim::UpdateOutcome,
    recording::Reading,
};

/// Measurements of a step on the device.
pub(super) struct StepMeasurements<'a> {
    pub step: u64,
    pub epoch: u64,
    pub due: Due,
    pub measurement: GradientMeasurement,
    pub clip: &'a ClipOutcome,
    pub update: UpdateOutcome,
    pub tally: &'a Tally,
    /// What the ranks told about the step, with the images of each batch.
    pub ranks: Option<(&'a Sharing, ImagesOf<'a>)>,
}

impl Gradients {
    /// Copies the measurements of a tracked step to the host. One device sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub(super) fn read(&mut self, step: StepMeasurements<'_>) -> Result<Reading, TrainError> {
        let StepMeasurements { step, epoch, due, measurement, clip, update, tally, ranks } = step;
        let mut block = HostBlock::default();
        let scalars = self.add_scalars(clip, tally, &mut block)?;
        let total_norm = block.add(measurement.grads.total_norm())?;
        let gradients = measurement.add_to(&mut block)?;
        let clipped =
            clip.clipped.as_ref().map(|(count, of)| Ok::<_, TrainError>((block.add(count)?, *of))).transpose()?;
        let coefs = clip.tensor_coefs.as_ref();
        let coefs = coefs.map(|(positions, coefs)| Ok::<_, TrainError>((positions, block.add(coefs)?))).transpose()?;
        let weights = if due.weights { self.measure_weights()? } else { None };
        let weights = weights.as_ref().map(|weights| Measurement::add_to(weights, &mut block)).transpose()?;
        let squares = update.squares.iter().map(|squares| block.add(squares)).collect::<Result<Vec<_>, _>>()?;
        let layers = self.taps.add_to(&mut block, self.loss_scale.as_ref())?;
        let micro_batches = self.micro_batches.as_ref().map(|batches| batches.add_to(&mut block)).transpose()?;
        let cosine = self.previous_cosine.take().map(|cosine| block.add(&cosine)).transpose()?;
        let rank_parts = match &ranks {
            Some((sharing, _)) => sharing.add_to(self.loss_scale.as_ref(), &mut block)?,
            None => None,
        };
        // Device sync here.
        let values = block.read()?;
        let [loss, clip_coef, total_norm_after, skipped_steps, skipped_in_a_row, accuracy] =
            scalars.map(|part| values[&part][0]);
        let total_norm = values[&total_norm][0];
        let of_ranks = ranks.zip(rank_parts.as_ref()).and_then(|((sharing, images_of), parts)| {
            sharing.rank_statistics(parts, &values, total_norm, &self.names, images_of)
        });
        let (of_ranks, noise) = of_ranks.map_or((None, None), |(statistics, noise)| (Some(statistics), noise));
        let norms = micro_batches.as_ref().and_then(|parts| parts.norms(&values));
        let noise = norms.as_ref().or(noise.as_ref());
        if let Some(noise) = noise {
            self.noise_scale.add(noise);
        }
        let has_noise = noise.is_some();
        let (weights, _) = weights.map(|parts| parts.take(&values)).unwrap_or_default();
        let gradients = self.monitor.as_ref().map(|_| gradients.take(&values));
        let layers = layers.take(&values);
        let grads = gradients.as_ref().map_or(&[][..], |gradients| &gradients.parameters);
        Ok(Reading {
            step,
            epoch,
            loss,
            accuracy,
            total_norm,
            clip_coef,
            total_norm_after,
            clipped_fraction: clipped.map(|(count, of)| values[&count][0] / of.max(1) as f64),
            most_clipped: coefs
                .map(|(positions, coefs)| self.most_clipped(positions, &values[&coefs]))
                .unwrap_or_default(),
            skipped_steps: skipped_steps as u64,
            skipped_in_a_row: skipped_in_a_row as u64,
            depth_profile: due.layers.then(|| DepthProfile::of_step(&layers, grads)),
            gradients,
            updates: self.updates(&weights, &update.params, &squares, &values),
            weights,
            layers,
            timeline: self.monitor.as_ref().filter(|_| due.layers).map(|monitor| monitor.timeline()),
            bad_micro_batch: micro_batches.and_then(|parts| parts.first_non_finite(&values)),
            micro_batch_cosine: norms.as_ref().and_then(|norms| norms.cosine()),
            noise_scale: if has_noise { self.noise_scale.value() } else { None },
            ranks: of_ranks,
            previous_cosine: cosine.map(|part| values[&part][0]).filter(|cosine| cosine.is_finite()),
        })
    }

    /// Returns the ten gradients with the smallest factors below 1. `positions` are the parameters that have a factor.
    fn most_clipped(&self, positions: &[usize], coefs: &[f64]) -> Vec<(Arc<str>, f64)> {
        let clipped = positions.iter().zip(coefs).filter(|(_, coef)| **coef < 1.0);
        let mut clipped: Vec<_> = clipped.map(|(&position, &coef)| (Arc::clone(&self.names[position]), coef)).collect();
        clipped.sort_by(|(_, one), (_, other)| one.total_cmp(other));
        clipped.truncate(10);
        clipped
    }

    fn add_scalars(&self, clip: &ClipOutcome, tally: &Tally, block: &mut HostBlock) -> Result<[Part; 6], TrainError> {
        let mut add = |scalar: &Tensor| block.add(scalar);
        Ok([
            add(&self.loss)?,
            add(&clip.clip_coef)?,
            add(&clip.total_norm_after)?,
            add(&self.skips.all)?,
            add(&self.skips.in_a_row)?,
            add(&tally.accuracy()?)?,
        ])
    }

    /// Updates of the parameters that had a gradient, in the order of `weights`.
    fn updates(
        &self,
        weights: &[TensorStatistics],
        moved: &[Tensor],
        squares: &[Part],
        values: &HostValues,
    ) -> Vec<ParameterUpdate> {
        let squares = squares.iter().flat_map(|part| &values[part]);
        let moves: HashMap<usize, f64> =
            moved.iter().map(|param| param.data_ptr() as usize).zip(squares.copied()).collect();
        let params = self.monitor.iter().flat_map(|monitor| monitor.parameters());
        let moved = weights.iter().zip(params).filter_map(|(weight, (_, param))| {
            let squares = moves.get(&(param.data_ptr() as usize))?;
            Some(ParameterUpdate::new(weight, *squares))
        });
        moved.collect()
    }
}
