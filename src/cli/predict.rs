//! `gradwatch predict`: classifies images with a trained model.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use anyhow::Result;
use clap::Args;
use gradwatch::{
    data::image_files,
    inference::{PREDICTED, Prediction, Probabilities, TrainedModel},
    printable,
};
use serde_json::{Value, json};

use super::{
    TextOrJson, counted,
    exit::Code,
    log, print,
    trained::{TrainedArguments, decode, tell_bad},
};

#[derive(Debug, Args)]
pub(super) struct PredictArguments {
    #[command(flatten)]
    trained: TrainedArguments,
    /// Image files, or folders to search for images.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// Number of predictions per image. For a multi-label model, text has all classes with a probability of 50% or more
    /// instead, and json has them as "classes".
    #[arg(long, value_name = "N", default_value = "5", value_parser = counted(65_536))]
    top: usize,
    /// Images per batch.
    #[arg(long, value_name = "N", default_value = "32", value_parser = counted(65_536))]
    batch_size: usize,
    /// Output format; json has full probabilities, and image_percent_encoded for a path that is not UTF-8.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: TextOrJson,
}

pub(super) fn run(arguments: &PredictArguments) -> Result<Code> {
    let _log = log::start(None, 0);
    let files = image_files(&arguments.images)?;
    let model = arguments.trained.open()?;
    let width = files.iter().map(|path| printable::path(path).chars().count()).max().unwrap_or(0);
    let (mut objects, mut bad) = (Vec::new(), 0);
    for batch in files.chunks(arguments.batch_size) {
        let (paths, images) = decode(&model.preprocessing, batch, &mut bad)?;
        let is_multi_label = model.probabilities == Probabilities::Sigmoid;
        // Sorted, so the first of all are the most likely ones.
        let guesses = model.predict(&images, if is_multi_label { model.classes.len() } else { arguments.top })?;
        match arguments.format {
            // Prints each batch at once, so that the first results do not wait for the last images.
            TextOrJson::Text => print(&lines(&model, &paths, &guesses, width))?,
            TextOrJson::Json => {
                let each = paths.iter().zip(&guesses);
                objects.extend(each.map(|(path, guesses)| object(&model, path, guesses, arguments.top)));
            }
        }
    }
    if arguments.format == TextOrJson::Json {
        print(&format!("{}\n", serde_json::to_string_pretty(&objects)?))?;
    }
    tell_bad(bad, files.len());
    Ok(if bad > 0 { Code::Partial } else { Code::Success })
}

/// One line per image: its path and its predictions, best first. For multi-label data, the predicted classes.
fn lines(model: &TrainedModel, paths: &[PathBuf], guesses: &[Vec<Prediction>], width: usize) -> String {
    let mut text = String::new();
    for (path, guesses) in paths.iter().zip(guesses) {
        let guesses: Vec<String> = match model.probabilities {
            Probabilities::Softmax => guesses.iter().map(|guess| told(model, guess)).collect(),
            Probabilities::Sigmoid => predicted(guesses).map(|guess| told(model, guess)).collect(),
        };
        let guesses = if guesses.is_empty() { vec!["no class".to_owned()] } else { guesses };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:width$}  {}", printable::path(path), printable::line(&guesses.join("  ")));
    }
    text
}

/// Formats a prediction, such as `cat 93.1 %`.
pub(super) fn told(model: &TrainedModel, guess: &Prediction) -> String {
    format!("{} {:.1}%", model.classes[guess.class], 100.0 * guess.probability)
}

/// The classes of an image of multi-label data.
fn predicted(guesses: &[Prediction]) -> impl Iterator<Item = &Prediction> {
    guesses.iter().filter(|guess| guess.probability >= PREDICTED)
}

/// The `top` predictions of an image as JSON, and for multi-label data, the predicted classes. A path that is not UTF-8 is
/// also given in full, percent-encoded.
fn object(model: &TrainedModel, path: &Path, guesses: &[Prediction], top: usize) -> Value {
    let guess = |guess: &Prediction| json!({ "class": model.classes[guess.class], "index": guess.class, "probability": guess.probability });
    let mut object = json!({
        "image": path.to_string_lossy(),
        "predictions": guesses.iter().take(top).map(guess).collect::<Vec<_>>(),
    });
    if model.probabilities == Probabilities::Sigmoid {
        object["classes"] = predicted(guesses).map(|guess| model.classes[guess.class].as_str()).collect();
    }
    if path.to_str().is_none() {
        object["image_percent_encoded"] = printable::percent_encoded(path).into();
    }
    object
}
