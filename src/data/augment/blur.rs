//! Gaussian blur, as in torchvision.

use super::super::ImageShape;

/// Blurs with an odd number of `taps` and the standard deviation `sigma`, in pixels. At the borders, the image is
/// mirrored without repeating the outermost pixels.
pub(super) fn gaussian_blur(image: &mut [u8], shape: ImageShape, taps: usize, sigma: f64) {
    let kernel = kernel(taps, sigma);
    let mut rows = vec![0.0_f32; shape.plane()];
    for plane in image.chunks_exact_mut(shape.plane()) {
        for (blurred, line) in rows.chunks_exact_mut(shape.width).zip(plane.chunks_exact(shape.width)) {
            for (column, blurred) in blurred.iter_mut().enumerate() {
                *blurred = weighted(&kernel, column, shape.width, |place| f32::from(line[place]));
            }
        }
        for (place, pixel) in plane.iter_mut().enumerate() {
            let (row, column) = (place / shape.width, place % shape.width);
            let blurred = weighted(&kernel, row, shape.height, |row| rows[row * shape.width + column]);
            *pixel = blurred.round_ties_even() as u8;
        }
    }
}

fn kernel(taps: usize, sigma: f64) -> Vec<f32> {
    let half = (taps as f64 - 1.0) / 2.0;
    let weights: Vec<f64> = (0..taps).map(|tap| (-0.5 * ((tap as f64 - half) / sigma).powi(2)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| (weight / sum) as f32).collect()
}

fn weighted(kernel: &[f32], center: usize, length: usize, at: impl Fn(usize) -> f32) -> f32 {
    let first = center as i64 - (kernel.len() / 2) as i64;
    (first..).zip(kernel).map(|(place, weight)| weight * at(mirrored(place, length))).sum()
}

/// The place within `0..length` that a mirrored image shows at `place`.
fn mirrored(place: i64, length: usize) -> usize {
    let last = length as i64 - 1;
    if last == 0 {
        return 0;
    }
    let wrapped = place.rem_euclid(2 * last);
    wrapped.min(2 * last - wrapped) as usize
}
