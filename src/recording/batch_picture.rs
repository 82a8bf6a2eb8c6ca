//! Draws the images of a batch as the model sees them.

use tch::Device;

use super::RecordingError;
use crate::{
    data::{Batch, PixelScale, shown_classes},
    evaluation::{EvaluationError, Numerics},
    libtorch::host_copy,
    picture::{ImageGrid, Picture},
};

/// Number of images that a picture shows.
const MOST_IMAGES: usize = 32;

/// Draws the first images of a batch after augmentation and mixing, with their classes. Normalization is undone.
///
/// # Errors
/// If libtorch reports an error, or the picture cannot be encoded.
pub fn batch_picture(batch: &Batch, classes: &[String], scale: &PixelScale) -> Result<Picture, RecordingError> {
    let count = batch.len().min(MOST_IMAGES);
    let (images, _) = Numerics::plain(Device::Cpu).to_device(batch)?;
    let [_, channels, height, width] = batch.shape;
    let values = host_copy(&images).map_err(EvaluationError::from)?;
    let moments = scale.mean().iter().zip(scale.std());
    let plane = (height * width).max(1);
    let pixels: Vec<u8> = values
        .chunks_exact(plane)
        .take(count * channels)
        .zip(moments.cycle())
        .flat_map(|(plane, (mean, std))| {
            plane.iter().map(|value| (255.0 * (value * f64::from(*std) + f64::from(*mean))).round() as u8)
        })
        .collect();
    let mut captions = captions(batch, classes);
    captions.truncate(count);
    Ok(ImageGrid { pixels: &pixels, shape: [channels, height, width], captions: &captions }.draw()?)
}

/// The class of each image, or both classes of a mixture with their shares. In multi-label data, all classes of each image,
/// and of a mixture those of both images.
fn captions(batch: &Batch, classes: &[String]) -> Vec<String> {
    if !batch.multi_hot.is_empty() {
        return set_captions(batch, classes);
    }
    let name = |label: i64| classes.get(label as usize).map(String::as_str).unwrap_or_default();
    match batch.mixed_labels() {
        Some(pairs) => pairs.map(|(own, partner, share)| mixed(name(own), name(partner), share)).collect(),
        None => batch.labels.iter().map(|&label| name(label).to_owned()).collect(),
    }
}

fn set_captions(batch: &Batch, classes: &[String]) -> Vec<String> {
    let name = |row: &[f32]| {
        let set: Vec<u32> = (0..).zip(row).filter(|(_, has)| **has > 0.0).map(|(class, _)| class).collect();
        shown_classes(&set, classes)
    };
    let names: Vec<String> = batch.multi_hot.chunks_exact(classes.len().max(1)).map(name).collect();
    let Some(mixture) = &batch.mixture else { return names };
    let pairs = names.iter().zip(names.iter().rev()).zip(&mixture.parts);
    pairs.map(|((own, partner), part)| mixed(own, partner, part.share)).collect()
}

fn mixed(own: &str, partner: &str, share: f32) -> String {
    match 100.0 * share {
        percent if percent < 0.5 || own == partner => own.to_owned(),
        percent => format!("{:.0}% {own}, {percent:.0}% {partner}", 100.0 - percent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Images, MixedPart, Mixture};

    #[test]
    fn pixels_are_those_before_normalization_and_mixtures_name_both_classes() {
        let part = |share| MixedPart { rectangle: [0, 1, 0, 1], weight: share, share };
        let mut batch = Batch {
            number: 0,
            images: Images::Normalized(vec![-2.0, 2.0]),
            labels: vec![0, 1],
            multi_hot: Vec::new(),
            indices: vec![0, 1],
            shape: [2, 1, 1, 1],
            mixture: None,
        };
        let classes = ["ant", "bee"].map(String::from);
        let scale = PixelScale::new(vec![0.5], vec![0.25]).unwrap();
        let middle = |batch: &Batch| {
            let picture = batch_picture(batch, &classes, &scale).unwrap();
            let image = image::load_from_memory(&picture.png).unwrap().into_rgb8();
            [image.get_pixel(80, 80).0, image.get_pixel(248, 80).0]
        };
        // 0.5 - 2 x 0.25 = 0, and 0.5 + 2 x 0.25 = 1.
        assert_eq!(middle(&batch), [[0; 3], [255; 3]]);
        assert_eq!(captions(&batch, &classes), ["ant", "bee"]);
        batch.mixture = Some(Mixture { parts: vec![part(0.25), part(0.0)] });
        assert_eq!(middle(&batch), [[64; 3], [255; 3]]);
        assert_eq!(captions(&batch, &classes), ["75% ant, 25% bee", "bee"]);
        batch.multi_hot = vec![1.0, 1.0, 0.0, 0.0];
        assert_eq!(captions(&batch, &classes), ["75% ant|bee, 25% no class", "no class"]);
        batch.mixture = None;
        assert_eq!(captions(&batch, &classes), ["ant|bee", "no class"]);
    }
}
