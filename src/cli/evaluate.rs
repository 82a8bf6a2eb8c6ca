//! `gradwatch evaluate`: every figure of a trained model on images that it was not trained on.

use std::{
    fmt::Write,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use clap::Args;
use gradwatch::{
    config::{Config, DataConfig},
    data::{self, Dataset, Loader, LoaderOptions, Splits, check_place},
    diagnosis::LostImages,
    disk::{Folder, OutputError},
    events::{PrecisionRecall, SummaryWriter, Value, WallTime, is_evaluation},
    inference::TrainedModel,
    libtorch::resolve_device,
    picture::{ConfusionMatrix, Picture},
    printable,
    train::{Cell, ClassMetrics, Confusion, Metrics, Numerics, StopSignal, evaluate_with_curves},
};

use super::{TextOrJson, exit::Code, log, print, seen_images, trained::TrainedArguments};

/// Classes up to which the terminal has a row for each. metrics.json has all figures.
const MOST_CLASSES: usize = 100;
/// Rows of the worst classes where there are more.
const WORST: usize = 20;
/// Classes up to which the confusion matrix is drawn: in a picture of more, a cell would be a single pixel.
const MOST_DRAWN: usize = 256;
/// Pairs of classes that are told.
const MOST_CONFUSED: usize = 5;
/// The folder of the results in the run's.
const FOLDER: &str = "evaluation";
const METRICS: &str = "metrics.json";
const MATRIX: &str = "confusion_matrix.png";

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
    /// Replace the results that are in that folder.
    #[arg(long, requires = "output")]
    force: bool,
    /// How the figures are written to the terminal.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: TextOrJson,
}

pub fn run(arguments: &EvaluateArguments) -> Result<Code> {
    let _log = log::start(None);
    // A signal ends the process wherever it waits: nothing of an evaluation is worth finishing first.
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
    let never = StopSignal::default();
    let evaluated = evaluate_with_curves(&model.network, &loader, &model.classes, numerics, &never)?;
    let (metrics, curves) = evaluated.context("the evaluation was stopped")?;
    let bad = dataset.bad_images();
    for lost in LostImages::of("evaluated", &model.classes, dataset.labels(), &bad).iter().filter(|lost| lost.is_all())
    {
        tracing::warn!("{lost}: none decodes, and the figures leave it out");
    }
    let weights = arguments.trained.weights.path(run);
    let is_own = chosen.is_none();
    // What was measured is told, whether or not it can be written too.
    let folder = chosen.map_or_else(|| own_folder(run), Ok);
    let written = folder.and_then(|folder| write(&folder, is_own, &metrics, curves).map(|()| folder));
    if let Err(error) = &written {
        tracing::warn!("the results are printed, and their files are missing or not whole: {error:#}");
    }
    match arguments.format {
        TextOrJson::Json => print(&format!("{}\n", serde_json::to_string_pretty(&metrics)?))?,
        TextOrJson::Text => {
            let images = dataset.len() - bad.len();
            let left_out = match bad.len() {
                0 => String::new(),
                bad => format!(" ({bad} more do not decode and are left out)"),
            };
            let [origin, weights] = [dataset.origin(), &weights].map(printable::path);
            print(&format!("{images} images of {origin}{left_out}, weights {weights}\n\n"))?;
            print(&told(&metrics))?;
            if let Ok(folder) = &written {
                let folder = printable::path(folder.path());
                print(&format!("\n{folder}: {}\n", results(metrics.per_class.len())))?;
            }
        }
    }
    Ok(if bad.is_empty() && written.is_ok() { Code::Success } else { Code::Partial })
}

/// The folder that the user names, before anything is measured: it has to be writable, and hold no results that are to stay.
fn chosen_folder(path: &Path, may_replace: bool) -> Result<Folder, OutputError> {
    let folder = Folder::make(path).and_then(|folder| folder.check_writable().map(|()| folder));
    let folder = folder.map_err(|cause| OutputError::of(path, cause))?;
    match [METRICS, MATRIX].into_iter().find(|name| !may_replace && folder.contains(name)) {
        Some(name) => Err(OutputError::Exists { path: path.join(name) }),
        None => Ok(folder),
    }
}

/// The run's own, in which the results of the evaluation before are replaced.
fn own_folder(run: &Path) -> Result<Folder> {
    let folder = Folder::open(run).and_then(|run| run.make_folder(FOLDER));
    Ok(folder.map_err(|cause| OutputError::of(&run.join(FOLDER), cause))?)
}

/// The images to evaluate, and those that the run trains on if the images are its own.
fn images(config: &Config, path: Option<&Path>, model: &TrainedModel) -> Result<(Arc<Dataset>, Option<Arc<Dataset>>)> {
    let Some(path) = path else {
        check_place(
            &config.data,
            "the run had its images there; give their place with --set data.path=NEW, or other images with --data PATH",
        )?;
        let Splits { train, validation } = data::load_known(&config.data, config.run.seed, &model.classes)?;
        data::check_listed(&config.data, &[&validation])?;
        return Ok((validation, Some(train)));
    };
    let unseen = DataConfig { path: path.to_owned(), ..config.data.clone() };
    check_place(&unseen, "--data wants images in the form of the run's data.source")?;
    let dataset = data::load_unseen(&unseen, config.run.seed, &model.classes)?;
    data::check_listed(&unseen, &[&dataset])?;
    Ok((dataset, None))
}

fn loader(config: &Config, model: &TrainedModel, dataset: Arc<Dataset>) -> Result<Loader> {
    let options = LoaderOptions::for_validation(&config.data, model.preprocessing.scale()?);
    Ok(Loader::new(dataset, LoaderOptions { batch_size: config.evaluation_batch_size(), ..options })?)
}

/// What an evaluation of so many classes leaves.
fn results(classes: usize) -> String {
    let picture = match classes {
        ..=MOST_DRAWN => MATRIX.to_owned(),
        _ => format!("no picture of a confusion matrix of {classes} classes, its cells are in metrics.json"),
    };
    let curves = if classes > MOST_CLASSES { format!("curves of {MOST_CLASSES} classes") } else { "curves".to_owned() };
    format!("{METRICS}, {picture}, and {curves} for TensorBoard")
}

/// The picture of the confusion matrix, where a person can read it.
fn matrix(metrics: &Metrics, classes: &[String]) -> Result<Option<Picture>> {
    let confusion = metrics.confusion.as_ref().filter(|_| classes.len() <= MOST_DRAWN);
    let draw = |counts: Vec<Vec<u64>>| ConfusionMatrix { title: "Confusion matrix", classes, counts: &counts }.draw();
    Ok(confusion.map(Confusion::matrix).map(draw).transpose()?)
}

/// The results as files. Those of an earlier evaluation go when these are whole; in the run's own folder, all event files are such.
fn write(folder: &Folder, is_own: bool, metrics: &Metrics, curves: Vec<PrecisionRecall>) -> Result<()> {
    let refuse = |name: &str, cause| OutputError::of(&folder.path().join(name), cause);
    let names = folder.names().map_err(|cause| refuse("", cause))?;
    let names = names.iter().filter_map(|name| name.to_str());
    let earlier = names.filter(|name| is_evaluation(name) || (is_own && name.contains("tfevents")));
    let writer = SummaryWriter::create_evaluation(folder)?;
    let classes: Vec<String> = metrics.per_class.iter().map(|class| class.class.clone()).collect();
    let matrix = matrix(metrics, &classes)?;
    let figures = metrics.figures().map(|(name, value)| (format!("{name}/evaluation"), value));
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
    // What an earlier evaluation drew is not of this one.
    let is_stale = picture.is_none() && folder.contains(MATRIX);
    for (name, bytes) in [(METRICS, json)].into_iter().chain(picture) {
        folder.replace(name, &bytes).map_err(|cause| refuse(name, cause))?;
    }
    for name in earlier.chain(is_stale.then_some(MATRIX)) {
        match folder.remove(name) {
            // Another evaluation may have ended meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            removed => removed.with_context(|| format!("{name} is of an earlier evaluation and stays"))?,
        }
    }
    Ok(())
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
    let _ = writeln!(text, "\n{:width$}  images  precision  recall      f1", "class");
    for ClassMetrics { class, support, precision, recall, f1 } in rows {
        let class = printable::line(class);
        let _ = writeln!(text, "{class:width$}  {support:>6}  {precision:>9.4}  {recall:>6.4}  {f1:.4}");
    }
    text.push('\n');
    let mistakes = metrics.confusion.as_ref().map(|confusion| confusion.most_confused(MOST_CONFUSED));
    for Cell { label, prediction, images } in mistakes.into_iter().flatten() {
        let names = [label, prediction].map(|class| printable::line(&metrics.per_class[class].class));
        let _ = writeln!(text, "{images} images of {} taken for {}", names[0], names[1]);
    }
    text
}
