//! The pixels of a batch: normalized on the host, or bytes to normalize on the device.

use std::{borrow::Cow, sync::Arc};

use super::{ImageShape, PixelScale, Samples, scale::append_normalized};

/// Pixels of a batch, images x channels x height x width.
#[derive(Debug, Clone, PartialEq)]
pub enum Images {
    /// Normalized values.
    Normalized(Vec<f32>),
    /// Bytes before normalization.
    Bytes(Bytes),
}

/// Pixels as bytes, with the data needed to normalize them.
#[derive(Debug, Clone, PartialEq)]
pub struct Bytes {
    /// Images x channels x height x width.
    pub pixels: Vec<u8>,
    /// A rectangle of each image as `[top, bottom, left, right)`; normalized values inside it are 0. Empty if no image
    /// has one.
    pub cutouts: Vec<[i32; 4]>,
    /// Normalized value of each byte, per channel.
    pub tables: Arc<[[f32; 256]]>,
}

impl Images {
    /// Returns the normalized values of images with this shape: images, channels, height, width.
    pub fn normalized(&self, shape: [usize; 4]) -> Cow<'_, [f32]> {
        match self {
            Self::Normalized(values) => Cow::Borrowed(values),
            Self::Bytes(bytes) => Cow::Owned(bytes.normalized(shape)),
        }
    }

    /// Appends an image. From the first image of 16 bits on, all are normalized.
    pub(super) fn append(&mut self, image: &Samples<'_>, scale: &PixelScale, tables: &[[f32; 256]], shape: ImageShape) {
        match (&mut *self, image) {
            (Self::Bytes(bytes), Samples::Bytes(image)) => bytes.pixels.extend_from_slice(image),
            (Self::Bytes(bytes), Samples::Words(_)) => {
                let ImageShape { channels, height, width } = shape;
                *self = Self::Normalized(bytes.normalized([0, channels, height, width]));
                self.append(image, scale, tables, shape);
            }
            (Self::Normalized(values), image) => image.append_normalized(scale, tables, shape.plane(), values),
        }
    }
}

impl Bytes {
    pub(super) fn with_capacity(images: usize, shape: ImageShape, tables: &Arc<[[f32; 256]]>) -> Self {
        Self { pixels: Vec::with_capacity(images * shape.values()), cutouts: Vec::new(), tables: Arc::clone(tables) }
    }

    pub(super) fn normalized(&self, [_, channels, height, width]: [usize; 4]) -> Vec<f32> {
        let (plane, mut values) = (height * width, Vec::with_capacity(self.pixels.len()));
        let mut cutouts = self.cutouts.iter();
        for image in self.pixels.chunks_exact(channels * plane) {
            let start = values.len();
            append_normalized(&self.tables, image, plane, &mut values);
            if let (Some(cutout), Some(image)) = (cutouts.next(), values.get_mut(start..)) {
                fill(image, plane, width, *cutout, None);
            }
        }
        values
    }
}

/// Sets a rectangle to 0 in every channel, or to `noise`: channels x height x width.
pub(super) fn fill(image: &mut [f32], plane: usize, width: usize, rectangle: [i32; 4], noise: Option<&[f32]>) {
    let [top, bottom, left, right] = rectangle.map(|edge| edge as usize);
    let planes = image.chunks_exact_mut(plane).flat_map(|plane| plane.chunks_exact_mut(width).take(bottom).skip(top));
    let rows = planes.filter_map(|row| row.get_mut(left..right)).filter(|row| !row.is_empty());
    match noise {
        None => rows.for_each(|row| row.fill(0.0)),
        Some(noise) => {
            rows.zip(noise.chunks_exact((right - left).max(1))).for_each(|(row, noise)| row.copy_from_slice(noise))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_looked_up_by_channel_and_boxes_are_0_in_each() {
        let tables: Arc<[[f32; 256]]> =
            [1.0f32, 10.0].map(|scale| std::array::from_fn(|byte| scale * byte as f32)).into();
        let pixels = vec![1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6];
        let bytes = |cutouts| Images::Bytes(Bytes { pixels: pixels.clone(), cutouts, tables: Arc::clone(&tables) });
        let whole = [1.0, 2.0, 3.0, 40.0, 50.0, 60.0];
        assert_eq!(*bytes(vec![]).normalized([2, 2, 1, 3]), [whole, whole].concat());
        let cut = bytes(vec![[0, 1, 1, 3], [0, 1, 2, 2]]).normalized([2, 2, 1, 3]).into_owned();
        assert_eq!(cut, [[1.0, 0.0, 0.0, 40.0, 0.0, 0.0], whole].concat());
    }
}
