//! Rotation, shear, translation, and zoom, with Pillow's arithmetic.

use super::super::ImageShape;
use crate::config::Interpolation;

/// Interpolation of a turned image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sampling {
    Nearest,
    Smooth(Interpolation),
}

/// Maps the coordinates of an output pixel to those of the input: `x' = a x + b y + c`, `y' = d x + e y + f`.
pub(super) type Matrix = [f64; 6];

/// The inverse of a rotation by `angle` degrees, a scaling, and shears of `shear` degrees around `center` (x, y), and a
/// translation by `translate`, as in torchvision.
pub(super) fn inverse_matrix(center: [f64; 2], angle: f64, translate: [f64; 2], scale: f64, shear: [f64; 2]) -> Matrix {
    let (turn, [shear_x, shear_y]) = (angle.to_radians(), shear.map(f64::to_radians));
    let [center_x, center_y] = center;
    let [move_x, move_y] = translate;
    let a = (turn - shear_y).cos() / shear_y.cos();
    let b = -(turn - shear_y).cos() * shear_x.tan() / shear_y.cos() - turn.sin();
    let c = (turn - shear_y).sin() / shear_y.cos();
    let d = -(turn - shear_y).sin() * shear_x.tan() / shear_y.cos() + turn.cos();
    let [a, b, c, d] = [d / scale, -b / scale, -c / scale, a / scale];
    let from = |one: f64, other: f64| one * (-center_x - move_x) + other * (-center_y - move_y);
    [a, b, from(a, b) + center_x, c, d, from(c, d) + center_y]
}

/// The matrix of Pillow's `rotate`, counterclockwise by `angle` degrees around the center of the image.
pub(super) fn rotation(shape: ImageShape, angle: f64) -> Matrix {
    let turn = -angle.to_radians();
    let rounded = |value: f64| (value * 1e15).round() / 1e15;
    let (cos, sin) = (rounded(turn.cos()), rounded(turn.sin()));
    let [x, y] = [shape.width as f64 / 2.0, shape.height as f64 / 2.0];
    [cos, sin, cos * -x + sin * -y + x, -sin, cos, -sin * -x + cos * -y + y]
}

/// Samples the image at the places of `matrix`; pixels from outside are `fill`, one value per channel.
pub(super) fn transform(image: &[u8], shape: ImageShape, matrix: Matrix, sampling: Sampling, fill: &[u8]) -> Vec<u8> {
    let [a, b, c, d, e, f] = matrix;
    let mut result = Vec::with_capacity(image.len());
    for (channel, plane) in image.chunks_exact(shape.plane()).enumerate() {
        let fill = fill.get(channel).copied().unwrap_or(0);
        for row in 0..shape.height {
            for column in 0..shape.width {
                let (x, y) = (column as f64 + 0.5, row as f64 + 0.5);
                let (x, y) = (a * x + b * y + c, d * x + e * y + f);
                let is_inside = x >= 0.0 && x < shape.width as f64 && y >= 0.0 && y < shape.height as f64;
                result.push(if is_inside { sample(plane, shape, x, y, sampling) } else { fill });
            }
        }
    }
    result
}

fn sample(plane: &[u8], shape: ImageShape, x: f64, y: f64, sampling: Sampling) -> u8 {
    // Beyond the edges, the outermost pixels repeat.
    let at = |x: i64, y: i64| {
        let (x, y) = (x.clamp(0, shape.width as i64 - 1), y.clamp(0, shape.height as i64 - 1));
        f64::from(plane[y as usize * shape.width + x as usize])
    };
    if sampling == Sampling::Nearest {
        return at(x as i64, y as i64) as u8;
    }
    let (x, y) = (x - 0.5, y - 0.5);
    let (left, top) = (x.floor(), y.floor());
    let (right_share, lower_share) = (x - left, y - top);
    let (left, top) = (left as i64, top as i64);
    // A cast to u8 truncates and saturates.
    match sampling {
        Sampling::Smooth(Interpolation::Bicubic) => {
            let row = |y: i64| cubic([-1, 0, 1, 2].map(|dx| at(left + dx, y)), right_share);
            cubic([-1, 0, 1, 2].map(|dy| row(top + dy)), lower_share) as u8
        }
        _ => {
            let row = |y: i64| at(left, y) + (at(left + 1, y) - at(left, y)) * right_share;
            (row(top) + (row(top + 1) - row(top)) * lower_share) as u8
        }
    }
}

/// The cubic through four values with a = -0.5, at `part` of the way from the second to the third.
fn cubic([before, first, second, after]: [f64; 4], part: f64) -> f64 {
    let p1 = first;
    let p2 = second - before;
    let p3 = 2.0 * (before - first) + second - after;
    let p4 = -before + first - second + after;
    p1 + part * (p2 + part * (p3 + part * p4))
}
