//! Changes of colors, with Pillow's arithmetic: torchvision and timm apply these to Pillow images.
//!
//! An image is planes of bytes. Operations that mix colors do nothing to an image that has not three channels.

use std::array;

use super::super::ImageShape;

/// A table with the new value of each byte.
pub(super) type Table = [u8; 256];

/// Replaces every byte by its value in the table.
pub(super) fn look_up(image: &mut [u8], table: &Table) {
    image.iter_mut().for_each(|pixel| *pixel = table[usize::from(*pixel)]);
}

/// Moves `value` away from `base` by the factor: 0 gives `base`, 1 keeps `value`. Pillow truncates.
fn blended(base: u8, value: u8, factor: f32) -> u8 {
    // A cast to u8 saturates.
    (f32::from(base) + factor * f32::from(i16::from(value) - i16::from(base))) as u8
}

/// 0 is black, 1 keeps the image.
pub(super) fn brightness(image: &mut [u8], factor: f32) {
    look_up(image, &array::from_fn(|value| blended(0, value as u8, factor)));
}

/// 0 is the mean gray of the image, 1 keeps the image.
pub(super) fn contrast(image: &mut [u8], shape: ImageShape, factor: f32) {
    let luma = luma(image, shape);
    let sum: u64 = luma.iter().map(|&value| u64::from(value)).sum();
    let mean = (sum as f64 / luma.len().max(1) as f64 + 0.5) as u8;
    look_up(image, &array::from_fn(|value| blended(mean, value as u8, factor)));
}

/// 0 is gray, 1 keeps the image.
pub(super) fn saturation(image: &mut [u8], shape: ImageShape, factor: f32) {
    if shape.channels == 3 {
        let luma = luma(image, shape);
        for plane in image.chunks_exact_mut(shape.plane()) {
            plane.iter_mut().zip(&luma).for_each(|(value, &gray)| *value = blended(gray, *value, factor));
        }
    }
}

/// Three equal channels.
pub(super) fn grayscale(image: &mut [u8], shape: ImageShape) {
    if shape.channels == 3 {
        let luma = luma(image, shape);
        image.chunks_exact_mut(shape.plane()).for_each(|plane| plane.copy_from_slice(&luma));
    }
}

/// Turns the hue by a fraction of the circle from -0.5 to 0.5, in Pillow's HSV bytes.
pub(super) fn hue(image: &mut [u8], shape: ImageShape, fraction: f64) {
    if shape.channels != 3 {
        return;
    }
    let turn = (fraction * 255.0) as i32 as u8;
    let (red, rest) = image.split_at_mut(shape.plane());
    let (green, blue) = rest.split_at_mut(shape.plane());
    for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
        let [hue, saturation, value] = hsv([*red, *green, *blue]);
        [*red, *green, *blue] = rgb([hue.wrapping_add(turn), saturation, value]);
    }
}

/// 0 is smoothed, 1 keeps the image. The outermost pixels are not smoothed.
pub(super) fn sharpness(image: &mut [u8], shape: ImageShape, factor: f32) {
    for plane in image.chunks_exact_mut(shape.plane()) {
        let smooth = smoothed(plane, shape);
        plane.iter_mut().zip(smooth).for_each(|(value, smooth)| *value = blended(smooth, *value, factor));
    }
}

/// Keeps the highest bits of each byte.
pub(super) fn posterize(image: &mut [u8], bits: u32) {
    let mask = if bits >= 8 { 0xff } else { !(0xff_u8 >> bits) };
    image.iter_mut().for_each(|pixel| *pixel &= mask);
}

/// Inverts bytes from the threshold on.
pub(super) fn solarize(image: &mut [u8], threshold: f64) {
    look_up(image, &array::from_fn(|value| if (value as f64) < threshold { value as u8 } else { 255 - value as u8 }));
}

/// Adds to bytes below 128.
pub(super) fn solarize_add(image: &mut [u8], add: u8) {
    look_up(image, &array::from_fn(|value| if value < 128 { (value as u8).saturating_add(add) } else { value as u8 }));
}

pub(super) fn invert(image: &mut [u8]) {
    image.iter_mut().for_each(|pixel| *pixel = 255 - *pixel);
}

/// Stretches each channel to 0..=255.
pub(super) fn autocontrast(image: &mut [u8], shape: ImageShape) {
    for plane in image.chunks_exact_mut(shape.plane()) {
        let (low, high) = plane.iter().fold((255, 0), |(low, high), &value| (value.min(low), value.max(high)));
        if low < high {
            let scale = 255.0 / f64::from(high - low);
            let offset = -f64::from(low) * scale;
            look_up(plane, &array::from_fn(|value| (value as f64 * scale + offset) as u8));
        }
    }
}

/// Flattens the histogram of each channel.
pub(super) fn equalize(image: &mut [u8], shape: ImageShape) {
    for plane in image.chunks_exact_mut(shape.plane()) {
        let mut counts = [0_u64; 256];
        plane.iter().for_each(|&value| counts[usize::from(value)] += 1);
        let last = counts.iter().rev().find(|count| **count > 0).copied().unwrap_or(0);
        let step = (plane.len() as u64 - last) / 255;
        if step > 0 {
            let mut sum = step / 2;
            let table = counts.map(|count| {
                let value = (sum / step).min(255) as u8;
                sum += count;
                value
            });
            look_up(plane, &table);
        }
    }
}

/// ITU-R BT.601 luma; the first channel if there are not three.
fn luma(image: &[u8], shape: ImageShape) -> Vec<u8> {
    let mut planes = image.chunks_exact(shape.plane());
    match (planes.next(), planes.next(), planes.next(), planes.next()) {
        (Some(red), Some(green), Some(blue), None) => red
            .iter()
            .zip(green)
            .zip(blue)
            .map(|((&red, &green), &blue)| luma_601([red, green, blue].map(u32::from)) as u8)
            .collect(),
        (first, ..) => first.unwrap_or_default().to_vec(),
    }
}

/// ITU-R BT.601 luma in Pillow's fixed-point arithmetic, of samples with at most 16 bits.
pub(in super::super) fn luma_601([red, green, blue]: [u32; 3]) -> u32 {
    (19_595 * red + 38_470 * green + 7_471 * blue + 0x8000) >> 16
}

/// The plane through a kernel of 1 around 5, divided by 13.
fn smoothed(plane: &[u8], shape: ImageShape) -> Vec<u8> {
    let mut smooth = plane.to_vec();
    let (side, center) = (1.0 / 13.0_f32, 5.0 / 13.0_f32);
    for row in 1..shape.height.saturating_sub(1) {
        for column in 1..shape.width.saturating_sub(1) {
            let at = |row: usize, column: usize| f32::from(plane[row * shape.width + column]);
            let mut sum = 0.5;
            for near in row - 1..=row + 1 {
                let middle = if near == row { center } else { side };
                sum += at(near, column - 1) * side + at(near, column) * middle + at(near, column + 1) * side;
            }
            smooth[row * shape.width + column] = sum as u8;
        }
    }
    smooth
}

fn hsv([red, green, blue]: [u8; 3]) -> [u8; 3] {
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let [from_red, from_green, from_blue] = [red, green, blue].map(|value| f32::from(most - value) / range);
    let sixths = if red == most {
        from_blue - from_green
    } else if green == most {
        2.0 + from_red - from_blue
    } else {
        4.0 + from_green - from_red
    };
    let hue = (f64::from(sixths) / 6.0 + 1.0).fract() as f32;
    let saturation = range / f32::from(most);
    [(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, most]
}

fn rgb([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let saturation = (f64::from(saturation) / 255.0) as f32;
    let sixths = (f64::from(hue) * 6.0 / 255.0) as f32;
    let (sector, part) = (sixths.floor(), sixths - sixths.floor());
    let scaled = |factor: f32| (f32::from(value) * factor).round() as u8;
    let (low, falling, rising) =
        (scaled(1.0 - saturation), scaled(1.0 - saturation * part), scaled(1.0 - saturation * (1.0 - part)));
    match sector as u32 % 6 {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}
