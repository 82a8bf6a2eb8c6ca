//! The samples of one image, with 8 or 16 bits.

use std::borrow::Cow;

use super::PixelScale;
use super::scale::append_normalized;

/// The samples of an image, channels x height x width.
#[derive(Debug, Clone, PartialEq)]
pub enum Samples<'a> {
    /// 0 to 255.
    Bytes(Cow<'a, [u8]>),
    /// 0 to 65,535, of a file with 16 bits per channel.
    Words(Vec<u16>),
}

impl Samples<'_> {
    /// The samples with 8 bits, rounded.
    pub fn to_bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Bytes(bytes) => Cow::Borrowed(bytes),
            Self::Words(words) => Cow::Owned(rounded(words)),
        }
    }

    /// Appends the normalized samples. `tables` are those of `scale`.
    pub(super) fn append_normalized(
        &self,
        scale: &PixelScale,
        tables: &[[f32; 256]],
        plane: usize,
        values: &mut Vec<f32>,
    ) {
        match self {
            Self::Bytes(bytes) => append_normalized(tables, bytes, plane, values),
            Self::Words(words) => {
                for ((plane, mean), std) in words.chunks_exact(plane).zip(scale.mean()).zip(scale.std()) {
                    values.extend(plane.iter().map(|&word| (f32::from(word) / 65_535.0 - mean) / std));
                }
            }
        }
    }
}

impl<'a> Samples<'a> {
    /// The same as bytes.
    pub(super) fn into_bytes(self) -> Cow<'a, [u8]> {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Words(words) => Cow::Owned(rounded(&words)),
        }
    }
}

impl From<Vec<u8>> for Samples<'static> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(Cow::Owned(bytes))
    }
}

impl From<Vec<u16>> for Samples<'static> {
    fn from(words: Vec<u16>) -> Self {
        Self::Words(words)
    }
}

/// 65,535 / 255 = 257.
fn rounded(words: &[u16]) -> Vec<u8> {
    words.iter().map(|&word| ((u32::from(word) + 128) / 257) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Bytes, ImageShape, Images};
    use super::*;

    const SHAPE: ImageShape = ImageShape { channels: 1, height: 1, width: 3 };

    #[test]
    fn a_word_is_rounded_to_the_nearest_byte() {
        let words = Samples::Words(vec![0, 128, 129, 257 * 7, 257 * 7 + 128, 257 * 7 + 129, 65_535]);
        assert_eq!(*words.to_bytes(), [0, 0, 1, 7, 7, 8, 255]);
        assert_eq!(*words.into_bytes(), [0, 0, 1, 7, 7, 8, 255]);
    }

    #[test]
    fn words_keep_their_precision_and_mean_the_same_brightness_as_bytes() {
        let scale = PixelScale::new(vec![0.5], vec![0.25]).unwrap();
        let tables = scale.tables().into();
        let mut images = Images::Bytes(Bytes::with_capacity(3, SHAPE, &tables));
        images.append(&vec![0_u8, 51, 255].into(), &scale, &tables, SHAPE);
        assert!(matches!(images, Images::Bytes(_)));
        images.append(&vec![0_u16, 51 * 257, 65_535].into(), &scale, &tables, SHAPE);
        images.append(&vec![1_u16, 2, 3].into(), &scale, &tables, SHAPE);
        images.append(&vec![0_u8, 51, 255].into(), &scale, &tables, SHAPE);
        let Images::Normalized(values) = images else { panic!("{images:?}") };
        let bytes = [-2.0, (0.2 - 0.5) / 0.25, 2.0];
        assert_eq!([&values[..3], &values[3..6], &values[9..]], [bytes; 3]);
        // As bytes, all three would be 0.
        let [one, two, three] = [1.0_f32, 2.0, 3.0].map(|word| (word / 65_535.0 - 0.5) / 0.25);
        assert_eq!(values[6..9], [one, two, three]);
        assert!(one < two && two < three);
    }
}
