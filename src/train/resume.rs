//! Resumes a run from a checkpoint.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tch::Device;

use super::{
    Counters, Gradients, Prepared, TrainError,
    checkpoint_contents::{CPU_GENERATOR, CUDA_GENERATOR, PREVIOUS, TensorParts, named},
    early_stopping::EvaluationHistory,
    host_state::HostState,
    threads,
};
use crate::{
    checkpoint::{CheckpointError, CheckpointName, Loaded},
    config::{Config, ConfigError, DATA_FILES, ModelConfig, ScheduleConfig, ScheduleName, differences, matches},
    diagnosis::inserts_batch_norm,
    disk::{NamedTensors, copy_named},
    distributed::DistributedError,
    libtorch::{device_name, set_generator_state, torch_version},
    model::{insert_batch_norm, names_after_insertion},
    optim::PlateauCourse,
    recording::ResumedRecord,
    repair::RepairHistory,
};

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

/// What rank 0 tells the others about the checkpoint.
#[derive(Deserialize)]
struct Told {
    allows_other_images: bool,
    has_free_threads: bool,
    host: HostState,
}

/// A checkpoint from which to resume.
pub struct Resume {
    /// `None` on ranks other than 0, which get the state from rank 0.
    loaded: Option<Loaded>,
    /// Folder of the run that saved the checkpoint.
    run: PathBuf,
    name: CheckpointName,
    /// Keys that differ and are allowed to.
    changed: Vec<String>,
    /// Whether the images may differ.
    pub(super) allows_other_images: bool,
    /// Whether the number of threads was and is chosen by the machine.
    has_free_threads: bool,
    /// Model of the checkpoint, if a repair inserts batch normalization into it.
    plain: Option<ModelConfig>,
    pub(super) host: HostState,
}

impl Resume {
    /// Prepares to resume from a checkpoint with `config`. Keys that define the experiment must be unchanged unless
    /// `allowed` matches them, or a repair of the run has set them. The images must be unchanged unless `allowed` contains `data.files`.
    ///
    /// # Errors
    /// If a key differs that must not, or if the checkpoint was not saved by a run.
    pub fn new(
        loaded: Loaded,
        config: &Config,
        allowed: &[String],
        repairs: &RepairHistory,
    ) -> Result<Self, TrainError> {
        let saved = loaded_config(&loaded, &[])?;
        let before = repairs.apply_to(&saved)?;
        // Compares absolute paths, but reports differences as they were given.
        let differ: Vec<String> = differences(&before.with_absolute_paths(), &config.with_absolute_paths())
            .into_iter()
            .map(|difference| difference.key)
            .collect();
        let is_allowed = |key: &str| allowed.iter().any(|pattern| matches(pattern, key));
        let (mut refused, mut changed) = (Vec::new(), Vec::new());
        for difference in differences(&saved, &before) {
            tracing::info!("from here on, {difference} (a repair)");
            changed.push(difference.key);
        }
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
            host.evaluations = EvaluationHistory::default();
            host.plateau.iter_mut().for_each(PlateauCourse::forget_best);
        }
        if before.checkpoint.metric != config.checkpoint.metric {
            host.counters.best_figures.clear();
        }
        let (old, new) = (before.data.batch_size, config.data.batch_size);
        if old != new && host.counters.next_batch > 0 {
            let images = (host.counters.next_batch * old).min(host.data.training_images());
            host.counters.next_batch = images / new;
            tracing::warn!("data.batch_size changed within an epoch: {} images of it are used twice", images % new);
        }
        let plain = inserts_batch_norm(&saved.model, &before.model).then(|| saved.model.clone());
        if repairs.returned_to() == Some(host.counters.step) {
            // The weights of the best evaluation went with the abandoned part, and may be those of later steps.
            host.evaluations = EvaluationHistory::default();
        }
        let has_free_threads = before.run.threads == 0 && config.run.threads == 0;
        let allows_other_images = is_allowed(DATA_FILES);
        let name = loaded.path.file_name().unwrap_or_default().to_string_lossy().parse().unwrap_or_default();
        let run = run_of(&loaded).to_owned();
        Ok(Self { loaded: Some(loaded), run, name, changed, allows_other_images, has_free_threads, plain, host })
    }

    /// Prepares a rank other than 0 to resume with it; `text` is [`Resume::text`] on rank 0.
    ///
    /// # Errors
    /// If the text is not that of this version.
    pub fn follow(text: &str) -> Result<Self, TrainError> {
        let invalid = |cause| DistributedError::Lost(format!("rank 0 sent a state that cannot be read: {cause}"));
        let Told { allows_other_images, has_free_threads, host } = serde_json::from_str(text).map_err(invalid)?;
        Ok(Self {
            loaded: None,
            run: PathBuf::new(),
            name: CheckpointName::default(),
            changed: Vec::new(),
            allows_other_images,
            has_free_threads,
            plain: None,
            host,
        })
    }

    /// What other ranks need to resume with this one.
    ///
    /// # Errors
    /// If the state cannot be written as JSON.
    pub fn text(&self) -> Result<String, TrainError> {
        let &Self { allows_other_images, has_free_threads, .. } = self;
        let told = serde_json::json!({
            "allows_other_images": allows_other_images, "has_free_threads": has_free_threads, "host": self.host,
        });
        Ok(told.to_string())
    }

    /// Path of the checkpoint; empty on ranks other than 0.
    pub fn path(&self) -> PathBuf {
        self.loaded.as_ref().map(|loaded| loaded.path.clone()).unwrap_or_default()
    }

    /// Folder of the run that saved the checkpoint.
    pub(super) fn run(&self) -> &Path {
        &self.run
    }

    /// Position in the run at which the checkpoint was saved.
    pub(super) fn name(&self) -> CheckpointName {
        self.name
    }

    /// State of the run's files.
    pub(super) fn record(&mut self) -> ResumedRecord<'_> {
        let HostState { counters: Counters { step, evaluated_at, .. }, facts, pictures, is_incomplete, .. } =
            &mut self.host;
        ResumedRecord {
            step: *step,
            is_evaluated: *evaluated_at == Some(*step),
            logs: self.loaded.as_ref().map_or(&[], |loaded| &loaded.manifest.logs),
            facts,
            pictures: pictures.take(),
            is_incomplete: *is_incomplete,
        }
    }

    /// Returns whether a part of the state was restored. The part starts over if it does not match and changes of its
    /// config table were allowed.
    fn is_restored(&self, table: &str, outcome: Result<(), CheckpointError>) -> Result<bool, TrainError> {
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

    /// Whether a repair inserts layers into the network of the checkpoint.
    pub(super) fn inserts_layers(&self) -> bool {
        self.plain.is_some()
    }

    /// Restores the weights if a repair inserts layers. They are fitted to the first training images.
    pub(super) fn insert_layers(&self, prepared: &Prepared) -> Result<(), TrainError> {
        let (Some(plain), Some(loaded)) = (&self.plain, &self.loaded) else { return Ok(()) };
        Ok(insert_batch_norm(&prepared.network, plain, &loaded.model()?, &prepared.fitting_images()?)?)
    }

    /// Restores all tensors, except weights that are [restored](Self::insert_layers), and random number generators.
    pub(super) fn restore(&self, parts: &TensorParts<'_>, gradients: &mut Gradients) -> Result<(), TrainError> {
        let Some(loaded) = &self.loaded else { return Ok(()) };
        let (got, want) = (parts.network.model.digest(), self.host.model.as_deref());
        if got != want {
            let text = |digest: Option<&str>| digest.unwrap_or("none").to_owned();
            return Err(TrainError::OtherModel { got: text(got), want: text(want) });
        }
        let has_average = if let Some(plain) = &self.plain {
            let names = names_after_insertion(parts.network, plain)?;
            parts.optimizer.restore_renamed(&loaded.optimizer()?, &names)?;
            false
        } else {
            loaded.model_into(&parts.network.parameters.named())?;
            let moments = loaded
                .optimizer()
                .and_then(|saved| parts.optimizer.restore(&saved).map_err(|cause| loaded.refuse_optimizer(cause)));
            self.is_restored("optimizer", moments)?;
            self.is_restored("ema", loaded.ema_into(&parts.ema()))?
        };
        if let Some(ema) = parts.ema.filter(|_| !has_average) {
            ema.restart()?;
        }
        let training = loaded.training()?;
        let of_group = |group: &str| -> NamedTensors {
            let in_group = |name: &str| name.strip_prefix(group).is_some_and(|rest| rest.starts_with('.'));
            let found = training.iter().filter(|(name, _)| in_group(name));
            found.map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect()
        };
        for (group, tensors) in parts.groups(gradients) {
            let saved = match group {
                "tally" => parts.tally.upgrade_state(of_group(group)),
                _ => Ok(of_group(group)),
            };
            let copied = saved.and_then(|saved| copy_named(&saved, &named(group, tensors).collect::<Vec<_>>()));
            let copied = copied.map_err(|cause| loaded.refuse_training(cause));
            // Some clippers have a state for each parameter.
            let starts_over = self.inserts_layers() && group == "clipping" && copied.is_err();
            if !starts_over {
                self.is_restored(if group == "grad_scaler" { "run" } else { group }, copied)?;
            }
        }
        // The last gradient is that of other parameters.
        let previous = if self.inserts_layers() { Vec::new() } else { of_group(PREVIOUS) };
        let previous = previous.into_iter().map(|(_, copy)| copy.f_to_device(parts.device));
        gradients.restore_previous(previous.collect::<Result<_, _>>()?);
        let generator = |name: &str| training.iter().find(|(known, _)| known == name).map(|(_, state)| state);
        if let Some(state) = generator(CPU_GENERATOR) {
            set_generator_state(Device::Cpu, state)?;
        }
        match (parts.device, generator(CUDA_GENERATOR)) {
            (Device::Cpu, None) => {}
            _ if self.host.seeds_micro_batches => {}
            (device @ Device::Cuda(_), Some(state)) => set_generator_state(device, state)?,
            (device, _) => {
                tracing::warn!(
                    "the checkpoint was saved on another kind of device than {}: random numbers differ from here \
                     on",
                    device_name(device)
                );
            }
        }
        Ok(())
    }
}
