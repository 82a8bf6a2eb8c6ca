//! `gradwatch explain`: highlights the image regions that support a class.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use anyhow::Result;
use clap::Args;
use gradwatch::{
    data::image_files,
    disk::{Folder, Output, OutputError},
    inference::{GradCam, InferenceError},
    printable,
};

use super::{
    counted,
    exit::Code,
    log, predict, tell,
    trained::{TrainedArguments, decode, tell_bad},
};

#[derive(Debug, Args)]
pub(super) struct ExplainArguments {
    #[command(flatten)]
    trained: TrainedArguments,
    /// Image files, or folders to search for images.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// Class to explain (default: the top prediction of each image).
    #[arg(long, value_name = "NAME")]
    class: Option<String>,
    /// Folder for the pictures, one PNG per image.
    #[arg(long, value_name = "FOLDER", default_value = "explanations")]
    output: PathBuf,
    /// Replace existing pictures.
    #[arg(long)]
    force: bool,
    /// Images per batch.
    #[arg(long, value_name = "N", default_value = "16", value_parser = counted(65_536))]
    batch_size: usize,
}

pub(super) fn run(arguments: &ExplainArguments) -> Result<Code> {
    let _log = log::start(None, 0);
    let files = image_files(&arguments.images)?;
    let folder = &arguments.output;
    Folder::make(folder).map_err(|cause| OutputError::of(folder, cause))?;
    // Fails before the computation if a picture already exists.
    let mut outputs = outputs(&files, folder, arguments.force)?.into_iter();
    let model = arguments.trained.open()?;
    if !model.network.model.has_feature_maps() {
        return Err(InferenceError::NoFeatureMaps { name: model.config.name }.into());
    }
    let class = arguments.class.as_deref().map(|name| model.class(name)).transpose()?;
    let (mut bad, mut is_first) = (0, true);
    for batch in files.chunks(arguments.batch_size) {
        let (paths, images) = decode(&model.preprocessing, batch, &mut bad)?;
        let seen = model.explain(&images, class)?;
        if let (Some(GradCam { grid: [1, 1], .. }), true) = (seen.first(), is_first) {
            tracing::warn!(
                "the last feature maps of the model are 1 x 1 for images of {}: Grad-CAM cannot distinguish image \
                 regions",
                model.preprocessing.shape()
            );
        }
        is_first &= seen.is_empty();
        for ((path, image), seen) in paths.iter().zip(&images).zip(&seen) {
            // Same order, but without the images that did not decode.
            let Some((_, mut output)) = outputs.find(|(file, _)| file == path) else { continue };
            let told = predict::told(&model, &seen.guess);
            let picture = seen.draw(&model.preprocessing, &image.to_bytes(), std::slice::from_ref(&told))?;
            output.write(&picture.png)?;
            let (to, told) = (printable::path(output.path()), printable::line(&told));
            tell(&format!("{to}  {told}  {}\n", printable::path(path)));
        }
    }
    tell_bad(bad, files.len());
    Ok(if bad > 0 { Code::Partial } else { Code::Success })
}

/// Chooses the output file of each image.
fn outputs(files: &[PathBuf], folder: &Path, force: bool) -> Result<Vec<(PathBuf, Output)>, OutputError> {
    let mut taken = HashSet::new();
    let output = |file: &PathBuf| Output::choose(&folder.join(free_name(file, &mut taken)), force);
    files.iter().cloned().zip(files.iter().map(output)).map(|(file, output)| Ok((file, output?))).collect()
}

/// The image's file name with the extension png, and with a number if another image already has that name.
fn free_name(path: &Path, taken: &mut HashSet<String>) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let numbered = (2..).map(|number| format!("{stem}-{number}.png"));
    let mut names = std::iter::once(format!("{stem}.png")).chain(numbered);
    names.find(|name| taken.insert(name.clone())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_one_name_have_pictures_of_their_own() {
        let mut taken = HashSet::new();
        let names = ["a/1.jpg", "b/1.jpg", "b/1.png", "c/1-2.jpg"].map(|path| free_name(Path::new(path), &mut taken));
        assert_eq!(names, ["1.png", "1-2.png", "1-3.png", "1-2-2.png"]);
    }
}
