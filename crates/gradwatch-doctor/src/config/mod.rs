//! Reads and validates the TOML file of an experiment.
//!
//! All problems are reported at once: an error lists every unknown or missing key and every value out of range, each
//! with its key path and the expected value.
//!
//! ```
//! use gradwatch_doctor::config::{Config, ConfigError};
//!
//! let toml = "[run]\nmax_epoch = 2\n[data]\nsource = \"synthetic\"\n[model]\nname = \"resnet8\"\ndropout = 1.5";
//! let Err(ConfigError::Invalid { problems, .. }) = Config::parse(toml, "demo.toml") else { panic!() };
//! let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
//! assert_eq!(lines[0], "model.dropout: got 1.5, want at least 0 and below 1");
//! assert_eq!(lines[1], "run.max_epoch: unknown key; did you mean run.max_epochs?");
//! ```
//!
//! A config can also be built in code. Every table implements `Default`, with the defaults of the TOML file:
//!
//! ```
//! use gradwatch_doctor::config::{Architecture, Config, DataConfig, ModelConfig, RunConfig, Source};
//!
//! let config = Config {
//!     run: RunConfig { max_epochs: Some(2), ..RunConfig::default() },
//!     data: DataConfig { source: Source::Folder, path: "images".into(), ..DataConfig::default() },
//!     model: ModelConfig::as_published(Architecture::Resnet18),
//!     ..Config::default()
//! };
//! assert_eq!(Config::parse(&config.to_toml(), "demo.toml")?, config);
//! # Ok::<(), gradwatch_doctor::config::ConfigError>(())
//! ```
//!
//! Defaults that depend on another key come from [`ModelConfig::as_published`], [`OptimizerConfig::new`], and
//! [`MonitorConfig::new`].

mod action;
mod activation;
mod architecture;
mod augment;
mod checkpoint;
mod clipping;
mod data;
mod diagnosis;
mod difference;
mod distributed;
#[cfg(test)]
mod documented_defaults;
mod early_stopping;
mod ema;
mod error;
mod evaluate;
mod from_toml;
mod image_size;
mod initialization;
mod key_pattern;
mod loss;
mod model;
mod monitor;
mod names;
mod nearest;
mod optimizer;
mod overrides;
mod pattern;
mod range;
mod reader;
mod repair;
mod run;
mod sagemaker;
mod saved;
mod schedule;
mod toml_text;

use std::path::Path;

use serde::Serialize;
use toml::Table;

pub use action::{Action, Severity};
pub(crate) use action::{WEBHOOK, is_webhook};
pub use architecture::{Architecture, Defaults};
pub use augment::{
    Augment, AutoPolicy, Automatic, ColorJitter, EraseFill, GaussianBlur, MixMode, Mixing, RandomAffine, RandomErasing,
    Recipe, Sampling, Solarize,
};
pub use checkpoint::{CheckpointConfig, OnError};
pub use clipping::{
    AdagcConfig, AgcCompat, AgcConfig, AutoclipConfig, ClippingConfig, ClippingMode, ZclipConfig, ZclipMode,
    ZclipOption,
};
pub use data::{DataConfig, Decode, Interpolation, Normalize, OnBadImage, Source, SplitBy};
pub use diagnosis::{DiagnosisConfig, RuleName, RuleSetName, StopAt};
pub use difference::{Difference, differences};
pub use distributed::{DistributedConfig, Reduction};
pub use early_stopping::EarlyStoppingConfig;
pub use ema::EmaConfig;
pub use error::{ConfigError, Problem, listed};
pub use evaluate::{EvaluateConfig, Metric};
pub use from_toml::FromToml;
pub use image_size::ImageSize;
pub use initialization::{Fan, Initialization, InitializationMethod};
pub use key_pattern::{DATA_FILES, check_key, check_key_pattern};
pub use loss::{ClassBalance, LossConfig, LossName};
pub use model::{Activation, ModelConfig, Normalization};
pub use monitor::{Kernels, MonitorConfig, MonitorPreset};
pub use names::Named;
#[doc(hidden)]
pub use names::named_enum;
pub use nearest::name as nearest_name;
pub use optimizer::{GroupConfig, NonFinite, OptimizerConfig, OptimizerName};
use overrides::with_overrides;
pub use overrides::{override_value, split_override};
pub use pattern::matches;
pub use reader::{Notes, Section, shown};
pub use repair::{RepairConfig, RepairMode};
pub use run::{Precision, RunConfig};
pub use sagemaker::{SagemakerRule, SagemakerRuleName};
pub use saved::{PATHS, paths_json};
pub use schedule::{ScheduleConfig, ScheduleName};
pub use toml_text::parse_toml;
use toml_text::{parse_table, read};

/// A complete experiment. Its TOML serialization reads back as the same value. The default has no end; set `max_epochs`,
/// `max_steps`, or `max_minutes` in `run`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Config {
    /// Log folder, seed, device, and end conditions.
    pub run: RunConfig,
    /// Images, labels, augmentation.
    pub data: DataConfig,
    /// Architecture and its settings.
    pub model: ModelConfig,
    /// Cross-entropy and its settings.
    pub loss: LossConfig,
    /// Optimizer.
    pub optimizer: OptimizerConfig,
    /// Learning rate schedule.
    pub schedule: ScheduleConfig,
    /// Gradient clipping.
    pub clipping: ClippingConfig,
    /// Exponential moving average of the weights.
    pub ema: EmaConfig,
    /// Data-parallel training on several ranks.
    pub distributed: DistributedConfig,
    /// Measured statistics and their intervals.
    pub monitor: MonitorConfig,
    /// Interval and metric of evaluations.
    pub evaluate: EvaluateConfig,
    /// End of a run that no longer improves.
    pub early_stopping: EarlyStoppingConfig,
    /// Rules that check the run.
    pub diagnosis: DiagnosisConfig,
    /// Changes of a run that goes wrong.
    pub repair: RepairConfig,
    /// Interval and retention of checkpoints.
    pub checkpoint: CheckpointConfig,
}

impl Config {
    /// Reads a TOML file, applies `overrides` of the form `table.key=value`, then validates the result.
    ///
    /// # Errors
    /// If the file cannot be read, or if a key or value is invalid.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self, ConfigError> {
        Self::parse_with(&read(path)?, &path.display().to_string(), overrides)
    }

    /// Reads TOML text. Errors show `name` as its file name.
    ///
    /// # Errors
    /// If a key or value is invalid.
    pub fn parse(text: &str, name: &str) -> Result<Self, ConfigError> {
        Self::parse_with(text, name, &[])
    }

    fn from_table(table: Table, name: &str, notes: Notes) -> Result<Self, ConfigError> {
        let config = Self::read(Section::root(table, &notes), &notes);
        let problems = notes.into_problems();
        if problems.is_empty() { Ok(config) } else { Err(ConfigError::Invalid { name: name.to_owned(), problems }) }
    }

    /// Reads the root table. If a problem is noted, the config is not valid.
    fn read(mut root: Section<'_>, notes: &Notes) -> Self {
        let run = RunConfig::read(root.section("run"));
        let data = DataConfig::read(root.section("data"));
        let evaluate = EvaluateConfig::read(root.section("evaluate"), data.multi_label);
        let config = Self {
            model: ModelConfig::read(root.section("model")),
            loss: LossConfig::read(root.section("loss")),
            optimizer: OptimizerConfig::read(root.section("optimizer")),
            schedule: ScheduleConfig::read(root.section("schedule"), &run),
            clipping: ClippingConfig::read(root.section("clipping")),
            ema: EmaConfig::read(root.section("ema")),
            distributed: DistributedConfig::read(root.section("distributed")),
            monitor: MonitorConfig::read(root.section("monitor")),
            early_stopping: EarlyStoppingConfig::read(root.section("early_stopping")),
            diagnosis: DiagnosisConfig::read(root.section("diagnosis")),
            repair: RepairConfig::read(root.section("repair")),
            checkpoint: CheckpointConfig::read(root.section("checkpoint"), evaluate.metric),
            run,
            data,
            evaluate,
        };
        root.finish();
        config.report_other_task(notes);
        if config.repair.mode == RepairMode::Auto && !config.diagnosis.enabled {
            notes.problem("repair.mode", "got auto, want diagnosis.enabled = true, because repairs answer findings");
        }
        if !config.evaluate.is_on() {
            config.report_without_evaluations(notes);
        }
        config
    }

    /// Reports settings that do not match the labels of the images: one class per image, or any number of classes.
    fn report_other_task(&self, notes: &Notes) {
        let is_multi_label = self.data.multi_label;
        let with = format!("with data.multi_label = {is_multi_label}");
        if is_multi_label && self.loss.name != LossName::Bce {
            notes.problem("loss.name", format!("got {}, want \"bce\" {with}", self.loss.name));
        }
        if is_multi_label && self.loss.label_smoothing > 0.0 {
            notes.problem("loss.label_smoothing", format!("got {}, want 0 {with}", self.loss.label_smoothing));
        }
        let (selecting, ranking) = (self.evaluate.metric, self.checkpoint.metric);
        // The first is the default of the second, and told once.
        let ranking = (ranking != selecting).then_some(("checkpoint.metric", ranking));
        for (key, metric) in [("evaluate.metric", selecting)].into_iter().chain(ranking) {
            if !metric.is_for(is_multi_label) {
                let fitting = Metric::ALL.iter().filter(|metric| metric.is_for(is_multi_label));
                let names: Vec<&str> = fitting.map(|metric| metric.name()).collect();
                notes.problem(key, format!("got {metric}, want one of {} {with}", names.join(", ")));
            }
        }
    }

    /// Reports settings that depend on evaluations, for a run without evaluations.
    fn report_without_evaluations(&self, notes: &Notes) {
        const WANT: &str = "want evaluate.every_epochs or evaluate.every_steps above 0";
        let report = |key: &str, got: String| notes.problem(key, format!("got {got}, but the run has none, {WANT}"));
        if let got @ 1.. = self.early_stopping.patience {
            report("early_stopping.patience", format!("{got} evaluations"));
        }
        if self.schedule.name == ScheduleName::Plateau {
            report("schedule.name", "plateau, which needs evaluations".to_owned());
        }
        if let got @ 1.. = self.evaluate.explain_images {
            report("evaluate.explain_images", format!("{got} per evaluation"));
        }
    }

    /// Reads TOML text, such as the config in a checkpoint, with `overrides` as for [`load`](Self::load).
    ///
    /// # Errors
    /// If a key or value is invalid.
    pub fn parse_with(text: &str, name: &str, overrides: &[String]) -> Result<Self, ConfigError> {
        Self::from_table(with_overrides(parse_table(text, name)?, overrides)?, name, Notes::default())
    }

    /// Batch size of evaluations.
    pub fn evaluation_batch_size(&self) -> usize {
        match self.evaluate.batch_size {
            0 => 2 * self.data.batch_size,
            size => size,
        }
    }

    /// The complete config as TOML, including defaults.
    pub fn to_toml(&self) -> String {
        // Serializing plain structs fails only for maps with non-string keys. There are none.
        toml::to_string_pretty(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str =
        "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\nmodel.initialization = \"orthogonal\"";

    fn problems(toml: &str) -> Vec<String> {
        match Config::parse(toml, "test.toml") {
            Err(ConfigError::Invalid { problems, .. }) => problems.iter().map(Problem::to_string).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_resolved_config_reads_back_as_the_same_value() {
        let config = Config::parse(SMALLEST, "a").unwrap();
        assert_eq!(config.model.initialization.method, InitializationMethod::Orthogonal);
        assert_eq!(Config::parse(&config.to_toml(), "b").unwrap(), config);
    }

    #[test]
    fn a_model_from_a_file_takes_a_path_and_no_key_of_our_own_layers() {
        let file = SMALLEST.replace("\"mlp\"", "\"torchscript\"\nmodel.path = \"net.pt\"");
        let refused = problems(&format!("{file}\nmodel.width = 8"));
        assert_eq!(
            refused,
            ["initialization", "width"]
                .map(|key| format!("model.{key}: a TorchScript file has its own layers and weights; remove the key"))
        );
        let plain = file.replace("model.initialization = \"orthogonal\"", "");
        let config = Config::parse(&plain, "a").unwrap();
        assert_eq!(config.model.path.as_deref(), Some(Path::new("net.pt")));
        let toml = config.to_toml();
        assert!(!toml.contains("activation"), "{toml}");
        assert_eq!(Config::parse(&toml, "b").unwrap(), config);
        let missing = problems(&plain.replace("model.path = \"net.pt\"", ""));
        assert_eq!(missing, ["model.path: missing; want the TorchScript file"]);
        let mlp = problems(&format!("{SMALLEST}\nmodel.path = \"net.pt\""));
        assert_eq!(mlp, ["model.path: only model.name = \"torchscript\" loads a file; remove the key"]);
    }

    #[test]
    fn every_problem_is_listed_at_once_with_what_was_seen_and_wanted() {
        let toml = "[run]\nsed = 1\n[data]\nsource = \"idx\"\nbatch_size = 0\nworkers = -1\n[model]\nname = \"resnet9\"\n\
                    [optimiser]\nlr = 1\n[optimizer]\nlearning_rate = \"fast\"\nnesterov = true\nmomentum = 0";
        let lines = problems(toml);
        let want = [
            "data.batch_size: got 0, want an integer from 1",
            "data.path: missing; want the data folder, the manifest of csv, or the files of webdataset or parquet",
            "data.workers: got -1, want an integer from 0",
            "model.name: got \"resnet9\", want one of ",
            "optimiser: unknown key; did you mean optimizer?",
            "optimizer.learning_rate: got \"fast\", want a number",
            "optimizer.nesterov: nesterov needs momentum without dampening",
            "run.max_epochs: missing; want max_epochs, max_steps, or max_minutes, so that the run ends",
            "run.sed: unknown key; did you mean run.seed?",
        ];
        assert_eq!(lines.len(), want.len(), "{lines:#?}");
        for (line, want) in lines.iter().zip(want) {
            assert!(line.starts_with(want), "{line}\n{want}");
        }
        assert!(lines[3].ends_with("did you mean \"resnet8\"?"), "{}", lines[3]);
    }

    #[test]
    fn an_invalid_value_is_told_once_and_hides_what_follows_from_it() {
        let told = |more: &str| problems(&format!("data.source = \"synthetic\"\nmodel.name = \"mlp\"\n{more}"));
        let number = "an integer from 1 to 1000000000000";
        assert_eq!(told("run.max_steps = 0"), [format!("run.max_steps: got 0, want {number}")]);
        assert_eq!(
            told("run = { max_epochs = \"x\" }\ndata.path = \"\"\ndata.normalize = \"some\"\ndata.mean = [0.5]"),
            [
                "data.normalize: got \"some\", want one of none, computed, given",
                "data.path: got \"\", want a path",
                "run.max_epochs: got \"x\", want an integer from 0"
            ]
        );
        let end = "run.max_epochs = 1\n";
        let given = "loss = { class_balance = \"given\", class_weights = [-1] }";
        assert_eq!(told(&format!("{end}{given}")).len(), 1);
        assert_eq!(told(&format!("{end}[[optimizer.groups]]\nparameters = 1")).len(), 1);
        assert_eq!(
            problems("run.max_epochs = 1\ndata = { source = \"folder\", path = 1 }\nmodel.name = \"mlp\"").len(),
            1
        );
    }

    #[test]
    fn a_missing_file_and_broken_toml_are_one_line_each() {
        let missing = Config::load(Path::new("/nowhere/x.toml"), &[]).unwrap_err().to_string();
        assert!(missing.contains("/nowhere/x.toml"), "{missing}");
        let broken = Config::parse("[run]\nseed = = 3", "x.toml").unwrap_err().to_string();
        assert!(broken.starts_with("config x.toml is not valid TOML: line 2: "), "{broken}");
        assert_eq!(broken.lines().count(), 1);
    }

    #[test]
    fn a_saved_config_without_an_edition_is_of_the_first_and_one_of_a_user_of_the_newest() {
        let edition = |config: Result<Config, ConfigError>| config.unwrap().data.edition;
        assert_eq!(edition(Config::parse(SMALLEST, "a")), DataConfig::EDITION);
        assert_eq!(edition(Config::parse_saved(SMALLEST, "a", &[], Path::new("none"))), 1);
        let saved = Config::parse(SMALLEST, "a").unwrap().to_toml();
        assert_eq!(edition(Config::parse_saved(&saved, "a", &[], Path::new("none"))), DataConfig::EDITION);
        assert_eq!(edition(Config::parse_saved(SMALLEST, "a", &["data.edition=2".into()], Path::new("none"))), 2);
    }
}
