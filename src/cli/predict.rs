//! `gradwatch predict`: what a trained model takes images for.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use anyhow::Result;
use clap::Args;
use gradwatch::{
    data::image_files,
    inference::{Prediction, TrainedModel},
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
pub struct PredictArguments {
    #[command(flatten)]
    trained: TrainedArguments,
    /// Image files, and folders with images in them or below.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// Guesses for each image.
    #[arg(long, value_name = "N", default_value = "5", value_parser = counted(65_536))]
    top: usize,
    /// Images that go through the model together.
    #[arg(long, value_name = "N", default_value = "32", value_parser = counted(65_536))]
    batch_size: usize,
    /// How the guesses are written; json: the probabilities in full, and image_percent_encoded beside a path that is not UTF-8.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: TextOrJson,
}

pub fn run(arguments: &PredictArguments) -> Result<Code> {
    let _log = log::start(None);
    let files = image_files(&arguments.images)?;
    let model = arguments.trained.open()?;
    let width = files.iter().map(|path| printable::path(path).chars().count()).max().unwrap_or(0);
    let (mut objects, mut bad) = (Vec::new(), 0);
    for batch in files.chunks(arguments.batch_size) {
        let (paths, images) = decode(&model.preprocessing, batch, &mut bad)?;
        let guesses = model.predict(&images, arguments.top)?;
        match arguments.format {
            // Batch by batch: of many images the first are not to wait for the last.
            TextOrJson::Text => print(&lines(&model, &paths, &guesses, width))?,
            TextOrJson::Json => {
                objects.extend(paths.iter().zip(&guesses).map(|(path, guesses)| object(&model, path, guesses)))
            }
        }
    }
    if arguments.format == TextOrJson::Json {
        print(&format!("{}\n", serde_json::to_string_pretty(&objects)?))?;
    }
    tell_bad(bad, files.len());
    Ok(if bad > 0 { Code::Partial } else { Code::Success })
}

/// One line for each image: its path, and the guesses, the best first.
fn lines(model: &TrainedModel, paths: &[PathBuf], guesses: &[Vec<Prediction>], width: usize) -> String {
    let mut text = String::new();
    for (path, guesses) in paths.iter().zip(guesses) {
        let guesses: Vec<String> = guesses.iter().map(|guess| told(model, guess)).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:width$}  {}", printable::path(path), printable::line(&guesses.join("  ")));
    }
    text
}

/// `cat 93.1 %`
pub fn told(model: &TrainedModel, guess: &Prediction) -> String {
    format!("{} {:.1} %", model.classes[guess.class], 100.0 * guess.probability)
}

/// A path that is not UTF-8 stands in full beside its text.
fn object(model: &TrainedModel, path: &Path, guesses: &[Prediction]) -> Value {
    let guess = |guess: &Prediction| json!({ "class": model.classes[guess.class], "index": guess.class, "probability": guess.probability });
    let mut object = json!({
        "image": path.to_string_lossy(),
        "predictions": guesses.iter().map(guess).collect::<Vec<_>>(),
    });
    if path.to_str().is_none() {
        object["image_percent_encoded"] = printable::percent_encoded(path).into();
    }
    object
}
