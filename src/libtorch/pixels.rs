//! Normalizes byte images on the device.

use tch::{Kind, Tensor};

use super::{LibtorchError, ffi};

/// Length of a channel's lookup table: one value per byte.
const BYTES: usize = 256;

/// Normalizes images with GPU kernels, in one launch. `pixels` is `[n, channels, height, width]`, u8; `tables` contains
/// the f32 value of each byte for each channel. Pixels inside the boxes, `[n, 4]` of i32 as `[top, bottom, left,
/// right)`, become 0. The result is f32 of the same shape, in channels_last memory format if requested; `None` if no
/// kernels are loaded for the device. No sync.
///
/// # Errors
/// If the shapes or dtypes do not match.
pub fn normalize_pixels(
    pixels: &Tensor,
    tables: &[[f32; BYTES]],
    boxes: Option<&Tensor>,
    channels_last: bool,
) -> Result<Option<Tensor>, LibtorchError> {
    let size = pixels.size();
    let has_boxes = boxes.is_none_or(|boxes| {
        boxes.kind() == Kind::Int && boxes.device() == pixels.device() && boxes.size() == [size[0], 4]
    });
    if size.len() == 4 && size[1] == tables.len() as i64 && pixels.kind() == Kind::Uint8 && has_boxes {
        return ffi::normalize_pixels(pixels, tables.as_flattened(), boxes, channels_last);
    }
    Err(LibtorchError::Argument {
        operation: "normalize_pixels",
        got: format!("{pixels:?}, {} tables and boxes {boxes:?}", tables.len()),
        want: "u8 images with a table for each channel and a box for each image",
    })
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn the_cpu_has_no_kernels_and_shapes_have_to_match() {
        let pixels = Tensor::zeros([2, 1, 3, 3], (Kind::Uint8, Device::Cpu));
        let boxes = Tensor::zeros([2, 4], (Kind::Int, Device::Cpu));
        let tables = [[0.0; BYTES]; 2];
        assert!(normalize_pixels(&pixels, &tables[..1], Some(&boxes), true).unwrap().is_none());
        assert!(normalize_pixels(&pixels, &tables, None, false).is_err());
        assert!(normalize_pixels(&pixels.to_kind(Kind::Float), &tables[..1], None, false).is_err());
        assert!(normalize_pixels(&pixels, &tables[..1], Some(&boxes.narrow(0, 0, 1)), false).is_err());
    }
}
