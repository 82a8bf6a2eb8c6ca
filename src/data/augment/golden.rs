//! Compares changes of an image with those of torchvision and timm, recorded by tests/golden/images.py.

use super::super::ImageShape;
use super::super::golden::{Change, cases, difference, folder, planes};
use super::super::random::{Purpose, Stream};
use super::affine::{Matrix, inverse_matrix, transform};
use super::op::{Canvas, Op};
use super::{Choice, blur, color, sampling};

/// The change of a case, applied to `image`.
fn apply(change: &Change, image: &mut Vec<u8>, shape: ImageShape) {
    let value = change.value;
    let interpolation = match change.sampling.as_deref() {
        Some("bilinear") => Choice::Bilinear,
        Some("bicubic") => Choice::Bicubic,
        _ => Choice::Nearest,
    };
    let mut stream = Stream::new(1, Purpose::Augmentation, 0, 0);
    let op = match &*change.op {
        "ShearX" => Op::ShearX(value),
        "ShearY" => Op::ShearY(value),
        "TranslateX" => Op::TranslateX(value),
        "TranslateY" => Op::TranslateY(value),
        "Rotate" => Op::Rotate(value),
        "Brightness" => Op::Brightness(value),
        "Contrast" => Op::Contrast(value),
        "Saturation" => Op::Saturation(value),
        "Sharpness" => Op::Sharpness(value),
        "Posterize" => Op::Posterize(value as u32),
        "Solarize" => Op::Solarize(value),
        "SolarizeAdd" => Op::SolarizeAdd(value as u8),
        "AutoContrast" => Op::AutoContrast,
        "Equalize" => Op::Equalize,
        "Invert" => Op::Invert,
        "Affine" => {
            let center = [shape.width, shape.height].map(|side| side as f64 / 2.0);
            let matrix: Matrix = inverse_matrix(center, value, [4.0, -3.0], 1.3, [10.0, 0.0]);
            *image = transform(image, shape, matrix, sampling(interpolation, &mut stream), &[]);
            return;
        }
        "Hue" => return color::hue(image, shape, value),
        "Grayscale" => return color::grayscale(image, shape),
        "Blur" => return blur::gaussian_blur(image, shape, change.kernel.unwrap(), value),
        other => panic!("{other}"),
    };
    let canvas = Canvas { sampling: interpolation, fill: vec![0; shape.channels] };
    op.apply(image, shape, &canvas, &mut stream);
}

#[test]
fn changes_are_those_of_torchvision_and_timm() {
    let mut count = 0;
    for case in cases() {
        let Some(change) = &case.change else { continue };
        let channels = case.channels;
        let (height, width, want) = planes(&folder().join("expected").join(&case.expected), channels);
        let shape = ImageShape { channels, height, width };
        // Pillow's gray, which differs from that of the crate for images.
        let (.., color) = planes(&folder().join(&case.file), 3);
        let mut image = match channels {
            1 => (0..shape.plane())
                .map(|place| color::luma_601([0, 1, 2].map(|c| color[c * shape.plane() + place].into())) as u8)
                .collect(),
            _ => color,
        };
        apply(change, &mut image, shape);
        let (mean, most) = difference(&image, &want);
        let label = format!("{} {} {:?} {}: {mean:.3} {most}", case.expected, change.op, change.sampling, change.value);
        assert!(mean <= 0.02, "{label}");
        count += 1;
    }
    assert!(count > 150);
}
