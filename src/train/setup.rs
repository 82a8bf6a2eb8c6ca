//! Prepares a run from its config. Checks everything before it writes anything.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::{
    Buffers, RepairWatch, Resume, TrainError,
    data_identity::{self, DataNow},
    frozen::{FrozenBackbone, check_kept_statistics},
    kernel_choice::choose_kernels,
};
use crate::{
    config::{Config, OnBadImage, RepairMode},
    data::{self, DataError, Dataset, Loader, LoaderOptions, PixelScale, Splits},
    distributed::Ranks,
    evaluation::{EvaluationError, Loss, Numerics, Tally},
    libtorch::{generator_state, resolve_device, set_generator_state},
    model::{self, Network, Pass, weights},
    recording::choose_images,
};

/// A checked experiment: the data is open and the model is built, but nothing is written.
pub struct Prepared {
    /// Config of the experiment.
    pub config: Config,
    /// The processes that train together.
    pub ranks: Ranks,
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
    pub(super) tally: Tally,
    /// BLAKE3 of the file with the initial weights.
    pub(super) initial_weights: Option<String>,
    pub(super) backbone: FrozenBackbone,
    /// Validation images to explain at evaluations.
    pub(super) explained: Vec<u32>,
    /// Identity of the images, if already known.
    pub(super) images: Option<DataNow>,
    /// What the run knows of its repairs; `None` if it does not repair itself.
    pub repairs: Option<RepairWatch>,
}

/// Checks an experiment as far as possible without training: device, data, model, initial weights, loss.
///
/// # Errors
/// If one of them is invalid or not available.
pub fn prepare(config: Config) -> Result<Prepared, TrainError> {
    prepare_on_ranks(config, Ranks::alone(), None)
}

/// Like [`prepare`] on one of several ranks, with its own device; `None` takes that of the config. Waits for the other
/// ranks.
///
/// # Errors
/// As for [`prepare`]; also if the model cannot be trained on several ranks, or another rank is gone or has other images
/// or another model.
pub fn prepare_on_ranks(config: Config, ranks: Ranks, device: Option<Device>) -> Result<Prepared, TrainError> {
    let splits = data::load(&config.data, config.run.seed)?;
    data::check_classes(&config.data, &splits.train)?;
    let mut prepared = prepare_on(splits, config, ranks, device)?;
    let Prepared { config, network, .. } = &prepared;
    if let Some(path) = &config.model.weights {
        let key = config.model.weights_key.as_deref();
        let report = weights::load_state_dict(network, path, key, config.model.weights_strict)?;
        report.tell();
        prepared.initial_weights = Some(report.digest);
    }
    if !prepared.ranks.are_alone() {
        let Prepared { training, validation, .. } = &prepared;
        prepared.images = Some(DataNow::identify(training.dataset(), validation.dataset(), None)?);
    }
    prepared.check_ranks_agree()?;
    Ok(prepared)
}

/// Checks an experiment that resumes from a checkpoint. Does not need the file with the initial weights.
///
/// # Errors
/// As for [`prepare_on_ranks`]; also if the classes or the images differ from those of the checkpoint.
pub fn prepare_to_resume(
    config: Config,
    from: &Resume,
    ranks: Ranks,
    device: Option<Device>,
) -> Result<Prepared, TrainError> {
    let splits = data::load_known(&config.data, config.run.seed, from.host.data.classes());
    let splits = splits.map_err(|error| match error {
        error @ DataError::OtherClasses { .. } => TrainError::OtherClasses(error),
        error => error.into(),
    })?;
    // Before any image is decoded, because "another image" is a better message than "does not decode".
    let images = DataNow::identify(&splits.train, &splits.validation, Some(from))?;
    let prepared = Prepared { images: Some(images), ..prepare_on(splits, config, ranks, device)? };
    from.insert_layers(&prepared)?;
    prepared.check_ranks_agree()?;
    Ok(prepared)
}

fn prepare_on(splits: Splits, config: Config, ranks: Ranks, device: Option<Device>) -> Result<Prepared, TrainError> {
    if config.run.threads > 0 {
        tch::set_num_threads(i32::try_from(config.run.threads).unwrap_or(i32::MAX));
    }
    let device = device.map_or_else(|| resolve_device(&config.run.device), Ok)?;
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
    let tally = Tally::of_training(&train, device)?;
    let (network, backbone) = build(&config, &train, device)?;
    let explained = choose_images(&config.evaluate, validation.dataset())?;
    if config.evaluate.explain_images > 0 && !network.model.has_feature_maps() {
        return Err(TrainError::NoFeatureMaps { name: config.model.name });
    }
    let numerics = Numerics::new(&config.run, device);
    numerics.lay_out_weights(&network)?;
    check_ranks(&ranks, &network)?;
    check_repair(&config, ranks.world())?;
    probe_single_image(&config, &network, &train, device)?;
    probe_training_size(&config, &network, &training, device)?;
    Ok(Prepared {
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
        initial_weights: None,
        backbone,
        explained,
        images: None,
        repairs: None,
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
    Err(EvaluationError::NoImages { split }.into())
}

fn build(config: &Config, images: &Dataset, device: Device) -> Result<(Network, FrozenBackbone), TrainError> {
    // Sets the seed right before the initialization, the only random numbers until training starts.
    tch::manual_seed(config.run.seed as i64);
    let network = model::build(&config.model, images.shape(), images.classes().len(), device)?;
    if let Some(remark) = network.model.remark() {
        tracing::warn!("{remark}");
    }
    check_kept_statistics(config, &network)?;
    let backbone = FrozenBackbone::freeze(config, &network)?;
    Ok((network, backbone))
}

/// Checks that several ranks can train the network: they must know how it updates its buffers.
fn check_ranks(ranks: &Ranks, network: &Network) -> Result<(), TrainError> {
    let is_program = network.model.torchscript().is_some();
    match network.parameters.buffers().next() {
        Some(buffer) if is_program && !ranks.are_alone() => {
            Err(TrainError::RankBuffers { name: buffer.name.to_string() })
        }
        _ => Ok(()),
    }
}

/// Checks that a run on so many ranks does not repair itself, which works on one rank only.
///
/// # Errors
/// If it does.
pub fn check_repair(config: &Config, ranks: usize) -> Result<(), TrainError> {
    match config.repair.mode {
        RepairMode::Auto if ranks > 1 => Err(TrainError::RepairOnRanks { ranks }),
        _ => Ok(()),
    }
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

/// Checks early whether a model for one size of images can train on those of another one.
fn probe_training_size(
    config: &Config,
    network: &Network,
    training: &Loader,
    device: Device,
) -> Result<(), TrainError> {
    if training.shape() == training.dataset().shape() {
        return Ok(());
    }
    let [channels, height, width] = training.shape().sizes();
    let image = Tensor::f_zeros([1, channels, height, width], (Kind::Float, device))?;
    match tch::no_grad(|| network.forward(&image, &Pass::evaluation())) {
        Ok(_) => Ok(()),
        Err(_) => Err(TrainError::TrainingSize {
            name: config.model.name,
            got: training.shape(),
            want: training.dataset().shape(),
        }),
    }
}

impl Prepared {
    /// Checks before the first exchange of tensors that all ranks have the same images and parameters.
    fn check_ranks_agree(&self) -> Result<(), TrainError> {
        let Self { ranks, network, .. } = self;
        let Some(images) = self.images.as_ref().filter(|_| !ranks.are_alone()) else { return Ok(()) };
        ranks.check_same("data set", &images.text(), |first, own| format!("{own}, and rank 0 has {first}"))?;
        let parameters = network.parameters.iter();
        let lines: Vec<String> =
            parameters.map(|parameter| format!("{} {:?}", parameter.name, parameter.tensor.size())).collect();
        let difference = |first: &str, own: &str| {
            let pair = first.lines().zip(own.lines()).find(|(first, own)| first != own);
            let [first_count, own_count] = [first, own].map(|text| text.lines().count());
            pair.map_or_else(
                || format!("{own_count} parameters, and rank 0 has {first_count}"),
                |(first, own)| format!("{own}, and rank 0 has {first}"),
            )
        };
        Ok(ranks.check_same("model", &lines.join("\n"), difference)?)
    }

    /// Reads all images and logs those in both splits, duplicates, and images with two labels.
    pub fn warn_about_images(&self) {
        let [training, validation] = data::survey([self.training.dataset(), self.validation.dataset()]);
        data_identity::log_remarks(&training, &validation);
    }
}
