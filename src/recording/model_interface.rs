//! Classes and preprocessing of a model: writes them to the run folder, and compares them with those in a TorchScript
//! file.

use crate::{
    data::Preprocessing,
    disk::{Folder, list},
    events::EventsError,
    inference::{CLASSES, ModelClasses, PREPROCESSING, write_interface},
    model::Network,
};

/// Writes them to the run folder, and warns if those in the model file differ.
///
/// # Errors
/// If they cannot be written.
pub(crate) fn write_model_interface(
    folder: &Folder,
    network: &Network,
    classes: &ModelClasses,
    images: &Preprocessing,
) -> Result<(), EventsError> {
    remarks(network, &classes.names, images).iter().for_each(|remark| tracing::warn!("{remark}"));
    let refuse = |cause| EventsError::Create { path: folder.path().to_owned(), cause };
    write_interface(folder, classes, images).map_err(refuse)
}

/// Warnings about classes or preprocessing that differ from those in the file, one per line.
fn remarks(network: &Network, classes: &[String], images: &Preprocessing) -> Vec<String> {
    let text = |name| network.model.torchscript().and_then(|module| module.extra(name));
    let own_classes = text(CLASSES).and_then(|text| serde_json::from_str::<ModelClasses>(&text).ok());
    let own_images = text(PREPROCESSING).and_then(|text| serde_json::from_str::<Preprocessing>(&text).ok());
    compared(own_classes.map(|own| own.names).as_deref(), own_images.as_ref(), classes, images)
}

fn compared(
    own_classes: Option<&[String]>,
    own_images: Option<&Preprocessing>,
    classes: &[String],
    images: &Preprocessing,
) -> Vec<String> {
    // Numbers do not count as names.
    let is_named = |classes: &[String]| classes.iter().any(|class| class.parse::<u64>().is_err());
    let other_classes = own_classes.filter(|own| *own != classes && is_named(own));
    let other_classes = other_classes.map(|own| {
        format!("model.path: the file was made for the classes {}, but the data has {}", list(own), list(classes))
    });
    let is_near = |one: &[f32], other: &[f32]| {
        one.len() == other.len() && one.iter().zip(other).all(|(one, other)| (one - other).abs() < 1e-3)
    };
    let is_as_wanted = |own: &&Preprocessing| is_near(&own.mean, &images.mean) && is_near(&own.std, &images.std);
    let other_images = own_images.filter(|own| !is_as_wanted(own)).map(|own| {
        format!(
            "model.path: the file expects images with mean {:?} and deviation {:?}, but they have {:?} and {:?}; if \
             the file contains trained weights, set data.normalize = \"given\", data.mean, and data.std",
            own.mean, own.std, images.mean, images.std
        )
    });
    other_classes.into_iter().chain(other_images).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Framing;

    #[test]
    fn other_classes_and_another_scale_are_told_and_the_same_are_not() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let (mean, std) = (vec![0.449], vec![0.226]);
        let file = Preprocessing { channels: 1, height: 8, width: 8, mean, std, framing: Framing::default() };
        let data = Preprocessing { mean: vec![0.286], std: vec![0.353], ..file.clone() };
        let (cats, dogs, numbers) = (names(&["cat", "dog"]), names(&["dog", "cat"]), names(&["0", "1"]));
        assert!(compared(Some(&cats), Some(&file), &cats, &file).is_empty());
        assert!(compared(Some(&numbers), None, &cats, &file).is_empty());
        let remarks = compared(Some(&cats), Some(&file), &dogs, &data);
        assert!(remarks[0].contains("the classes cat, dog, but the data has dog, cat"), "{remarks:?}");
        assert!(
            remarks[1].contains("mean [0.449] and deviation [0.226], but they have [0.286] and [0.353]"),
            "{remarks:?}"
        );
        assert_eq!(remarks.len(), 2);
    }
}
