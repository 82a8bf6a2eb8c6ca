//! Prepares a run from its config. Checks everything before it writes anything.

use std::{path::Path, sync::Arc};

use indicatif::MultiProgress;
use tch::{Device, Kind, Tensor};

use super::{
    Buffers, EarlyStopping, HostState, Loss, Messenger, Numerics, Progress, RecentSteps, Recorder, Resume, State,
    Tally, TrainError,
    checkpoints::Parts,
    data_identity::{self, DataNow},
    explanations,
    facts::facts,
    frozen::{HeldBack, check_kept_statistics, is_head_alone},
    kernel_choice::choose_kernels,
    model_interface,
    run_clock::RunClock,
    trained::Trained,
};
use crate::{
    checkpoint::{CheckpointWriter, FOLDER, Retention},
    config::{CheckpointConfig, Config, DiagnosisConfig, EmaConfig, OnBadImage, PATHS, ScheduleName, paths_json},
    data::{self, DataError, Dataset, Loader, LoaderOptions, PixelScale, Preprocessing, Splits},
    diagnosis::{Diagnosis, RuleSet},
    events::RunFolder,
    gradient::GradientHistory,
    libtorch::{generator_state, resolve_device, set_generator_state},
    model::{self, Network, Pass, weights},
    optim::{Ema, Headroom, Plateau, Schedule, Span},
};

/// A checked experiment: the data is open and the model is built, but nothing is written.
pub struct Prepared {
    /// Config of the experiment.
    pub config: Config,
    /// Device of all tensors.
    pub device: Device,
    /// Model with its initial weights.
    pub network: Network,
    /// Shuffled, augmented training images.
    pub training: Loader,
    /// Validation images.
    pub validation: Loader,
    /// Normalization of pixels.
    pub scale: PixelScale,
    pub(super) numerics: Numerics,
    pub(super) loss: Loss,
    tally: Tally,
    /// BLAKE3 of the file with the initial weights.
    weights: Option<String>,
    held_back: HeldBack,
    /// Validation images to explain at evaluations.
    explained: Vec<u32>,
    /// Identity of the images, if already known.
    images: Option<DataNow>,
}

/// Checks an experiment as far as possible without training: device, data, model, initial weights, loss.
///
/// # Errors
/// If one of them is invalid or not available.
pub fn prepare(config: Config) -> Result<Prepared, TrainError> {
    let splits = data::load(&config.data, config.run.seed)?;
    let mut prepared = prepare_on(splits, config)?;
    let Prepared { config, network, .. } = &prepared;
    if let Some(path) = &config.model.weights {
        let key = config.model.weights_key.as_deref();
        let report = weights::load_state_dict(network, path, key, config.model.weights_strict)?;
        report.tell();
        prepared.weights = Some(report.digest);
    }
    Ok(prepared)
}

/// Checks an experiment that resumes from a checkpoint. Does not need the file with the initial weights.
///
/// # Errors
/// As for [`prepare`]; also if the classes or the images differ from those of the checkpoint.
pub fn prepare_to_resume(config: Config, from: &Resume) -> Result<Prepared, TrainError> {
    let splits = data::load_known(&config.data, config.run.seed, from.host.data.classes());
    let splits = splits.map_err(|error| match error {
        error @ DataError::OtherClasses { .. } => TrainError::OtherClasses(error),
        error => error.into(),
    })?;
    // Before any image is decoded, because "another image" is a better message than "does not decode".
    let images = DataNow::look(&splits.train, &splits.validation, Some(from))?;
    Ok(Prepared { images: Some(images), ..prepare_on(splits, config)? })
}

fn prepare_on(splits: Splits, config: Config) -> Result<Prepared, TrainError> {
    if config.run.threads > 0 {
        tch::set_num_threads(i32::try_from(config.run.threads).unwrap_or(i32::MAX));
    }
    let device = resolve_device(&config.run.device)?;
    // Bytes take a quarter of the copies, if there is a kernel that normalizes them.
    let as_bytes = choose_kernels(config.monitor.kernels, device);
    let Splits { train, validation } = splits;
    data::check_listed(&config.data, &[&train, &validation])?;
    check_decodes(&config, &train, "training")?;
    check_decodes(&config, &validation, "validation")?;
    let scale = PixelScale::from_config(&config.data, &train)?;
    let options = LoaderOptions::for_training(&config.data, config.run.seed, scale.clone());
    let training = Loader::new(Arc::clone(&train), LoaderOptions { as_bytes, ..options })?;
    let options = LoaderOptions::for_validation(&config.data, scale.clone());
    let batch_size = config.evaluation_batch_size();
    let validation = Loader::new(validation, LoaderOptions { batch_size, as_bytes, ..options })?;
    let class_counts: Vec<u64> = train.class_counts().into_iter().map(|count| count as u64).collect();
    let loss = Loss::new(&config.loss, &class_counts, device)?;
    let tally = Tally::new(train.classes().len(), device)?;
    let (network, held_back) = build(&config, &train, device)?;
    let explained = explanations::choose(&config.evaluate, validation.dataset())?;
    if config.evaluate.explain_images > 0 && !network.model.has_feature_maps() {
        return Err(TrainError::NoFeatureMaps { name: config.model.name });
    }
    let numerics = Numerics::new(&config.run, device);
    numerics.lay_out_weights(&network)?;
    probe_single_image(&config, &network, &train, device)?;
    let weights = None;
    Ok(Prepared {
        config,
        device,
        network,
        training,
        validation,
        scale,
        numerics,
        loss,
        tally,
        weights,
        held_back,
        explained,
        images: None,
    })
}

/// Fails early if no image of a split decodes. Otherwise, validation images would fail only after a whole epoch.
fn check_decodes(config: &Config, images: &Dataset, split: &'static str) -> Result<(), TrainError> {
    let on_bad = config.data.on_bad_image;
    // With `stop`, the first bad image ends the run anyway.
    if !images.is_decoded_on_demand() || on_bad == OnBadImage::Stop {
        return Ok(());
    }
    for index in (0..).take(images.len()) {
        if images.image_unless_bad(index, on_bad)?.is_some() {
            return Ok(());
        }
    }
    Err(TrainError::NoImages { split })
}

fn build(config: &Config, images: &Dataset, device: Device) -> Result<(Network, HeldBack), TrainError> {
    // Sets the seed right before the initialization, the only random numbers until training starts.
    tch::manual_seed(config.run.seed as i64);
    let network = model::build(&config.model, images.shape(), images.classes().len(), device)?;
    if let Some(remark) = network.model.remark() {
        tracing::warn!("{remark}");
    }
    check_kept_statistics(config, &network)?;
    let held_back = HeldBack::freeze(config, &network)?;
    Ok((network, held_back))
}

/// Returns which training passes have a single image, and the remedy; `None` if all have more.
fn single_image(config: &Config, images: usize) -> Option<[&'static str; 2]> {
    let batch_size = config.data.batch_size;
    let rest = if config.data.drop_last { 0 } else { images % batch_size };
    let is_halved = config.monitor.noise_scale_every_steps > 0 && config.optimizer.accumulation_steps == 1;
    match [batch_size, rest] {
        [1, _] => Some(["every batch", "raise data.batch_size"]),
        [_, 1] => Some(["the last batch of an epoch", "set data.drop_last = true or another data.batch_size"]),
        [2 | 3, _] if is_halved => {
            Some(["half of a batch", "set monitor.noise_scale_every_steps = 0 or raise data.batch_size"])
        }
        [_, 2 | 3] if is_halved => Some([
            "half of a batch",
            "set monitor.noise_scale_every_steps = 0, data.drop_last = true or another data.batch_size",
        ]),
        _ => None,
    }
}

/// Checks early whether the model can train on a single image, if a batch will have only one.
fn probe_single_image(config: &Config, network: &Network, images: &Dataset, device: Device) -> Result<(), TrainError> {
    let Some([what, remedy]) = single_image(config, images.len()) else { return Ok(()) };
    let [channels, height, width] = images.shape().sizes();
    let mut buffers = Buffers::new(network)?;
    let random = generator_state(device)?;
    let image = Tensor::f_zeros([1, channels, height, width], (Kind::Float, device))?;
    let can_train = tch::no_grad(|| network.forward(&image, &Pass::training())).is_ok();
    buffers.restore()?;
    set_generator_state(device, &random)?;
    let (images, batch_size) = (images.len(), config.data.batch_size);
    if can_train { Ok(()) } else { Err(TrainError::SingleImage { what, images, batch_size, remedy }) }
}

impl Prepared {
    /// Reads all images and logs those in both splits, duplicates, and images with two labels.
    pub fn tell_of_images(&self) {
        let [training, validation] = data::survey([self.training.dataset(), self.validation.dataset()]);
        data_identity::tell(&training, &validation);
    }

    /// Creates the files and the state of a new run.
    ///
    /// # Errors
    /// If a file cannot be created, or libtorch runs out of memory.
    pub fn start(self, folder: RunFolder, terminal: Option<MultiProgress>) -> Result<State, TrainError> {
        self.begin(folder, terminal, None)
    }

    /// Resumes from a checkpoint in the folder of its run.
    ///
    /// # Errors
    /// If the checkpoint does not match, without changing the files of the run; also as for [`start`](Self::start).
    pub fn resume(self, folder: RunFolder, terminal: Option<MultiProgress>, from: Resume) -> Result<State, TrainError> {
        self.begin(folder, terminal, Some(from))
    }

    fn begin(
        self,
        folder: RunFolder,
        terminal: Option<MultiProgress>,
        mut from: Option<Resume>,
    ) -> Result<State, TrainError> {
        if from.is_none() {
            self.fit_to_data()?;
        }
        let Self {
            config,
            device,
            network,
            training,
            validation,
            numerics,
            loss,
            tally,
            weights,
            scale,
            explained,
            images,
            ..
        } = self;
        let mut held_back = self.held_back;
        if from.as_ref().is_some_and(|from| !is_head_alone(&config.optimizer, from.host.epoch)) {
            held_back.release()?;
        }
        let Trained { mut gradients, optimizer, clipping } = Trained::new(&config, &network, device)?;
        let EmaConfig { decay, warmup } = config.ema;
        let ema = (decay > 0.0).then(|| Ema::new(network.parameters.named(), decay, warmup)).transpose()?;
        let data = match images {
            Some(data) => data,
            None => DataNow::look(training.dataset(), validation.dataset(), from.as_ref())?,
        };
        data.tell();
        if let Some(from) = &from {
            from.keep_threads(device);
            let (network, ema, optimizer) = (&network, ema.as_ref(), &optimizer);
            let parts = Parts { network, ema, optimizer, clipping: &clipping, tally: &tally, device };
            from.restore(&parts, &mut gradients)?;
        }
        // After all checks: a run that cannot resume keeps its files unchanged.
        let checkpoints = checkpoints(&config.checkpoint, folder.path())?;
        let is_judged = from.is_none() && config.diagnosis.enabled;
        let facts = is_judged.then(|| facts(&config, &training, &gradients)).transpose()?;
        let data = data.leave_record(&folder, from.as_ref().map(|from| &from.host.data))?;
        let config = anchored(config, &folder, from.is_some())?;
        let recorder = match &mut from {
            Some(from) => Recorder::resume(folder, &config, from)?,
            None => Recorder::create(folder, &config, facts.as_ref())?,
        };
        let classes = training.dataset().classes().to_vec();
        let preprocessing = Preprocessing::new(training.dataset().shape(), &scale, &config.data);
        model_interface::leave(recorder.folder().folder(), &network, &classes, &preprocessing)?;
        let mut state = State {
            numerics,
            clipping,
            ema,
            plateau: plateau(&config),
            schedule: schedule(&config, training.batches_per_epoch()),
            buffers: Buffers::new(&network)?,
            tally,
            history: GradientHistory::default(),
            rule_sets: rule_sets(&config.diagnosis),
            facts: facts.unwrap_or_default(),
            diagnosis: config.diagnosis.enabled.then(Diagnosis::default),
            messenger: Messenger::new(recorder.folder().path()),
            recent: RecentSteps::new(config.monitor.recent_steps, recorder.folder().path()),
            early_stopping: EarlyStopping::new(&config.evaluate, &config.early_stopping),
            recorder,
            progress: Progress::new(terminal, training.dataset().len() as u64, config.run.max_epochs),
            epoch: 0,
            step: 0,
            taken_steps: 0,
            last_step: None,
            skips_heard_of: 0,
            // Device syncs here, before the first step.
            headroom: Headroom::of(&optimizer)?,
            skipped_steps: 0,
            images: 0,
            last_validation: None,
            checkpoints,
            stop_for: None,
            is_checkpoint_asked_for: false,
            is_dump_asked_for: false,
            data,
            weights,
            held_back,
            taken_before: 0,
            step_at_epoch_start: 0,
            next_batch: 0,
            best_figures: Vec::new(),
            saved_at: None,
            random_at_step: None,
            evaluated_at: None,
            clock: RunClock::start(),
            config,
            device,
            classes,
            scale,
            explained,
            network,
            loss,
            optimizer,
            gradients,
            training,
            validation,
        };
        if let Some(from) = from {
            state.take_host(from.name(), from.host);
        }
        Ok(state)
    }
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

fn checkpoints(config: &CheckpointConfig, run: &Path) -> Result<Option<CheckpointWriter<HostState>>, TrainError> {
    let start = || CheckpointWriter::start(&run.join(FOLDER), Retention::from(config));
    Ok(config.is_on().then(start).transpose()?)
}

fn rule_sets(config: &DiagnosisConfig) -> Vec<RuleSet> {
    let asked = config.rule_sets.iter().filter(|_| config.enabled);
    asked.map(|&name| RuleSet::new(name, &config.sagemaker)).collect()
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
