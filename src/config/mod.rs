//! Reads and validates the TOML file of an experiment.
//!
//! All problems are reported at once: an error lists every unknown or missing key and every value out of range, each
//! with its key path and the expected value.
//!
//! ```
//! use gradwatch::config::{Config, ConfigError};
//!
//! let toml = "[run]\nmax_epoch = 2\n[data]\nsource = \"synthetic\"\n[model]\nname = \"resnet8\"\ndropout = 1.5";
//! let Err(ConfigError::Invalid { problems, .. }) = Config::parse(toml, "demo.toml") else { panic!() };
//! let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
//! assert_eq!(lines[0], "model.dropout: got 1.5, want at least 0 and below 1");
//! assert_eq!(lines[1], "run.max_epoch: unknown key; did you mean run.max_epochs?");
//! ```

mod action;
mod architecture;
mod clipping;
mod data;
mod diagnosis;
mod difference;
mod error;
mod model;
mod names;
mod nearest;
mod optimizer;
mod pattern;
mod range;
mod reader;
mod sagemaker;
mod saved;
mod sections;
mod train;

use std::path::Path;

use serde::Serialize;
use toml::{Table, Value};

use crate::disk;

pub use action::{Action, Severity};
pub use architecture::{Architecture, Defaults};
pub use clipping::{
    AdagcConfig, AgcCompat, AgcConfig, AutoclipConfig, ClippingConfig, ClippingMode, ZclipConfig, ZclipMode,
    ZclipOption,
};
pub use data::{Augment, DataConfig, Normalize, OnBadImage, Source, SplitBy};
pub use diagnosis::{DiagnosisConfig, RuleName, RuleSetName, StopAt};
pub use difference::{Difference, differences};
pub use error::{ConfigError, Problem};
use error::{MOST_CHARACTERS, shortened};
pub use model::{Activation, Fan, Initialization, InitializationMethod, ModelConfig, Normalization};
pub use names::Named;
pub(crate) use names::named_enum;
pub use optimizer::{GroupConfig, NonFinite, OptimizerConfig, OptimizerName, ScheduleConfig, ScheduleName};
pub use pattern::matches;
pub use sagemaker::{SagemakerRule, SagemakerRuleName};
pub use saved::{PATHS, paths_json};
pub use train::{
    CheckpointConfig, ClassBalance, EarlyStoppingConfig, EmaConfig, EvaluateConfig, Kernels, LossConfig, Metric,
    MonitorConfig, MonitorPreset, OnError, Precision, RunConfig,
};

/// Largest config file to read, in bytes. A config with every key and a comment for each has a hundredth of that.
const MOST_BYTES: u64 = 1 << 20;
/// Deepest key that `--set` accepts, in levels.
const DEEPEST_KEY: usize = 8;

/// A complete experiment. Its TOML serialization reads back as the same value.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// Measured statistics and their intervals.
    pub monitor: MonitorConfig,
    /// Interval and metric of evaluations.
    pub evaluate: EvaluateConfig,
    /// End of a run that no longer improves.
    pub early_stopping: EarlyStoppingConfig,
    /// Rules that check the run.
    pub diagnosis: DiagnosisConfig,
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

    fn from_table(table: Table, name: &str) -> Result<Self, ConfigError> {
        let notes = reader::Notes::default();
        let mut root = reader::Section::root(table, &notes);
        let run = sections::run(root.section("run"));
        let data = sections::data(root.section("data"));
        let model = sections::model(root.section("model"));
        let loss = sections::loss(root.section("loss"));
        let optimizer = OptimizerConfig::read(root.section("optimizer"));
        let schedule = ScheduleConfig::read(root.section("schedule"), &run);
        let clipping = ClippingConfig::read(root.section("clipping"));
        let ema = sections::ema(root.section("ema"));
        let monitor = sections::monitor(root.section("monitor"));
        let evaluate = sections::evaluate(root.section("evaluate"));
        let early_stopping = sections::early_stopping(root.section("early_stopping"));
        let diagnosis = DiagnosisConfig::read(root.section("diagnosis"));
        let checkpoint = sections::checkpoint(root.section("checkpoint"), evaluate.metric);
        root.finish();
        if !evaluate.is_on() {
            without_evaluations(&notes, &evaluate, &early_stopping, &schedule);
        }
        let problems = notes.into_problems();
        match model {
            Some(model) if problems.is_empty() => Ok(Self {
                run,
                data,
                model,
                loss,
                optimizer,
                schedule,
                clipping,
                ema,
                monitor,
                evaluate,
                early_stopping,
                diagnosis,
                checkpoint,
            }),
            _ => Err(ConfigError::Invalid { name: name.to_owned(), problems }),
        }
    }

    /// Reads TOML text, such as the config in a checkpoint, with `overrides` as for [`load`](Self::load).
    ///
    /// # Errors
    /// If a key or value is invalid.
    pub fn parse_with(text: &str, name: &str, overrides: &[String]) -> Result<Self, ConfigError> {
        Self::from_table(with_overrides(parse_table(text, name)?, overrides)?, name)
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

fn read(path: &Path) -> Result<String, ConfigError> {
    disk::read_regular_text(path, MOST_BYTES).map_err(|cause| ConfigError::Unreadable { path: path.to_owned(), cause })
}

fn with_overrides(mut table: Table, overrides: &[String]) -> Result<Table, ConfigError> {
    overrides.iter().try_for_each(|argument| set(&mut table, argument))?;
    Ok(table)
}

/// Reports settings that depend on evaluations, for a run without evaluations.
fn without_evaluations(
    notes: &reader::Notes,
    evaluate: &EvaluateConfig,
    early_stopping: &EarlyStoppingConfig,
    schedule: &ScheduleConfig,
) {
    const WANT: &str = "want evaluate.every_epochs or evaluate.every_steps above 0";
    if early_stopping.patience > 0 {
        let got = early_stopping.patience;
        notes.problem("early_stopping.patience", format!("got {got} evaluations, but the run has none, {WANT}"));
    }
    if schedule.name == ScheduleName::Plateau {
        notes.problem("schedule.name", format!("got plateau, which needs evaluations, but the run has none, {WANT}"));
    }
    if evaluate.explain_images > 0 {
        let got = evaluate.explain_images;
        notes.problem("evaluate.explain_images", format!("got {got} per evaluation, but the run has none, {WANT}"));
    }
}

fn parse_table(text: &str, name: &str) -> Result<Table, ConfigError> {
    text.parse().map_err(|error: toml::de::Error| {
        let before = |end: usize| text.as_bytes()[..end.min(text.len())].iter();
        let line = error.span().map(|span| before(span.start).filter(|byte| **byte == b'\n').count() + 1);
        let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        let reason = error.message().replace('\n', " ");
        let message = format!("{place}{}", shortened(&reason, MOST_CHARACTERS));
        ConfigError::Syntax { name: name.to_owned(), message }
    })
}

/// Applies one `table.key=value`. Parses the value as TOML if possible, otherwise takes it as a string.
fn set(table: &mut Table, argument: &str) -> Result<(), ConfigError> {
    let refuse = || ConfigError::Override { argument: shortened(argument, MOST_CHARACTERS) };
    let (path, text) = argument.split_once('=').ok_or_else(refuse)?;
    let value = format!("value = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()));
    let mut keys: Vec<&str> = path.trim().split('.').collect();
    if keys.len() > DEEPEST_KEY {
        return Err(refuse());
    }
    let last = keys.pop().filter(|last| !last.is_empty()).ok_or_else(refuse)?;
    let mut inner = table;
    for key in keys {
        let entry = inner.entry(key).or_insert_with(|| Value::Table(Table::new()));
        if !entry.is_table() {
            // For example `--set model.initialization.gain=1` with the short form `initialization = "orthogonal"`.
            *entry = Value::Table(Table::from_iter([("method".to_owned(), entry.clone())]));
        }
        inner = entry.as_table_mut().ok_or_else(refuse)?;
    }
    inner.insert(last.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

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
            "data.path: missing; want the data folder, or the manifest file for csv",
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
    fn overrides_are_typed_reach_into_tables_and_are_validated_like_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small.toml");
        fs::write(&path, SMALLEST).unwrap();
        let overrides = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let set = overrides(&["model.initialization.gain=2", "optimizer.name=adamw", "data.augment.hflip = 0.5"]);
        let config = Config::load(&path, &set).unwrap();
        assert_eq!(config.model.initialization.gain, Some(2.0));
        assert_eq!(config.model.initialization.method, InitializationMethod::Orthogonal);
        assert_eq!((config.optimizer.name, config.optimizer.learning_rate), (OptimizerName::Adamw, 1e-3));
        assert!(matches!(Config::load(&path, &overrides(&["seed"])), Err(ConfigError::Override { .. })));
        let error = Config::load(&path, &overrides(&["run.sede=1"])).unwrap_err().to_string();
        assert!(error.contains("run.sede: unknown key; did you mean run.seed?"), "{error}");
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
