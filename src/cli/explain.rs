//! `gradwatch explain`: which places of an image speak for a class.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use clap::{Args, builder::RangedU64ValueParser};
use gradwatch::{
    data::image_files,
    disk,
    inference::{GradCam, InferenceError, TrainedModel},
};

use super::{
    exit::Code,
    log, predict, print,
    trained::{TrainedArguments, decode},
};

#[derive(Debug, Args)]
pub struct ExplainArguments {
    #[command(flatten)]
    trained: TrainedArguments,
    /// Image files, and folders with images in them or below.
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// The class to look for, instead of the model's first guess for each image.
    #[arg(long, value_name = "NAME")]
    class: Option<String>,
    /// Folder of the pictures, one PNG for each image.
    #[arg(long, value_name = "FOLDER", default_value = "explanations")]
    output: PathBuf,
    /// Images that go through the model together.
    #[arg(long, value_name = "N", default_value = "16", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    batch_size: usize,
}

pub fn run(arguments: &ExplainArguments) -> Result<Code> {
    let _log = log::start(None);
    let files = image_files(&arguments.images)?;
    let model = arguments.trained.open()?;
    if !model.network.model.has_feature_maps() {
        return Err(InferenceError::NoFeatureMaps { name: model.config.name }.into());
    }
    let class = arguments.class.as_deref().map(|name| model.class(name)).transpose()?;
    let folder = &arguments.output;
    fs::create_dir_all(folder).map_err(|cause| InferenceError::Write { path: folder.clone(), cause })?;
    let (mut bad, mut taken) = (0, HashSet::new());
    for batch in files.chunks(arguments.batch_size) {
        let (paths, images) = decode(&model.preprocessing, batch, &mut bad)?;
        let seen = model.explain(&images, class)?;
        if let (Some(GradCam { grid: [1, 1], .. }), true) = (seen.first(), taken.is_empty()) {
            tracing::warn!(
                "the model's last maps are of 1 x 1: it has no places to tell apart in images of {}",
                model.preprocessing.shape()
            );
        }
        for ((path, image), seen) in paths.iter().zip(&images).zip(&seen) {
            let to = folder.join(free_name(path, &mut taken));
            write(&model, image, seen, &to)?;
            print(&format!("{}  {}  {}\n", to.display(), predict::told(&model, &seen.guess), path.display()))?;
        }
    }
    Ok(if bad > 0 { Code::Partial } else { Code::Success })
}

fn write(model: &TrainedModel, pixels: &[u8], seen: &GradCam, to: &Path) -> Result<()> {
    let picture = seen.draw(&model.preprocessing, pixels, &[predict::told(model, &seen.guess)])?;
    Ok(disk::replace(to, &picture.png).map_err(|cause| InferenceError::Write { path: to.to_owned(), cause })?)
}

/// The image's name as that of a PNG file, with a number where another image had it already.
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
