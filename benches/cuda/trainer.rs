//! The trainer's step, built from the library's public parts: norm, skip decision, clipping, and monitoring.

use gradwatch::clipping::{ClipOutcome, Clipping, ClippingScope, StepGradients};
use gradwatch::config::Config;
use gradwatch::evaluation::{Loss, Tally, Targets};
use gradwatch::gradient::{Due, GradientMeasurement, Measurement};
use gradwatch::libtorch::{LateScalar, SkipCounters, StepOutcome, clear_grads};
use gradwatch::model::{Pass, Tap};
use gradwatch::optim::{Headroom, StepControl, UpdateOutcome};
use gradwatch::train::Buffers;
use tch::Tensor;

use crate::Outcome;
use crate::training::{CLASSES, RATES, Training};
use crate::variant::Variant;
use crate::watch::Watch;

/// State of the trainer besides the model and the optimizer.
pub(crate) struct Trainer {
    watch: Watch,
    loss: Loss,
    buffers: Buffers,
    tally: Tally,
    clipping: Clipping,
    headroom: Headroom,
    skips: SkipCounters,
    /// Norm of the previous step.
    last_step: Option<LateScalar>,
    /// Index of each parameter: all of them have a gradient.
    positions: Vec<usize>,
}

impl Trainer {
    pub(crate) fn new(training: &Training, variant: &Variant, clipping: &str) -> Outcome<Self> {
        let Training { device, network, parameters, optimizer, .. } = training;
        let toml = format!(
            "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\nclipping.mode = \"{clipping}\""
        );
        let names: Vec<&str> = parameters.iter().map(|(name, _)| name.as_str()).collect();
        let scope = ClippingScope { names: &names, head: network.model.head(), ..ClippingScope::default() };
        Ok(Self {
            watch: Watch::start(variant, parameters)?,
            loss: Loss::plain(),
            buffers: Buffers::new(network)?,
            tally: Tally::new(CLASSES, *device)?,
            clipping: Clipping::new(&Config::parse(&toml, "bench")?.clipping, &scope, *device)?,
            headroom: Headroom::of(optimizer)?,
            skips: SkipCounters::new(*device)?,
            last_step: None,
            positions: (0..parameters.len()).collect(),
        })
    }

    /// Runs a step in the order of `train::train`.
    pub(crate) fn step(&mut self, training: &mut Training) -> Outcome<()> {
        let due = self.watch.due();
        self.buffers.save()?;
        let (logits, loss_sum) = {
            let _autocast = training.numerics.enter()?;
            let tap = |tap: &Tap<'_>| self.watch.taps.see(tap);
            let pass = Pass::training();
            let pass = if due.layers { pass.with_tap(&tap) } else { pass };
            let logits = training.network.forward(&training.images, &pass)?;
            let loss_sum = self.loss.sum(&logits, &Targets::of_labels(training.labels.shallow_clone()))?;
            (logits, loss_sum)
        };
        let weight = training.labels.numel() as f64;
        let loss = loss_sum.f_div_scalar(weight)?;
        self.watch.start_backward(due)?;
        loss.f_backward()?;
        self.tally.add(&logits, &training.labels, &loss_sum, weight)?;

        let grads: Vec<Tensor> = training.params.iter().map(Tensor::grad).collect();
        let measured = match self.watch.measure(due)? {
            Some(measured) => measured,
            None => {
                let grads = Measurement::of_total(grads.iter().map(Tensor::shallow_clone).collect())?;
                GradientMeasurement { grads, missing: Vec::new(), backward_order: Vec::new() }
            }
        };
        let (params, positions, measurement) = (&training.params[..], &self.positions[..], &measured.grads);
        let clip = self.clipping.clip(&StepGradients { params, grads: &grads, positions, measurement })?;
        let update = self.take_step(training, due, &measured.grads, &clip)?;
        self.buffers.restore_where(&clip.found_inf)?;
        self.watch.finish(due, due.reading.then_some(measured), &update, &loss.f_detach()?)?;
        Ok(clear_grads(&training.params)?)
    }

    /// Updates the weights, unless the gradient is not finite. No sync.
    fn take_step(
        &mut self,
        training: &mut Training,
        due: Due,
        measured: &Measurement,
        clip: &ClipOutcome,
    ) -> Outcome<UpdateOutcome> {
        if let Some(norm) = self.last_step.take() {
            let norm = norm.receive()?;
            if norm.is_finite() {
                self.headroom.took(norm);
            }
        }
        if !self.headroom.has_room(RATES)? {
            return Err("the weights are too close to the largest f32 to time an ordinary step".into());
        }
        let grad_scale = clip.grad_scale()?;
        let control = StepControl {
            grad_scale: grad_scale.as_ref(),
            found_inf: Some(&clip.found_inf),
            measures_updates: due.weights,
            is_first_step: false,
        };
        let update = training.optimizer.step(RATES, &control)?;
        self.headroom.look_if_near(&training.optimizer)?;
        let found_inf = measured.found_inf();
        let outcome = StepOutcome { found_inf, not_taken: &clip.found_inf, failure: None, norm: &clip.total_norm };
        self.last_step = Some(LateScalar::send(&self.skips.count(&outcome)?)?);
        Ok(update)
    }
}
