//! Starts or resumes a prepared run.

use std::path::Path;

use indicatif::MultiProgress;

use super::{
    Buffers, Counters, EarlyStopping, Optimization, Prepared, RepairWatch, Resume, State, TrainError, TrainingModel,
    checkpoint_contents::TensorParts,
    data_identity::DataNow,
    evaluations::Evaluations,
    frozen::is_head_alone,
    host_state::HostState,
    initial_facts::{has_running_statistics, initial_facts},
    judge::Judge,
    optimization::ParameterState,
    output::Output,
    random_streams::RandomStreams,
    run_clock::RunClock,
    sharing::Sharing,
    training_data::TrainingData,
};
use crate::{
    checkpoint::{CheckpointWriter, FOLDER, Retention},
    config::{CheckpointConfig, Config, EmaConfig, PATHS, ScheduleName, paths_json},
    data::Preprocessing,
    diagnosis::Facts,
    distributed::Ranks,
    events::RunFolder,
    inference::{ModelClasses, Probabilities},
    optim::{Ema, Headroom, Plateau, Schedule, Span},
    recording::{Messenger, Progress, RecentSteps, Recorder, batch_picture, write_model_interface},
};

impl Prepared {
    /// Creates the files and the state of a new run.
    ///
    /// # Errors
    /// If a file cannot be created, or libtorch runs out of memory.
    pub fn start(self, folder: RunFolder, terminal: Option<MultiProgress>) -> Result<State, TrainError> {
        self.begin(Some(folder), terminal, None)
    }

    /// Resumes from a checkpoint in the folder of its run.
    ///
    /// # Errors
    /// If the checkpoint does not match, without changing the files of the run; also as for [`start`](Self::start).
    pub fn resume(self, folder: RunFolder, terminal: Option<MultiProgress>, from: Resume) -> Result<State, TrainError> {
        self.begin(Some(folder), terminal, Some(from))
    }

    /// Starts or resumes on a rank other than 0, which writes no files. Rank 0 must start or resume at the same time.
    ///
    /// # Errors
    /// If another rank is gone, or libtorch runs out of memory.
    pub fn follow(self, from: Option<Resume>) -> Result<State, TrainError> {
        self.begin(None, None, from)
    }

    fn begin(
        self,
        folder: Option<RunFolder>,
        terminal: Option<MultiProgress>,
        mut from: Option<Resume>,
    ) -> Result<State, TrainError> {
        if from.is_none() {
            self.fit_to_data()?;
        }
        let Self {
            config,
            ranks,
            device,
            network,
            training,
            validation,
            scale,
            numerics,
            loss,
            tally,
            initial_weights,
            mut backbone,
            explained,
            images,
            repairs,
        } = self;
        if from.as_ref().is_some_and(|from| !is_head_alone(&config.optimizer, from.host.counters.epoch)) {
            backbone.release()?;
        }
        let ParameterState { mut gradients, optimizer, clipping } =
            ParameterState::new(&config, &network, device, &ranks)?;
        let EmaConfig { decay, warmup } = config.ema;
        let ema = (decay > 0.0).then(|| Ema::new(network.parameters.named(), decay, warmup)).transpose()?;
        let identity = match images {
            Some(images) => images,
            None => DataNow::identify(training.dataset(), validation.dataset(), from.as_ref())?,
        };
        identity.log_remarks();
        if let Some(from) = &from {
            from.keep_threads(device);
            let (network, ema, optimizer) = (&network, ema.as_ref(), &optimizer);
            let parts = TensorParts { network, ema, optimizer, clipping: &clipping, tally: &tally, device };
            from.restore(&parts, &mut gradients)?;
        }
        let seeds_micro_batches = from.as_ref().is_none_or(|from| from.host.seeds_micro_batches);
        if !seeds_micro_batches && !ranks.are_alone() {
            return Err(TrainError::RankStreams);
        }
        let parts = TensorParts {
            network: &network,
            ema: ema.as_ref(),
            optimizer: &optimizer,
            clipping: &clipping,
            tally: &tally,
            device,
        };
        parts.broadcast(&ranks, &gradients)?;
        // After all checks: a run that cannot resume keeps its files unchanged.
        let checkpoints = match &folder {
            Some(folder) => checkpoints(&config.checkpoint, folder.path(), repairs.as_ref())?,
            None => None,
        };
        let is_judged = from.is_none() && config.diagnosis.enabled && folder.is_some();
        // A checkpoint from before the first step has no events.
        let is_at_start = from.as_ref().is_none_or(|from| from.host.counters.step == 0);
        let is_drawn = is_at_start && config.monitor.pictures_every_steps > 0 && folder.is_some();
        // Training reports an image that cannot be read.
        let first_batch = if is_judged || is_drawn { training.first_batch().ok() } else { None };
        let facts = is_judged
            .then(|| initial_facts(&config, &training, first_batch.as_ref(), &validation, &network, &gradients))
            .transpose()?
            .map(|facts| of_ranks(facts, &config, &ranks));
        if let Some(from) = &mut from {
            from.host.facts.ranks = ranks.places().to_vec();
            if from.inserts_layers() {
                from.host.facts.has_running_statistics = has_running_statistics(&config, &network);
            }
        }
        let is_resumed = from.is_some();
        let (identity, config, recorder) = match folder {
            None => (identity.without_record(), config, None),
            Some(folder) => {
                let identity = identity.write_record(&folder, from.as_ref().map(|from| &from.host.data))?;
                let config = anchored(config, &folder, is_resumed)?;
                let recorder = match &mut from {
                    Some(from) => Recorder::resume(folder, &config, from.record())?,
                    None => Recorder::create(folder, &config, facts.as_ref())?,
                };
                (identity, config, Some(recorder))
            }
        };
        let (classes, is_multi_label) =
            (training.dataset().classes().to_vec(), training.dataset().label_sets().is_multi_label());
        let model_classes =
            ModelClasses { names: classes.clone(), probabilities: Probabilities::of_data(is_multi_label) };
        let preprocessing = Preprocessing::new(training.dataset().shape(), &scale, &config.data);
        if let Some(recorder) = &recorder {
            write_model_interface(recorder.folder().folder(), &network, &model_classes, &preprocessing)?;
        }
        let run = recorder.as_ref().map_or(Path::new("").to_owned(), |recorder| recorder.folder().path().to_owned());
        let mut state = State {
            optimization: Optimization {
                plateau: plateau(&config),
                schedule: schedule(&config, training.batches_per_epoch()),
                // Device syncs here, before the first step.
                headroom: Headroom::of(&optimizer)?,
                optimizer,
                clipping,
                backbone,
                last_outcome: None,
                bad_in_a_row: 0,
            },
            sharing: if ranks.are_alone() {
                None
            } else {
                Some(Sharing::new(&network, device, &config.distributed, &ranks)?)
            },
            model: TrainingModel {
                buffers: Buffers::new(&network)?,
                network,
                ema,
                numerics,
                loss,
                initial_weights,
                random_streams: seeds_micro_batches.then_some(RandomStreams { seed: config.run.seed }),
                random_at_step: None,
            },
            gradients,
            evaluations: Evaluations {
                tally,
                early_stopping: EarlyStopping::new(&config.evaluate, &config.early_stopping),
                explained,
            },
            judge: Judge::new(&config.diagnosis, facts.unwrap_or_default()),
            output: Output {
                messenger: Messenger::new(&run, |warning| tracing::warn!("{warning}")),
                recent_steps: RecentSteps::new(config.monitor.recent_steps, &run),
                checkpoints,
                progress: match &recorder {
                    Some(_) => {
                        Progress::new(terminal, training.dataset().len() as u64, config.run.max_epochs, is_multi_label)
                    }
                    None => Progress::silent(),
                },
                recorder,
                saved_at: None,
            },
            data: TrainingData { training, validation, classes, scale, identity },
            counters: Counters::default(),
            clock: RunClock::start(),
            repairs,
            config,
            ranks,
        };
        if let Some(from) = from {
            state.restore_host_state(from.name(), from.host);
        }
        if let Some(batch) = first_batch.filter(|_| is_drawn) {
            let State { data, output, .. } = &mut state;
            if let Some(recorder) = &mut output.recorder {
                recorder.first_batch(batch_picture(&batch, &data.classes, &data.scale));
            }
        }
        Ok(state)
    }
}

/// Adds the ranks to the facts. With batch normalization over all ranks, a batch is that of all of them.
fn of_ranks(facts: Facts, config: &Config, ranks: &Ranks) -> Facts {
    let parts = if config.distributed.sync_batch_norm { ranks.world() } else { 1 };
    Facts { ranks: ranks.places().to_vec(), batch_size: facts.batch_size * parts, ..facts }
}

/// Records in the run folder the base of relative paths, unless it is recorded, and makes paths with another base
/// absolute.
fn anchored(config: Config, folder: &RunFolder, is_begun: bool) -> Result<Config, TrainError> {
    let is_there = folder.path().join(PATHS).exists();
    if let Some(json) = paths_json().filter(|_| !(is_begun && is_there)) {
        folder.write(PATHS, &json)?;
    }
    Ok(config.to_keep(folder.path()))
}

fn checkpoints(
    config: &CheckpointConfig,
    run: &Path,
    repairs: Option<&RepairWatch>,
) -> Result<Option<CheckpointWriter<HostState>>, TrainError> {
    let retention = Retention { keep_step: repairs.and_then(|watch| watch.return_to), ..Retention::from(config) };
    let start = || CheckpointWriter::start(&run.join(FOLDER), retention);
    Ok(config.is_on().then(start).transpose()?)
}

fn plateau(config: &Config) -> Option<Plateau> {
    let is_asked_for = config.schedule.name == ScheduleName::Plateau;
    is_asked_for.then(|| Plateau::new(&config.schedule, config.evaluate.metric, config.optimizer.learning_rate))
}

fn schedule(config: &Config, batches_per_epoch: usize) -> Schedule {
    let span = span(config, batches_per_epoch);
    let schedule = Schedule::new(&config.schedule, &config.optimizer, span);
    if schedule.warmup_steps() >= span.total_steps {
        tracing::warn!(
            "the warm-up of {} steps is not shorter than the run of {} steps; reduce schedule.warmup_steps or \
             schedule.warmup_epochs",
            schedule.warmup_steps(),
            span.total_steps
        );
    }
    schedule
}

/// Length of the run, for the schedule; one epoch if only `run.max_minutes` ends the run.
fn span(config: &Config, batches_per_epoch: usize) -> Span {
    let steps_per_epoch = batches_per_epoch.div_ceil(config.optimizer.accumulation_steps) as u64;
    let by_epochs = config.run.max_epochs.map(|epochs| epochs.saturating_mul(steps_per_epoch));
    let total_steps = by_epochs.into_iter().chain(config.run.max_steps).min().unwrap_or(steps_per_epoch);
    Span { steps_per_epoch, total_steps }
}
