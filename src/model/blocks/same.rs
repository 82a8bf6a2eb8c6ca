//! Padding as in TensorFlow ("SAME"): the output side is the input side divided by the stride, rounded up.

use tch::{TchError, Tensor};

/// Pads the maps with `value`. If the padding is odd, the right and bottom sides get the extra row or column.
pub(crate) fn pad_same(maps: &Tensor, side: i64, stride: i64, value: f64) -> Result<Tensor, TchError> {
    let around = |length: i64| {
        let outputs = (length + stride - 1) / stride;
        let missing = ((outputs - 1) * stride + side - length).max(0);
        [missing / 2, missing - missing / 2]
    };
    let (.., rows, columns) = maps.size4()?;
    let ([left, right], [top, bottom]) = (around(columns), around(rows));
    if left + right + top + bottom == 0 {
        return Ok(maps.shallow_clone());
    }
    maps.f_pad([left, right, top, bottom], "constant", value)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn an_odd_zero_comes_behind() {
        // Side 5 at stride 2 with kernel 3: 3 outputs span 7, so one on each side. Side 4: 2 outputs span 5, so one at
        // the end.
        let sizes = |side: i64| {
            let padded = pad_same(&Tensor::ones([1, 1, side, side], (Kind::Float, Device::Cpu)), 3, 2, 0.0).unwrap();
            let row: Vec<f32> = padded.sum_dim_intlist([0i64, 1, 2].as_slice(), false, Kind::Float).try_into().unwrap();
            row.iter().map(|sum| *sum as i64).collect::<Vec<_>>()
        };
        assert_eq!(sizes(5), [0, 5, 5, 5, 5, 5, 0]);
        assert_eq!(sizes(4), [4, 4, 4, 4, 0]);
    }
}
