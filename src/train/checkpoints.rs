//! Converts a run to the contents of a checkpoint, and back.

use std::{collections::BTreeMap, path::Path, time::Instant};

use tch::{Device, Tensor};

use super::{Gradients, HostState, Metrics, State, Tally, TrainError, early_stopping::SeenEvaluations, threads};
use crate::{
    checkpoint::{CheckpointError, CheckpointName, Contents, Loaded},
    clipping::Clipping,
    config::{Config, ConfigError, Metric, ScheduleConfig, ScheduleName, differences, matches},
    disk::{NamedTensors, copy_named},
    libtorch::{generator_state, set_generator_state, torch_version},
    model::Network,
    optim::{Ema, Optimizer, PlateauCourse},
};

/// The parts of a run that have tensors.
pub(super) struct Parts<'a> {
    pub network: &'a Network,
    pub ema: Option<&'a Ema>,
    pub optimizer: &'a Optimizer,
    pub clipping: &'a Clipping,
    pub tally: &'a Tally,
    pub device: Device,
}

impl Parts<'_> {
    fn ema(&self) -> NamedTensors {
        let average = self.ema.map(Ema::state).unwrap_or_default();
        average.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect()
    }

    /// Tensors outside the model, the average, and the optimizer, in named groups. They share memory with the state.
    fn groups(&self, gradients: &Gradients) -> [(&'static str, Vec<(&'static str, Tensor)>); 4] {
        [
            ("clipping", self.clipping.state()),
            ("grad_scaler", gradients.scaler().map(|scaler| scaler.state()).unwrap_or_default()),
            ("tally", self.tally.state()),
            ("skips", gradients.skips()),
        ]
    }
}

fn named(group: &str, tensors: Vec<(&str, Tensor)>) -> impl Iterator<Item = (String, Tensor)> {
    tensors.into_iter().map(move |(name, tensor)| (format!("{group}.{name}"), tensor))
}

const CPU_GENERATOR: &str = "generator.cpu";
const CUDA_GENERATOR: &str = "generator.cuda";
const PREVIOUS: &str = "previous_gradient";

impl State {
    fn parts(&self) -> Parts<'_> {
        let Self { network, ema, optimizer, clipping, tally, device, .. } = self;
        Parts { network, ema: ema.as_ref(), optimizer, clipping, tally, device: *device }
    }

    /// Saves the whole state between two steps. Training waits while the tensors are copied. Device sync here.
    pub(super) fn save_checkpoint(&mut self) -> Result<(), TrainError> {
        self.hear_of_last_step()?;
        let contents = self.contents()?;
        let name = contents.name;
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.save(contents)?;
            (self.saved_at, self.clock.saved) = (Some(name), Instant::now());
        }
        Ok(())
    }

    fn host_state(&self) -> HostState {
        let bad_images = [&self.training, &self.validation].map(|loader| loader.dataset().bad_images());
        HostState {
            data: self.data.clone(),
            model: self.network.model.digest().map(str::to_owned),
            weights: self.weights.clone(),
            epoch: self.epoch,
            step: self.step,
            step_at_epoch_start: self.step_at_epoch_start,
            next_batch: self.next_batch,
            taken_steps: self.taken_steps,
            taken_before: self.taken_before,
            skipped_steps: self.skipped_steps,
            images: self.images,
            evaluated_at: self.evaluated_at,
            last_validation: self.last_validation.clone(),
            elapsed_secs: self.elapsed().as_secs_f64(),
            evaluating_secs: self.evaluating().as_secs_f64(),
            tally: self.tally.counts,
            evaluations: self.early_stopping.seen.clone(),
            best_figures: self.best_figures.clone(),
            plateau: self.plateau.as_ref().map(|plateau| plateau.course.clone()),
            history: self.history.clone(),
            noise_scale: self.gradients.noise_scale.clone(),
            diagnosis: self.diagnosis.clone(),
            rule_sets: self.rule_sets.clone(),
            facts: self.facts.clone(),
            pictures: self.recorder.pictures().cloned(),
            is_incomplete: self.recorder.has_failed() || bad_images.iter().any(|images| !images.is_empty()),
            bad_images,
            threads: (self.device == Device::Cpu).then(threads::now),
        }
    }

    /// Restores the state outside the tensors.
    pub(super) fn take_host(&mut self, name: CheckpointName, host: HostState) {
        let HostState { epoch, step, evaluating_secs, elapsed_secs, .. } = host;
        (self.epoch, self.step) = (epoch, step);
        (self.step_at_epoch_start, self.next_batch) = (host.step_at_epoch_start, host.next_batch);
        (self.taken_steps, self.skipped_steps) = (host.taken_steps, host.skipped_steps);
        self.taken_before = host.taken_before;
        (self.images, self.evaluated_at) = (host.images, host.evaluated_at);
        (self.last_validation, self.best_figures) = (host.last_validation, host.best_figures);
        (self.history, self.gradients.noise_scale) = (host.history, host.noise_scale);
        (self.tally.counts, self.early_stopping.seen) = (host.tally, host.evaluations);
        (self.facts, self.weights) = (host.facts, host.weights);
        for (loader, bad) in [&self.training, &self.validation].into_iter().zip(host.bad_images) {
            loader.dataset().mark_bad(bad);
        }
        // A rule set that is new in this session starts here.
        for earlier in host.rule_sets {
            if let Some(rules) = self.rule_sets.iter_mut().find(|rules| rules.name() == earlier.name()) {
                *rules = earlier;
            }
        }
        if let (Some(diagnosis), Some(earlier)) = (&mut self.diagnosis, host.diagnosis) {
            *diagnosis = earlier;
        }
        if let (Some(plateau), Some(course)) = (&mut self.plateau, host.plateau) {
            plateau.course = course;
        }
        self.clock.go_on(elapsed_secs, evaluating_secs);
        self.saved_at = Some(name);
    }

    fn contents(&self) -> Result<Contents<HostState>, TrainError> {
        let parts = self.parts();
        let mut training: NamedTensors = Vec::new();
        for (group, tensors) in parts.groups(&self.gradients) {
            training.extend(named(group, tensors));
        }
        training.push((CPU_GENERATOR.to_owned(), generator_state(Device::Cpu)?));
        if self.device != Device::Cpu {
            training.push((CUDA_GENERATOR.to_owned(), generator_state(self.device)?));
        }
        let previous = self.gradients.previous_gradient().iter().enumerate();
        training.extend(previous.map(|(index, copy)| (format!("{PREVIOUS}.{index}"), copy.shallow_clone())));
        Ok(Contents {
            name: self.place(),
            elapsed_secs: self.elapsed().as_secs_f64(),
            metrics: self
                .last_validation
                .iter()
                .filter(|_| self.evaluated_at == Some(self.step))
                .flat_map(figures)
                .collect(),
            config: self.config.to_toml(),
            model: parts.network.parameters.named(),
            ema: parts.ema(),
            optimizer: parts.optimizer.state(),
            training,
            host: self.host_state(),
            finished_logs: self.recorder.finished_logs().to_vec(),
            logs: self.recorder.positions()?,
        })
    }
}

/// Metrics of an evaluation by their names in configs, without non-finite ones, which JSON cannot express.
fn figures(metrics: &Metrics) -> BTreeMap<String, f64> {
    let figures = Metric::ALL.iter().map(|metric| (metric.name().to_owned(), metrics.of(*metric)));
    figures.filter(|(_, value)| value.is_finite()).collect()
}

/// Warns if a change that is harmless to other runs affects the learning rate of this one.
fn warn_of_learning_rate(key: &str, schedule: &ScheduleConfig) {
    let name = schedule.name;
    if ["run.max_epochs", "run.max_steps"].contains(&key) && schedule.goes_by_length() {
        tracing::warn!("schedule.name = \"{name}\" depends on the run length: the learning rate jumps here");
    }
    if key.starts_with("evaluate.") && name == ScheduleName::Plateau {
        tracing::warn!("schedule.name = \"{name}\" depends on evaluations: the learning rate may drop at other steps");
    }
}

/// Value of `--allow-change` that allows other images.
const FILES: &str = "data.files";

/// Reads the config of a checkpoint in its run folder, with `overrides` as for [`Config::load`].
///
/// # Errors
/// If the config is invalid.
pub fn loaded_config(loaded: &Loaded, overrides: &[String]) -> Result<Config, ConfigError> {
    let name = format!("{}/config.toml", loaded.path.display());
    Config::parse_saved(&loaded.config(), &name, overrides, run_of(loaded))
}

/// Folder of the run that saved the checkpoint.
fn run_of(loaded: &Loaded) -> &Path {
    loaded.path.ancestors().nth(2).unwrap_or(Path::new(""))
}

/// A checkpoint from which to resume.
pub struct Resume {
    loaded: Loaded,
    /// Keys that differ and are allowed to.
    changed: Vec<String>,
    /// Whether the images may differ.
    pub(super) allows_other_images: bool,
    /// Whether the number of threads was and is chosen by the machine.
    has_free_threads: bool,
    pub(super) host: HostState,
}

impl Resume {
    /// Prepares to resume from a checkpoint with `config`. Keys that define the experiment must be unchanged unless
    /// `allowed` matches them. The images must be unchanged unless `allowed` contains `data.files`.
    ///
    /// # Errors
    /// If a key differs that must not, or if the checkpoint was not saved by a run.
    pub fn new(loaded: Loaded, config: &Config, allowed: &[String]) -> Result<Self, TrainError> {
        let before = loaded_config(&loaded, &[])?;
        // Compares absolute paths, but reports differences as they were given.
        let differ: Vec<String> = differences(&before.with_absolute_paths(), &config.with_absolute_paths())
            .into_iter()
            .map(|difference| difference.key)
            .collect();
        let is_allowed = |key: &str| allowed.iter().any(|pattern| matches(pattern, key));
        let (mut refused, mut changed) = (Vec::new(), Vec::new());
        for difference in differences(&before, config).into_iter().filter(|found| differ.contains(&found.key)) {
            if difference.is_harmless() {
                tracing::info!("from here on, {difference}");
                warn_of_learning_rate(&difference.key, &config.schedule);
            } else if is_allowed(&difference.key) {
                tracing::warn!("from here on, {difference} (allowed by --allow-change)");
                changed.push(difference.key);
            } else {
                refused.push(difference);
            }
        }
        if !refused.is_empty() {
            return Err(TrainError::Changed { checkpoint: loaded.path, differences: refused });
        }
        let (got, want) = (torch_version(), &loaded.manifest.libtorch);
        if got != want {
            tracing::warn!(
                "libtorch is {got}, but the checkpoint was saved with {want}: results may differ in the last bits"
            );
        }
        let mut host: HostState = loaded.host()?;
        if before.evaluate.metric != config.evaluate.metric {
            // The best value of one metric does not apply to another.
            host.evaluations = SeenEvaluations::default();
            host.plateau.iter_mut().for_each(PlateauCourse::forget_best);
        }
        if before.checkpoint.metric != config.checkpoint.metric {
            host.best_figures.clear();
        }
        let (old, new) = (before.data.batch_size, config.data.batch_size);
        if old != new && host.next_batch > 0 {
            let images = (host.next_batch * old).min(host.data.training_images());
            host.next_batch = images / new;
            tracing::warn!("data.batch_size changed within an epoch: {} images of it are used twice", images % new);
        }
        let has_free_threads = before.run.threads == 0 && config.run.threads == 0;
        let allows_other_images = is_allowed(FILES);
        Ok(Self { loaded, changed, allows_other_images, has_free_threads, host })
    }

    /// Folder of the run that saved the checkpoint.
    pub(super) fn run(&self) -> &Path {
        run_of(&self.loaded)
    }

    /// Position in the run at which the checkpoint was saved.
    pub(super) fn name(&self) -> CheckpointName {
        let name = self.loaded.path.file_name().unwrap_or_default().to_string_lossy();
        name.parse().unwrap_or_default()
    }

    /// The checkpoint.
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// Returns whether a part of the state was restored. The part starts over if it does not match and changes of its
    /// config table were allowed.
    fn fits(&self, table: &str, outcome: Result<(), CheckpointError>) -> Result<bool, TrainError> {
        match outcome {
            Err(CheckpointError::Tensors { cause, .. }) if self.changed.iter().any(|key| key.starts_with(table)) => {
                tracing::warn!("the {table} state starts over because the checkpoint does not match: {cause}");
                Ok(false)
            }
            outcome => Ok(outcome.map(|()| true)?),
        }
    }

    /// Uses the same number of threads as before if the config leaves the number to the machine.
    pub(super) fn keep_threads(&self, device: Device) {
        if self.has_free_threads && device == Device::Cpu {
            threads::keep(self.host.threads);
        }
    }

    /// Restores all tensors and random number generators.
    pub(super) fn restore(&self, parts: &Parts<'_>, gradients: &mut Gradients) -> Result<(), TrainError> {
        let loaded = &self.loaded;
        let (got, want) = (parts.network.model.digest(), self.host.model.as_deref());
        if got != want {
            let text = |digest: Option<&str>| digest.unwrap_or("none").to_owned();
            return Err(TrainError::OtherModel { got: text(got), want: text(want) });
        }
        loaded.model_into(&parts.network.parameters.named())?;
        if !self.fits("ema", loaded.ema_into(&parts.ema()))?
            && let Some(ema) = parts.ema
        {
            ema.restart()?;
        }
        let moments = loaded
            .optimizer()
            .and_then(|saved| parts.optimizer.restore(&saved).map_err(|cause| loaded.refuse_optimizer(cause)));
        self.fits("optimizer", moments)?;
        let training = loaded.training()?;
        let of_group = |group: &str| -> NamedTensors {
            let in_group = |name: &str| name.strip_prefix(group).is_some_and(|rest| rest.starts_with('.'));
            let found = training.iter().filter(|(name, _)| in_group(name));
            found.map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect()
        };
        for (group, tensors) in parts.groups(gradients) {
            let saved = match group {
                "tally" => parts.tally.as_kept_now(of_group(group)),
                _ => Ok(of_group(group)),
            };
            let copied = saved.and_then(|saved| copy_named(&saved, &named(group, tensors).collect::<Vec<_>>()));
            let copied = copied.map_err(|cause| loaded.refuse_training(cause));
            self.fits(if group == "grad_scaler" { "run" } else { group }, copied)?;
        }
        let previous = of_group(PREVIOUS).into_iter().map(|(_, copy)| copy.f_to_device(parts.device));
        gradients.restore_previous(previous.collect::<Result<_, _>>()?);
        let generator = |name: &str| training.iter().find(|(known, _)| known == name).map(|(_, state)| state);
        if let Some(state) = generator(CPU_GENERATOR) {
            set_generator_state(Device::Cpu, state)?;
        }
        match (parts.device, generator(CUDA_GENERATOR)) {
            (Device::Cpu, None) => {}
            (device @ Device::Cuda(_), Some(state)) => set_generator_state(device, state)?,
            (device, _) => {
                tracing::warn!(
                    "the checkpoint was saved on another kind of device than {device:?}: random numbers differ from \
                     here on"
                );
            }
        }
        Ok(())
    }
}
