//! Passes outside training, without side effects: a replay of a bad step, and the two halves of a batch.

use tch::Tensor;

use super::{State, TrainError, group::Group};
use crate::{
    gradient::{Due, Measurement, Origin, OriginSearch, Place},
    libtorch::{clear_grads, set_generator_state},
    model::{Pass, Tap},
};

impl State {
    /// Finds the first non-finite value of the step that was just skipped. Repeats it with the same images, weights,
    /// and random numbers, and checks each value. `None` if the step is healthy this time.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub(super) fn replay(&mut self, group: &Group) -> Result<Option<Origin>, TrainError> {
        let Self { model, gradients, counters, .. } = self;
        let origin = model.without_side_effects(|model| {
            let Some(monitor) = gradients.monitor() else { return Ok(None) };
            let search = OriginSearch::new(monitor.parameters())?;
            if let Some(random) = &model.random_at_step {
                set_generator_state(model.device(), random)?;
            }
            for (micro_batch, batch) in &group.batches {
                if let Some(streams) = model.random_streams {
                    streams.start_micro_batch(counters.step, *micro_batch);
                }
                search.start_micro_batch(*micro_batch);
                let (images, targets) = model.numerics.to_device(batch)?;
                search.see(Place::Images, &images);
                let tap = |tap: &Tap<'_>| search.see_tap(tap);
                let (_, loss_sum) = model.forward(&images, &targets, &Pass::training().with_tap(&tap))?;
                let loss = loss_sum.f_div_scalar(group.weight)?;
                search.see(Place::Loss, &loss);
                gradients.scaled(&loss)?.f_backward()?;
            }
            // Device sync here, on the rare step that needs it.
            Ok(search.first()?)
        });
        clear_grads(gradients.params())?;
        origin
    }

    /// Measures the gradients of the two halves of the batch, if the noise scale is due and the step has one
    /// micro-batch. Skips the last image of an odd batch. Keeps the gradients until their norms are computed. No sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub(super) fn probe_noise(&mut self, due: Due, group: &Group) -> Result<(), TrainError> {
        let [(_, batch)] = &group.batches[..] else { return Ok(()) };
        let half = batch.len() / 2;
        if !due.noise_scale || half == 0 || self.gradients.micro_batches.is_none() {
            return Ok(());
        }
        let Self { model, gradients, .. } = self;
        let norms = model.without_side_effects(|model| {
            let (images, targets) = model.numerics.to_device(batch)?;
            let (mut norms, mut sum) = (Vec::new(), Vec::new());
            for start in [0, half] {
                let [start, length] = [start, half].map(|images| images as i64);
                let (images, targets) = (images.f_narrow(0, start, length)?, targets.narrow(start, length)?);
                let (_, loss_sum) = model.forward(&images, &targets, &Pass::training())?;
                let loss = loss_sum.f_div_scalar(2.0 * half as f64)?;
                // A loss scale does not affect the noise scale or the cosine.
                let loss = gradients.scaled(&loss)?;
                // Does not write to .grad, which belongs to the step.
                let grads = Tensor::f_run_backward(&[loss], gradients.params(), false, false)?;
                let grads: Vec<Tensor> = grads.into_iter().filter(Tensor::defined).collect();
                let squares = |grads: &[Tensor]| -> Result<Tensor, TrainError> {
                    let grads = grads.iter().map(Tensor::shallow_clone).collect();
                    Ok(Measurement::of_total(grads)?.total_norm().f_square()?)
                };
                let own = squares(&grads)?;
                for (grad, earlier) in grads.iter().zip(&sum) {
                    let _ = grad.shallow_clone().f_add_(earlier)?;
                }
                norms.push((half as u64, own, squares(&grads)?));
                sum = grads;
            }
            Ok(norms)
        })?;
        if let Some(micro_batches) = &mut gradients.micro_batches {
            micro_batches.set_halves(norms);
        }
        Ok(())
    }
}
