//! Parses each TOML table into its validated struct: defaults, ranges, and conflicting settings.

use std::path::PathBuf;

use toml::{Table, Value};

use super::{
    Architecture, Augment, CheckpointConfig, ClassBalance, DataConfig, EarlyStoppingConfig, EmaConfig, EvaluateConfig,
    Fan, Initialization, InitializationMethod, Kernels, LossConfig, Metric, ModelConfig, MonitorConfig, MonitorPreset,
    Normalize, OnBadImage, OnError, Precision, RunConfig, Source, SplitBy,
    range::{
        AREA_SHARE, ASPECT_RATIO, BELOW_ONE, COUNT, FIGURE, FROM_ONE, GAIN, MINUTES, MINUTES_OR_NONE, PART, PIXEL_MEAN,
        PIXEL_STD, SHARE, SIDE_SHARE, SPREAD, WEIGHT,
    },
    reader::{Patterns, Section},
};

/// Largest batch size: larger than practical data sets, and small enough that sizes do not overflow.
const MOST_IMAGES: u64 = 1 << 24;

pub(super) fn run(mut table: Section<'_>) -> RunConfig {
    let config = RunConfig {
        logdir: PathBuf::from(table.get("logdir", "logs".to_owned(), |path| !path.is_empty(), "a folder")),
        seed: table.count("seed", 42, 0..=i64::MAX as u64),
        device: table.any("device", "auto".to_owned()),
        threads: table.count("threads", 0, 0..=1024),
        precision: table.choice("precision").unwrap_or(Precision::Fp32),
        channels_last: table.any("channels_last", false),
        tf32: table.any("tf32", false),
        cudnn_benchmark: table.any("cudnn_benchmark", false),
        deterministic: table.any("deterministic", false),
        max_epochs: table.optional_count("max_epochs", FROM_ONE),
        max_steps: table.optional_count("max_steps", FROM_ONE),
        max_minutes: table.optional_number("max_minutes", &MINUTES),
    };
    if config.max_epochs.is_none() && config.max_steps.is_none() && config.max_minutes.is_none() {
        table.missing("max_epochs", "max_epochs, max_steps, or max_minutes, so that the run ends");
    }
    table.finish();
    config
}

pub(super) fn data(mut table: Section<'_>) -> DataConfig {
    let source = table.required_choice::<Source>("source");
    let path = table.optional::<String>("path", |path| !path.is_empty(), "a path");
    if path.is_none() && source.is_some_and(|source| source != Source::Synthetic) {
        table.missing("path", "the data folder, or the manifest file for csv");
    }
    let channel_count = "1 (gray) or 3 (RGB)";
    let config = DataConfig {
        source: source.unwrap_or(Source::Synthetic),
        edition: table.get("edition", DataConfig::EDITION, |edition| matches!(edition, 1 | 2), "1 or 2"),
        path: path.unwrap_or_default().into(),
        batch_size: table.count("batch_size", 128, 1..=MOST_IMAGES),
        validation_fraction: table.number("validation_fraction", 0.1, &PART),
        split_by: table.choice("split_by").unwrap_or(SplitBy::Name),
        image_size: table.count("image_size", 32, 1..=8192),
        channels: table.get("channels", 3, |channels| matches!(channels, 1 | 3), channel_count),
        crop_fraction: table.number("crop_fraction", 1.0, &SIDE_SHARE),
        classes: table.count("classes", 10, 2..=100_000),
        samples: table.count("samples", 10_000, 2..=1_000_000_000),
        normalize: table.choice("normalize").unwrap_or(Normalize::Computed),
        mean: table.numbers("mean", &PIXEL_MEAN),
        std: table.numbers("std", &PIXEL_STD),
        workers: table.count("workers", 1, 0..=256),
        prefetch: table.count("prefetch", 4, 1..=1024),
        drop_last: table.any("drop_last", false),
        on_bad_image: table.choice("on_bad_image").unwrap_or(OnBadImage::Stop),
        augment: augment(table.section("augment")),
    };
    let given = config.normalize == Normalize::Given;
    let fits = |list: &[f64]| if given { matches!(list.len(), 1 | 3) } else { list.is_empty() };
    for (key, list) in [("mean", &config.mean), ("std", &config.std)] {
        if !fits(list) {
            let want = if given { "one per channel" } else { "none, or data.normalize = \"given\"" };
            table.problem(key, format!("got {} numbers, want {want}", list.len()));
        }
    }
    table.finish();
    config
}

fn augment(mut table: Section<'_>) -> Augment {
    let config = Augment {
        random_crop: table.count("random_crop", 0, 0..=1024),
        random_resized_crop: table.any("random_resized_crop", false),
        scale: table.interval("scale", [0.08, 1.0], &AREA_SHARE),
        ratio: table.interval("ratio", [3.0 / 4.0, 4.0 / 3.0], &ASPECT_RATIO),
        hflip: table.number("hflip", 0.0, &SHARE),
        vflip: table.number("vflip", 0.0, &SHARE),
        cutout: table.count("cutout", 0, 0..=8192),
    };
    if config.random_crop > 0 && config.random_resized_crop {
        table.problem("random_crop", "both random_crop and random_resized_crop are on; want only one");
    }
    table.finish();
    config
}

/// Keys of `[model]` that define layers and weights.
const OF_OUR_LAYERS: [&str; 14] = [
    "activation",
    "normalization",
    "groups",
    "dropout",
    "stochastic_depth",
    "patch_size",
    "residual",
    "width",
    "depth",
    "initialization",
    "weights",
    "weights_key",
    "weights_strict",
    "freeze_batch_norm_statistics",
];

pub(super) fn model(mut table: Section<'_>) -> Option<ModelConfig> {
    let name = table.required_choice::<Architecture>("name");
    let is_file = name == Some(Architecture::Torchscript);
    if is_file {
        table.forbid(&OF_OUR_LAYERS, "a TorchScript file has its own layers and weights");
    } else {
        table.forbid(&["path"], "only model.name = \"torchscript\" loads a file");
    }
    let path = table.optional::<String>("path", |path| !path.is_empty(), "a path");
    if is_file && path.is_none() {
        table.missing("path", "the TorchScript file");
    }
    let short = |value: &Value| {
        let method = Value::String(value.as_str()?.to_owned());
        Some(Table::from_iter([("method".to_owned(), method)]))
    };
    let own = name.unwrap_or(Architecture::Mlp).defaults();
    let weights = table.optional::<String>("weights", |path| !path.is_empty(), "a path");
    if weights.is_none() && !is_file {
        table.forbid(&["weights_key"], "got a key without model.weights, want the weights file that has this key");
    }
    let Patterns(frozen) = table.any("freeze_batch_norm_statistics", Patterns::default());
    let config = ModelConfig {
        name: name.unwrap_or(Architecture::Mlp),
        path: path.map(PathBuf::from),
        activation: table.choice("activation").unwrap_or(own.activation),
        normalization: table.choice("normalization").unwrap_or(own.normalization),
        groups: table.count("groups", 8, 1..=1 << 20),
        dropout: table.number("dropout", 0.0, &BELOW_ONE),
        stochastic_depth: table.number("stochastic_depth", 0.0, &BELOW_ONE),
        patch_size: table.optional_count("patch_size", 1..=1024),
        residual: table.any("residual", own.residual),
        width: table.optional_count("width", 1..=1 << 20),
        depth: table.optional_count("depth", 1..=10_000),
        initialization: initialization(table.section_or("initialization", short)),
        weights: weights.map(PathBuf::from),
        weights_key: table.optional("weights_key", |key: &String| !key.is_empty(), "a key, such as model_ema"),
        weights_strict: table.any("weights_strict", true),
        freeze_batch_norm_statistics: frozen,
    };
    table.finish();
    name.map(|_| config)
}

fn initialization(mut table: Section<'_>) -> Initialization {
    let config = Initialization {
        method: table.choice("method").unwrap_or(InitializationMethod::Default),
        gain: table.optional_number("gain", &GAIN),
        fan: table.choice("fan").unwrap_or(Fan::FanIn),
        mean: table.number("mean", 0.0, &WEIGHT),
        std: table.number("std", 0.01, &SPREAD),
        value: table.number("value", 0.0, &WEIGHT),
        zero_residual: table.any("zero_residual", false),
        skip_init: table.any("skip_init", false),
    };
    table.finish();
    config
}

pub(super) fn loss(mut table: Section<'_>) -> LossConfig {
    let config = LossConfig {
        label_smoothing: table.number("label_smoothing", 0.0, &BELOW_ONE),
        class_balance: table.choice("class_balance").unwrap_or(ClassBalance::None),
        class_weights: table.numbers("class_weights", &FIGURE),
    };
    let given = config.class_balance == ClassBalance::Given;
    if given == config.class_weights.is_empty() {
        let want = if given { "one per class" } else { "none, or loss.class_balance = \"given\"" };
        table.problem("class_weights", format!("got {} numbers, want {want}", config.class_weights.len()));
    } else if given && config.class_weights.iter().all(|weight| *weight == 0.0) {
        table.problem("class_weights", "got 0 for every class, want at least one above 0");
    }
    table.finish();
    config
}

pub(super) fn monitor(mut table: Section<'_>) -> MonitorConfig {
    let preset = table.choice("preset").unwrap_or(MonitorPreset::Full);
    let light = preset == MonitorPreset::Light;
    let mut steps = |key, full: u64, at_light: u64| table.count(key, if light { at_light } else { full }, COUNT);
    let config = MonitorConfig {
        preset,
        first_steps: steps("first_steps", 10, 3),
        parameters_every_steps: steps("parameters_every_steps", 10, 50),
        histograms_every_steps: steps("histograms_every_steps", 100, 500),
        layers_every_steps: steps("layers_every_steps", 25, 100),
        weights_every_steps: steps("weights_every_steps", 25, 100),
        pictures_every_steps: steps("pictures_every_steps", 500, 1000),
        noise_scale_every_steps: steps("noise_scale_every_steps", 0, 0),
        previous_cosine: table.any("previous_cosine", false),
        recent_steps: table.count("recent_steps", 32, 0..=1000),
        every_steps: table.count("every_steps", 1, COUNT),
        kernels: table.choice("kernels").unwrap_or(Kernels::Auto),
    };
    table.finish();
    config
}

pub(super) fn evaluate(mut table: Section<'_>) -> EvaluateConfig {
    let config = EvaluateConfig {
        every_epochs: table.count("every_epochs", 1, COUNT),
        every_steps: table.count("every_steps", 0, COUNT),
        batch_size: table.count("batch_size", 0, 0..=MOST_IMAGES),
        metric: table.choice("metric").unwrap_or(Metric::Accuracy),
        explain_images: table.count("explain_images", 0, 0..=256),
        explain_classes: table.any("explain_classes", Vec::new()),
    };
    table.finish();
    config
}

pub(super) fn checkpoint(mut table: Section<'_>, metric: Metric) -> CheckpointConfig {
    let config = CheckpointConfig {
        every_epochs: table.count("every_epochs", 1, COUNT),
        every_steps: table.count("every_steps", 0, COUNT),
        every_minutes: table.number("every_minutes", 0.0, &MINUTES_OR_NONE),
        keep_last: table.count("keep_last", 2, FROM_ONE),
        keep_best: table.count("keep_best", 1, COUNT),
        metric: table.choice("metric").unwrap_or(metric),
        keep_every: table.count("keep_every", 0, COUNT),
        on_error: table.choice("on_error").unwrap_or(OnError::Continue),
    };
    table.finish();
    config
}

pub(super) fn ema(mut table: Section<'_>) -> EmaConfig {
    let config = EmaConfig { decay: table.number("decay", 0.0, &BELOW_ONE), warmup: table.any("warmup", true) };
    table.finish();
    config
}

pub(super) fn early_stopping(mut table: Section<'_>) -> EarlyStoppingConfig {
    let config = EarlyStoppingConfig {
        patience: table.count("patience", 0, COUNT),
        min_delta: table.number("min_delta", 0.0, &FIGURE),
    };
    table.finish();
    config
}
