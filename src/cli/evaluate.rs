//! `gradwatch evaluate`: all metrics of a trained model on images it was not trained on.

use std::{
    fmt::Write,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use clap::Args;
use gradwatch::{
    config::{Config, DataConfig, Source},
    data::{self, Dataset, Loader, LoaderOptions, Splits, check_place},
    diagnosis::LostImages,
    disk::{Folder, OutputError},
    evaluation::{Cell, ClassMetrics, Confusion, Metrics, Numerics, evaluate_with_curves},
    events::{PrecisionRecall, SummaryWriter, Value, WallTime, is_evaluation},
    inference::TrainedModel,
    libtorch::resolve_device,
    number::count,
    picture::{ConfusionMatrix, Picture},
    printable,
    train::StopSignal,
};

use super::{TextOrJson, exit::Code, log, print, seen_images, trained::TrainedArguments};

/// Most classes with their own row in the terminal. metrics.json has all metrics.
const MOST_CLASSES: usize = 100;
/// Number of worst classes to show if there are more.
const WORST: usize = 20;
/// Most classes in the picture of the confusion matrix. With more, a cell would be a single pixel.
const MOST_DRAWN: usize = 256;
/// Number of confused class pairs to print.
const MOST_CONFUSED: usize = 5;
/// Folder for the results inside the run folder.
const FOLDER: &str = "evaluation";
const METRICS: &str = "metrics.json";
const MATRIX: &str = "confusion_matrix.png";

/// `--data` was given for a run without image files.
#[derive(Debug, thiserror::Error)]
#[error(
    "--data: the run was trained on synthetic images (data.source = \"synthetic\"), which are in no files; leave out --data"
)]
pub(super) struct NoFiles;

#[derive(Debug, Args)]
pub(super) struct EvaluateArguments {
    #[command(flatten)]
    trained: TrainedArguments,
    /// Other images with the same classes, in the format of the run's data.source. Uses the test split if there is one,
    /// otherwise the validation split, otherwise all images.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Folder for the results, also read by TensorBoard (default: evaluation in the run folder).
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Replace existing results in that folder.
    #[arg(long, requires = "output")]
    force: bool,
    /// Output format in the terminal.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: TextOrJson,
}

pub(super) fn run(arguments: &EvaluateArguments) -> Result<Code> {
    let _log = log::start(None, 0);
    // A signal ends the process at once, because a partial evaluation has no value.
    let _stop = StopSignal::install()?;
    let run = &arguments.trained.run;
    let config = arguments.trained.config()?;
    let chosen = arguments.output.as_deref().map(|path| chosen_folder(path, arguments.force)).transpose()?;
    let device = resolve_device(&arguments.trained.device)?;
    let model = TrainedModel::of_run(run, &config.model, &arguments.trained.weights, device)?;
    let (dataset, training) = images(&config, arguments.data.as_deref(), &model)?;
    seen_images::tell(run, &dataset, training.as_ref());
    let loader = loader(&config, &model, Arc::clone(&dataset))?;
    let numerics = Numerics::new(&config.run, device);
    numerics.lay_out_weights(&model.network)?;
    let never = || false;
    let evaluated = evaluate_with_curves(&model.network, &loader, &model.classes, numerics, never)?;
    let (metrics, curves) = evaluated.context("the evaluation was stopped")?;
    let bad = dataset.bad_images();
    let lost = LostImages::of("evaluated", &model.classes, &dataset.class_counts(), &dataset.bad_class_counts());
    for lost in lost.iter().filter(|lost| lost.is_all()) {
        tracing::warn!("{lost}: none can be decoded, and the metrics exclude this class");
    }
    let weights = arguments.trained.weights.path(run);
    let is_own = chosen.is_none();
    // Prints the metrics even if the files cannot be written.
    let folder = chosen.map_or_else(|| own_folder(run), Ok);
    let written = folder.and_then(|folder| write(&folder, is_own, &metrics, curves).map(|()| folder));
    if let Err(error) = &written {
        tracing::warn!("the results are printed, but their files are missing or incomplete: {error:#}");
    }
    match arguments.format {
        TextOrJson::Json => print(&format!("{}\n", serde_json::to_string_pretty(&metrics)?))?,
        TextOrJson::Text => {
            let images = dataset.len() - bad.len();
            let left_out = match bad.len() {
                0 => String::new(),
                bad => format!(" ({bad} more cannot be decoded and are skipped)"),
            };
            let [origin, weights] = [dataset.origin(), &weights].map(printable::path);
            print(&format!("{images} images from {origin}{left_out}, weights {weights}\n\n"))?;
            print(&told(&metrics))?;
            if let Ok(folder) = &written {
                let folder = printable::path(folder.path());
                print(&format!("\n{folder}: {}\n", results(&metrics)))?;
            }
        }
    }
    Ok(if bad.is_empty() && !dataset.is_partial() && written.is_ok() { Code::Success } else { Code::Partial })
}

/// Opens the folder from `--output`, before the evaluation. It must be writable, and must not contain results unless
/// `may_replace`.
fn chosen_folder(path: &Path, may_replace: bool) -> Result<Folder, OutputError> {
    let folder = Folder::make(path).and_then(|folder| folder.check_writable().map(|()| folder));
    let folder = folder.map_err(|cause| OutputError::of(path, cause))?;
    match [METRICS, MATRIX].into_iter().find(|name| !may_replace && folder.contains(name)) {
        Some(name) => Err(OutputError::Exists { path: path.join(name) }),
        None => Ok(folder),
    }
}

/// The results folder inside the run folder. Replaces the results of the previous evaluation.
fn own_folder(run: &Path) -> Result<Folder> {
    let folder = Folder::open(run).and_then(|run| run.make_folder(FOLDER));
    Ok(folder.map_err(|cause| OutputError::of(&run.join(FOLDER), cause))?)
}

/// The images to evaluate, and the training images if both come from the run itself.
fn images(config: &Config, path: Option<&Path>, model: &TrainedModel) -> Result<(Arc<Dataset>, Option<Arc<Dataset>>)> {
    let Some(path) = path else {
        check_place(
            &config.data,
            "the images of the run were there; set the new path with --set data.path=NEW, or evaluate other images \
             with --data PATH",
        )?;
        let Splits { train, validation } = data::load_known(&config.data, config.run.seed, &model.classes)?;
        data::check_listed(&config.data, &[&validation])?;
        return Ok((validation, Some(train)));
    };
    if config.data.source == Source::Synthetic {
        return Err(NoFiles.into());
    }
    let unseen = DataConfig { path: path.to_owned(), validation_path: None, ..config.data.clone() };
    check_place(&unseen, "--data needs images in the format of the run's data.source")?;
    let dataset = data::load_unseen(&unseen, config.run.seed, &model.classes)?;
    data::check_listed(&unseen, &[&dataset])?;
    Ok((dataset, None))
}

fn loader(config: &Config, model: &TrainedModel, dataset: Arc<Dataset>) -> Result<Loader> {
    let options = LoaderOptions::for_validation(&config.data, model.preprocessing.scale()?);
    Ok(Loader::new(dataset, LoaderOptions { batch_size: config.evaluation_batch_size(), ..options })?)
}

/// Lists the result files.
fn results(metrics: &Metrics) -> String {
    let classes = metrics.per_class.len();
    let picture = match classes {
        // Classes that do not exclude each other are not mistaken for each other.
        _ if metrics.confusion.is_none() => String::new(),
        ..=MOST_DRAWN => format!(", {MATRIX},"),
        _ => format!(", no confusion matrix picture for {classes} classes (metrics.json has all cells),"),
    };
    let curves =
        if classes > MOST_CLASSES { format!("curves for {MOST_CLASSES} classes") } else { "curves".to_owned() };
    format!("{METRICS}{picture} and {curves} for TensorBoard")
}

/// Draws the confusion matrix, unless there are too many classes to read it.
fn matrix(metrics: &Metrics, classes: &[String]) -> Result<Option<Picture>> {
    let confusion = metrics.confusion.as_ref().filter(|_| classes.len() <= MOST_DRAWN);
    let draw = |counts: Vec<Vec<u64>>| ConfusionMatrix { title: "Confusion matrix", classes, counts: &counts }.draw();
    Ok(confusion.map(Confusion::matrix).map(draw).transpose()?)
}

/// Writes the result files, then removes those of an earlier evaluation. In the run's own folder, every event file
/// counts as one.
fn write(folder: &Folder, is_own: bool, metrics: &Metrics, curves: Vec<PrecisionRecall>) -> Result<()> {
    let refuse = |name: &str, cause| OutputError::of(&folder.path().join(name), cause);
    let names = folder.names().map_err(|cause| refuse("", cause))?;
    let names = names.iter().filter_map(|name| name.to_str());
    let earlier = names.filter(|name| is_evaluation(name) || (is_own && name.contains("tfevents")));
    let writer = SummaryWriter::create_evaluation(folder)?;
    let classes: Vec<String> = metrics.per_class.iter().map(|class| class.class.clone()).collect();
    let matrix = matrix(metrics, &classes)?;
    let figures = metrics.figures().into_iter().map(|(name, value)| (format!("{name}/evaluation"), value));
    writer.scalars(0u64, figures)?;
    if let Some(Picture { png, width, height }) = matrix.clone() {
        writer.image("confusion_matrix", 0u64, png, width, height)?;
    }
    for (class, curve) in classes.iter().zip(curves) {
        let tag = format!("precision_recall/{class}");
        writer.value_at(WallTime::now(), tag, 0u64, Value::PrecisionRecall(curve))?;
    }
    writer.close()?;
    let json = serde_json::to_vec_pretty(metrics)?;
    let picture = matrix.map(|picture| (MATRIX, picture.png));
    // Removes the picture of an earlier evaluation if this one draws none.
    let is_stale = picture.is_none() && folder.contains(MATRIX);
    for (name, bytes) in [(METRICS, json)].into_iter().chain(picture) {
        folder.replace(name, &bytes).map_err(|cause| refuse(name, cause))?;
    }
    for name in earlier.chain(is_stale.then_some(MATRIX)) {
        match folder.remove(name) {
            // Another evaluation may have removed it.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            removed => removed.with_context(|| format!("cannot remove {name} of an earlier evaluation"))?,
        }
    }
    Ok(())
}

fn told(metrics: &Metrics) -> String {
    let mut text = String::new();
    // With at most five classes, every image counts for the top five.
    let width = metrics.figures().iter().map(|(name, _)| name.len() + 1).max().unwrap_or(0).max(14);
    let is_trivial = |name: &str| name == "top5_accuracy" && metrics.per_class.len() <= 5;
    for (name, value) in metrics.figures().into_iter().filter(|(name, _)| !is_trivial(name)) {
        // Writing to a String cannot fail.
        let _ = match name {
            "loss" => writeln!(text, "{name:width$}{value:.4}"),
            _ => writeln!(text, "{name:width$}{:.2}%", 100.0 * value),
        };
    }
    if let Some(missing) = metrics.multi_label.map(|metrics| metrics.classes_without_images).filter(|count| *count > 0)
    {
        let missing = match missing {
            1 => "1 class without images is".to_owned(),
            missing => format!("{missing} classes without images are"),
        };
        let _ = writeln!(text, "\n{missing} left out of mean_average_precision");
    }
    let rows = match metrics.per_class.len() {
        ..=MOST_CLASSES => metrics.per_class.iter().collect(),
        classes => {
            let rows = metrics.worst(WORST);
            let _ = writeln!(
                text,
                "\nthe {} classes of {classes} with the lowest F1 (--format json prints all):",
                rows.len()
            );
            rows
        }
    };
    let width =
        rows.iter().map(|class| printable::line(&class.class).chars().count()).max().unwrap_or(0).max("class".len());
    let has_areas = rows.iter().any(|class| class.average_precision.is_some());
    let area_name = if has_areas { "  average_precision" } else { "" };
    let _ = writeln!(text, "\n{:width$}  images  precision  recall      f1{area_name}", "class");
    for ClassMetrics { class, support, precision, recall, f1, average_precision } in rows {
        let class = printable::line(class);
        let area = average_precision.map(|area| format!("  {area:>17.4}")).unwrap_or_default();
        let _ = writeln!(text, "{class:width$}  {support:>6}  {precision:>9.4}  {recall:>6.4}  {f1:.4}{area}");
    }
    if metrics.confusion.is_some() {
        text.push('\n');
    }
    let mistakes = metrics.confusion.as_ref().map(|confusion| confusion.most_confused(MOST_CONFUSED));
    for Cell { label, prediction, images } in mistakes.into_iter().flatten() {
        let names = [label, prediction].map(|class| printable::line(&metrics.per_class[class].class));
        let _ = writeln!(text, "{} of {} classified as {}", count(images, "image"), names[0], names[1]);
    }
    text
}
