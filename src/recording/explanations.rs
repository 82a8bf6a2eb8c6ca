//! Chooses the validation images that a run explains at its evaluations, and draws them.

use std::{collections::HashSet, path::Path};

use tch::Device;

use super::RecordingError;
use crate::{
    config::{EvaluateConfig, OnBadImage},
    data::{Dataset, Preprocessing, shown_classes},
    disk::Folder,
    inference::{GradCam, Probabilities, grad_cam, to_tensor},
    model::Network,
    picture::Picture,
};

/// A picture and its name in TensorBoard and as a file.
pub(crate) type NamedPicture = (String, Picture);

/// Chooses the images to explain: one of each class in turn, in the order of the data set.
///
/// # Errors
/// If `evaluate.explain_classes` contains an unknown class.
pub(crate) fn choose_images(config: &EvaluateConfig, dataset: &Dataset) -> Result<Vec<u32>, RecordingError> {
    let classes = dataset.classes();
    let unknown = |name: &&String| !classes.contains(name);
    if let Some(got) = config.explain_classes.iter().find(unknown) {
        return Err(RecordingError::NoSuchClass { got: got.clone(), want: crate::disk::list(classes) });
    }
    let is_wanted = |class: &String| config.explain_classes.is_empty() || config.explain_classes.contains(class);
    let mut of_classes: Vec<Vec<u32>> = vec![Vec::new(); classes.len()];
    for (index, set) in (0..).zip(dataset.label_sets().iter()) {
        for class in set.iter().map(|&class| class as usize) {
            // More are never needed.
            if of_classes[class].len() < config.explain_images && is_wanted(&classes[class]) {
                of_classes[class].push(index);
            }
        }
    }
    let rounds =
        (0..config.explain_images).flat_map(|round| of_classes.iter().filter_map(move |images| images.get(round)));
    // An image of several classes has several turns.
    let mut is_new = HashSet::new();
    Ok(rounds.copied().filter(|index| is_new.insert(*index)).take(config.explain_images).collect())
}

/// Draws explanations of images with a model.
pub(crate) struct Explainer<'a> {
    pub network: &'a Network,
    pub dataset: &'a Dataset,
    pub classes: &'a [String],
    pub preprocessing: &'a Preprocessing,
    pub on_bad_image: OnBadImage,
    pub device: Device,
}

impl Explainer<'_> {
    /// Draws Grad-CAM heat maps of the model's predictions for the `images` of the data set. Does not affect the run: no
    /// gradient, statistic, or random number changes.
    pub(crate) fn explain(&self, images: &[u32]) -> Result<Vec<NamedPicture>, RecordingError> {
        let Self { network, dataset, classes, preprocessing, on_bad_image, device } = *self;
        let probabilities = Probabilities::of_data(dataset.label_sets().is_multi_label());
        let mut pictures = Vec::new();
        for (number, &index) in images.iter().enumerate() {
            let Some(samples) = dataset.image_unless_bad(index, on_bad_image)? else { continue };
            let pixels = samples.to_bytes();
            let image = to_tensor(preprocessing, std::slice::from_ref(&samples), device)?;
            let Some(map) = grad_cam(network, &image, None, probabilities)?.and_then(|maps| maps.into_iter().next())
            else {
                continue;
            };
            let class = shown_classes(dataset.label_sets().of(index as usize), classes);
            let caption = caption(&class, classes, &map);
            pictures
                .push((format!("{number:02}-{}", file_name(&class)), map.draw(preprocessing, &pixels, &[caption])?));
        }
        Ok(pictures)
    }
}

/// Removes all other pictures from `folder`, which an earlier session of the run wrote. Ignores pictures that cannot be
/// removed.
pub(super) fn keep_only(folder: &Folder, pictures: &[NamedPicture]) {
    let is_there =
        |path: &Path| pictures.iter().any(|(name, _)| path.file_stem().is_some_and(|stem| stem == name.as_str()));
    let is_other = |path: &Path| path.extension().is_some_and(|end| end == "png") && !is_there(path);
    let names = folder.names().unwrap_or_default().into_iter();
    names.filter(|name| is_other(Path::new(name))).for_each(|name| drop(folder.remove(name)));
}

fn caption(class: &str, classes: &[String], map: &GradCam) -> String {
    format!("{class}: predicted {} ({:.0}%)", classes[map.guess.class], 100.0 * map.guess.probability)
}

/// Converts a class name to part of a file name.
fn file_name(class: &str) -> String {
    let letter = |letter: char| if letter.is_alphanumeric() || "-_.".contains(letter) { letter } else { '_' };
    class.chars().map(letter).take(40).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{config::Config, data::ImageShape};

    fn chosen(images: usize, classes: &[&str]) -> Result<Vec<u32>, RecordingError> {
        let config =
            Config::parse("run.max_steps = 1\ndata.source = \"synthetic\"\nmodel.name = \"cnn\"", "test").unwrap();
        let explain_classes = classes.iter().map(|class| (*class).to_owned()).collect();
        let config = EvaluateConfig { explain_images: images, explain_classes, ..config.evaluate };
        let names = ["ant", "bee", "cat"].map(String::from).to_vec();
        let shape = ImageShape { channels: 1, height: 1, width: 1 };
        let dataset = Dataset::in_memory(Path::new("here"), shape, names, vec![1, 1, 0, 1, 0], vec![0; 5]).unwrap();
        choose_images(&config, &dataset)
    }

    #[test]
    fn classes_take_turns_and_those_that_are_named_are_alone() {
        assert_eq!(chosen(3, &[]).unwrap(), [2, 0, 4]);
        assert_eq!(chosen(9, &[]).unwrap(), [2, 0, 4, 1, 3]);
        assert_eq!(chosen(2, &["bee"]).unwrap(), [0, 1]);
        assert!(chosen(2, &["cat"]).unwrap().is_empty() && chosen(0, &[]).unwrap().is_empty());
        let error = chosen(1, &["dog"]).unwrap_err().to_string();
        assert_eq!(error, "evaluate.explain_classes: got \"dog\", want classes of the data: ant, bee, cat");
    }

    #[test]
    fn pictures_of_other_images_go_and_other_files_stay() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["00-cat.png", "01.5-dog.png", "02-old.png", "notes.txt"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let picture = Picture { png: Vec::new(), width: 0, height: 0 };
        keep_only(
            &Folder::open(folder.path()).unwrap(),
            &["00-cat", "01.5-dog"].map(|name| (name.to_owned(), picture.clone())),
        );
        let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["00-cat.png", "01.5-dog.png", "notes.txt"]);
    }

    #[test]
    fn a_class_is_a_file_name_whatever_it_is_called() {
        assert_eq!(file_name("T-shirt/top ü"), "T-shirt_top_ü");
    }
}
