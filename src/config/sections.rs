//! Each table of the TOML file, turned into its validated struct: defaults, ranges, what excludes what.

use std::path::PathBuf;

use toml::{Table, Value};

use super::{
    Architecture, Augment, CheckpointConfig, ClassBalance, DataConfig, EarlyStoppingConfig, EmaConfig, EvaluateConfig,
    Fan, Initialization, InitializationMethod, LossConfig, Metric, ModelConfig, MonitorConfig, MonitorPreset,
    Normalize, OnBadImage, OnError, Precision, RunConfig, Source,
    reader::{Patterns, Section},
};

pub(super) const ABOVE_ZERO: &str = "a number above 0";
pub(super) const FROM_ZERO: &str = "a number from 0";
pub(super) const AT_LEAST_ONE: &str = "a whole number from 1";
pub(super) const SHARE: &str = "a number from 0 to 1";

/// Numbers that end up in f32 arithmetic must stay numbers there, and not become 0.
pub(super) fn above_zero(value: &f64) -> bool {
    let value = *value as f32;
    value > 0.0 && value.is_finite()
}

pub(super) fn from_zero(value: &f64) -> bool {
    *value == 0.0 || above_zero(value)
}

pub(super) fn share(value: &f64) -> bool {
    (0.0..=1.0).contains(value)
}

pub(super) fn below_one(value: &f64) -> bool {
    (0.0..1.0).contains(value)
}

pub(super) fn finite(value: &f64) -> bool {
    value.is_finite()
}

pub(super) fn run(mut table: Section<'_>) -> RunConfig {
    let config = RunConfig {
        logdir: PathBuf::from(table.get("logdir", "logs".to_owned(), |path| !path.is_empty(), "a folder")),
        seed: table.any("seed", 42),
        device: table.any("device", "auto".to_owned()),
        threads: table.get("threads", 0, |threads| *threads <= 1024, "at most 1024; 0 is one per core"),
        precision: table.choice("precision").unwrap_or(Precision::Fp32),
        channels_last: table.any("channels_last", false),
        tf32: table.any("tf32", false),
        cudnn_benchmark: table.any("cudnn_benchmark", false),
        deterministic: table.any("deterministic", false),
        max_epochs: table.optional("max_epochs", |epochs| *epochs > 0, AT_LEAST_ONE),
        max_steps: table.optional("max_steps", |steps| *steps > 0, AT_LEAST_ONE),
        max_minutes: table.optional("max_minutes", above_zero, ABOVE_ZERO),
    };
    if config.max_epochs.is_none() && config.max_steps.is_none() && config.max_minutes.is_none() {
        table.missing("max_epochs", "max_epochs, max_steps or max_minutes, so that the run ends");
    }
    table.finish();
    config
}

pub(super) fn data(mut table: Section<'_>) -> DataConfig {
    let source = table.required_choice::<Source>("source");
    let path = table.optional::<String>("path", |path| !path.is_empty(), "a path");
    if path.is_none() && source.is_some_and(|source| source != Source::Synthetic) {
        table.missing("path", "the folder of the data, or the manifest file of csv");
    }
    let channel_count = "1 (grey) or 3 (RGB)";
    let config = DataConfig {
        source: source.unwrap_or(Source::Synthetic),
        path: path.unwrap_or_default().into(),
        batch_size: table.get("batch_size", 128, |size| *size > 0, AT_LEAST_ONE),
        validation_fraction: table.get("validation_fraction", 0.1, |x| *x > 0.0 && *x < 1.0, "above 0 and below 1"),
        image_size: table.get("image_size", 32, |size| (1..=8192).contains(size), "from 1 to 8192 pixels"),
        channels: table.get("channels", 3, |channels| matches!(channels, 1 | 3), channel_count),
        crop_fraction: table.get("crop_fraction", 1.0, |share| *share > 0.0 && *share <= 1.0, "above 0, at most 1"),
        classes: table.get("classes", 10, |classes| (2..=100_000).contains(classes), "from 2 to 100000"),
        samples: table.get("samples", 10_000, |samples| *samples >= 2, "at least 2"),
        normalize: table.choice("normalize").unwrap_or(Normalize::Computed),
        mean: table.any("mean", Vec::new()),
        std: table.get("std", Vec::new(), |std: &Vec<f64>| std.iter().all(above_zero), "numbers above 0"),
        workers: table.get("workers", 1, |workers| *workers <= 256, "at most 256; 0 loads in the training thread"),
        prefetch: table.get("prefetch", 4, |batches| (1..=1024).contains(batches), "from 1 to 1024"),
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
    let interval = |[low, high]: &[f64; 2]| *low > 0.0 && low <= high && high.is_finite();
    let config = Augment {
        random_crop: table.get("random_crop", 0, |pixels| *pixels <= 1024, "at most 1024 pixels"),
        random_resized_crop: table.any("random_resized_crop", false),
        scale: table.get("scale", [0.08, 1.0], |s| interval(s) && s[1] <= 1.0, "[low, high], above 0, at most 1"),
        ratio: table.get("ratio", [3.0 / 4.0, 4.0 / 3.0], interval, "[low, high], above 0"),
        hflip: table.get("hflip", 0.0, share, SHARE),
        vflip: table.get("vflip", 0.0, share, SHARE),
        cutout: table.get("cutout", 0, |side| *side <= 8192, "at most 8192 pixels"),
    };
    if config.random_crop > 0 && config.random_resized_crop {
        table.problem("random_crop", "both random_crop and random_resized_crop are on; want one of them");
    }
    table.finish();
    config
}

/// Keys of `[model]` that say how layers are made.
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
        table.forbid(&["path"], "only model.name = \"torchscript\" is read from a file");
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
        table.forbid(&["weights_key"], "no file of model.weights to take it from");
    }
    let Patterns(frozen) = table.any("freeze_batch_norm_statistics", Patterns::default());
    let config = ModelConfig {
        name: name.unwrap_or(Architecture::Mlp),
        path: path.map(PathBuf::from),
        activation: table.choice("activation").unwrap_or(own.activation),
        normalization: table.choice("normalization").unwrap_or(own.normalization),
        groups: table.get("groups", 8, |groups| *groups > 0, AT_LEAST_ONE),
        dropout: table.get("dropout", 0.0, below_one, "from 0, below 1"),
        stochastic_depth: table.get("stochastic_depth", 0.0, below_one, "from 0, below 1"),
        patch_size: table.optional("patch_size", |side| (1..=1024).contains(side), "from 1 to 1024"),
        residual: table.any("residual", own.residual),
        width: table.optional("width", |width| (1..=1 << 20).contains(width), "from 1 to 1048576"),
        depth: table.optional("depth", |depth| (1..=10_000).contains(depth), "from 1 to 10000"),
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
        gain: table.optional("gain", above_zero, ABOVE_ZERO),
        fan: table.choice("fan").unwrap_or(Fan::FanIn),
        mean: table.get("mean", 0.0, finite, "a finite number"),
        std: table.get("std", 0.01, from_zero, FROM_ZERO),
        value: table.get("value", 0.0, finite, "a finite number"),
        zero_residual: table.any("zero_residual", false),
        skip_init: table.any("skip_init", false),
    };
    table.finish();
    config
}

pub(super) fn loss(mut table: Section<'_>) -> LossConfig {
    let weights = |weights: &Vec<f64>| weights.iter().all(from_zero) && weights.iter().any(above_zero);
    let config = LossConfig {
        label_smoothing: table.get("label_smoothing", 0.0, below_one, "from 0, below 1"),
        class_balance: table.choice("class_balance").unwrap_or(ClassBalance::None),
        class_weights: table.get("class_weights", Vec::new(), |w| w.is_empty() || weights(w), "from 0, not all 0"),
    };
    let given = config.class_balance == ClassBalance::Given;
    if given == config.class_weights.is_empty() {
        let want = if given { "one per class" } else { "none, or loss.class_balance = \"given\"" };
        table.problem("class_weights", format!("got {} numbers, want {want}", config.class_weights.len()));
    }
    table.finish();
    config
}

pub(super) fn monitor(mut table: Section<'_>) -> MonitorConfig {
    let preset = table.choice("preset").unwrap_or(MonitorPreset::Full);
    let light = preset == MonitorPreset::Light;
    let mut steps = |key, full: u64, at_light: u64| table.any(key, if light { at_light } else { full });
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
        recent_steps: table.get("recent_steps", 32, |steps| *steps <= 1000, "at most 1000"),
        every_steps: table.get("every_steps", 1, |steps| *steps > 0, AT_LEAST_ONE),
    };
    table.finish();
    config
}

pub(super) fn evaluate(mut table: Section<'_>) -> EvaluateConfig {
    let config = EvaluateConfig {
        every_epochs: table.get("every_epochs", 1, |epochs| *epochs > 0, AT_LEAST_ONE),
        every_steps: table.any("every_steps", 0),
        batch_size: table.any("batch_size", 0),
        metric: table.choice("metric").unwrap_or(Metric::Accuracy),
        explain_images: table.get("explain_images", 0, |images| *images <= 256, "at most 256"),
        explain_classes: table.any("explain_classes", Vec::new()),
    };
    table.finish();
    config
}

pub(super) fn checkpoint(mut table: Section<'_>, metric: Metric) -> CheckpointConfig {
    let config = CheckpointConfig {
        every_epochs: table.any("every_epochs", 1),
        every_steps: table.any("every_steps", 0),
        every_minutes: table.get("every_minutes", 0.0, from_zero, FROM_ZERO),
        keep_last: table.get("keep_last", 2, |count| *count > 0, AT_LEAST_ONE),
        keep_best: table.any("keep_best", 1),
        metric: table.choice("metric").unwrap_or(metric),
        keep_every: table.any("keep_every", 0),
        on_error: table.choice("on_error").unwrap_or(OnError::Continue),
    };
    table.finish();
    config
}

pub(super) fn ema(mut table: Section<'_>) -> EmaConfig {
    let config =
        EmaConfig { decay: table.get("decay", 0.0, below_one, "from 0, below 1"), warmup: table.any("warmup", true) };
    table.finish();
    config
}

pub(super) fn early_stopping(mut table: Section<'_>) -> EarlyStoppingConfig {
    let config = EarlyStoppingConfig {
        patience: table.any("patience", 0),
        min_delta: table.get("min_delta", 0.0, from_zero, FROM_ZERO),
    };
    table.finish();
    config
}
