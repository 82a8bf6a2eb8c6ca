//! `gradwatch evaluate`: every figure of a trained model on images that it was not trained on.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use clap::Args;
use gradwatch::{
    config::{Config, DataConfig},
    data::{self, Dataset, Loader, LoaderOptions},
    disk,
    events::{EventsError, PrecisionRecall, SummaryWriter, Value, WallTime},
    inference::{TrainedModel, run_config},
    libtorch::resolve_device,
    picture::{ConfusionMatrix, Picture},
    train::{ClassMetrics, Metrics, Numerics, StopSignal, evaluate_with_curves},
};

use super::{TextOrJson, exit::Code, log, print, trained::TrainedArguments};

/// Curves and rows beyond these classes are left out of TensorBoard and the terminal; metrics.json has all figures.
const MOST_CLASSES: usize = 100;
/// Pairs of classes that are told.
const MOST_CONFUSED: usize = 5;

#[derive(Debug, Args)]
pub struct EvaluateArguments {
    #[command(flatten)]
    trained: TrainedArguments,
    /// Other images than those that the run was validated with, in the form of its data.source and with the same classes: those of a
    /// split for tests, else for validation, or all where there is none.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Folder of the results, in which TensorBoard looks too [default: evaluation in the run's folder].
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// How the figures are written to the terminal.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: TextOrJson,
}

pub fn run(arguments: &EvaluateArguments) -> Result<Code> {
    let _log = log::start(None);
    let stop = StopSignal::install()?;
    let run = &arguments.trained.run;
    let config = run_config(run)?;
    let device = resolve_device(&arguments.trained.device)?;
    let model = TrainedModel::of_run(run, &config.model, &arguments.trained.weights, device)?;
    let dataset = dataset(&config, arguments.data.as_deref(), &model)?;
    let loader = loader(&config, &model, Arc::clone(&dataset))?;
    let numerics = Numerics::new(&config.run, device);
    numerics.lay_out_weights(&model.network)?;
    let Some((metrics, curves)) = evaluate_with_curves(&model.network, &loader, &model.classes, numerics, &stop)?
    else {
        return Ok(stop.signal().map_or(Code::Internal, Code::Signal));
    };
    let folder = arguments.output.clone().unwrap_or_else(|| run.join("evaluation"));
    let weights = arguments.trained.weights.path(run);
    write(&folder, &metrics, curves)?;
    match arguments.format {
        TextOrJson::Json => print(&format!("{}\n", serde_json::to_string_pretty(&metrics)?))?,
        TextOrJson::Text => {
            let images = dataset.len() - dataset.bad_images().len();
            print(&format!("{images} images of {}, weights {}\n\n", dataset.origin().display(), weights.display()))?;
            print(&told(&metrics))?;
            print(&format!(
                "\n{}: metrics.json, confusion_matrix.png, and curves for TensorBoard\n",
                folder.display()
            ))?;
        }
    }
    Ok(if dataset.bad_images().is_empty() { Code::Success } else { Code::Partial })
}

fn dataset(config: &Config, path: Option<&Path>, model: &TrainedModel) -> Result<Arc<Dataset>> {
    let Some(path) = path else {
        return Ok(data::load(&config.data, config.run.seed)?.validation);
    };
    let unseen = DataConfig { path: path.to_owned(), ..config.data.clone() };
    Ok(data::load_unseen(&unseen, config.run.seed, &model.classes)?)
}

fn loader(config: &Config, model: &TrainedModel, dataset: Arc<Dataset>) -> Result<Loader> {
    let options = LoaderOptions::for_validation(&config.data, model.preprocessing.scale()?);
    Ok(Loader::new(dataset, LoaderOptions { batch_size: config.evaluation_batch_size(), ..options })?)
}

/// The results as files. Those of an earlier evaluation go when these are whole.
fn write(folder: &Path, metrics: &Metrics, curves: Vec<PrecisionRecall>) -> Result<()> {
    let earlier = event_files(folder);
    let writer = SummaryWriter::create(folder)?;
    let classes: Vec<String> = metrics.per_class.iter().map(|class| class.class.clone()).collect();
    let matrix = ConfusionMatrix { title: "Confusion matrix", classes: &classes, counts: &metrics.confusion }.draw()?;
    let figures = metrics.figures().map(|(name, value)| (format!("{name}/evaluation"), value));
    writer.scalars(0u64, figures)?;
    let Picture { png, width, height } = matrix.clone();
    writer.image("confusion_matrix", 0u64, png, width, height)?;
    for (class, curve) in classes.iter().zip(curves).take(MOST_CLASSES) {
        let tag = format!("precision_recall/{class}");
        writer.value_at(WallTime::now(), tag, 0u64, Value::PrecisionRecall(curve))?;
    }
    writer.close()?;
    let json = serde_json::to_vec_pretty(metrics)?;
    for (name, bytes) in [("metrics.json", json), ("confusion_matrix.png", matrix.png)] {
        let path = folder.join(name);
        disk::replace(&path, &bytes).map_err(|cause| EventsError::Create { path, cause })?;
    }
    for path in earlier {
        fs::remove_file(&path).with_context(|| format!("{} is of an earlier evaluation and stays", path.display()))?;
    }
    Ok(())
}

fn event_files(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_event_file =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains("tfevents"));
    paths.filter(is_event_file).collect()
}

fn told(metrics: &Metrics) -> String {
    let mut text = String::new();
    for (name, value) in metrics.figures() {
        // Writing to a String cannot fail.
        let _ = match name {
            "loss" => writeln!(text, "{name:14}{value:.4}"),
            _ => writeln!(text, "{name:14}{:.2} %", 100.0 * value),
        };
    }
    let width = metrics.per_class.iter().map(|class| class.class.chars().count()).max().unwrap_or(0).max("class".len());
    let _ = writeln!(text, "\n{:width$}  images  precision  recall      f1", "class");
    for ClassMetrics { class, support, precision, recall, f1 } in metrics.per_class.iter().take(MOST_CLASSES) {
        let _ = writeln!(text, "{class:width$}  {support:>6}  {precision:>9.4}  {recall:>6.4}  {f1:.4}");
    }
    if metrics.per_class.len() > MOST_CLASSES {
        let _ = writeln!(text, "and {} more", metrics.per_class.len() - MOST_CLASSES);
    }
    text.push('\n');
    for (images, label, prediction) in most_confused(metrics) {
        let names = [label, prediction].map(|class| metrics.per_class[class].class.as_str());
        let _ = writeln!(text, "{images} images of {} taken for {}", names[0], names[1]);
    }
    text
}

/// The most frequent mistakes: images, their class, and what they are taken for.
fn most_confused(metrics: &Metrics) -> Vec<(u64, usize, usize)> {
    let cells = metrics.confusion.iter().enumerate().flat_map(|(label, row)| {
        row.iter()
            .enumerate()
            .filter(move |(prediction, images)| *prediction != label && **images > 0)
            .map(move |(prediction, &images)| (images, label, prediction))
    });
    let mut cells: Vec<_> = cells.collect();
    cells.sort_by_key(|&(images, label, prediction)| (std::cmp::Reverse(images), label, prediction));
    cells.truncate(MOST_CONFUSED);
    cells
}
