//! Clips each element of many tensors.

use tch::Tensor;

use super::{LibtorchError, ffi, foreach::check_list};

/// Clamps every element in place to -`bound` and `bound`, as torch.clamp does; NaN stays NaN. Returns the squared L2
/// norm of each clamped tensor: shape `[tensors.len()]`, f64, on their device. One pass on the CPU. No sync.
///
/// # Errors
/// If the list is empty, its tensors do not share one device and one floating-point dtype, or `bound` is negative or
/// NaN.
pub fn clip_values(tensors: &[Tensor], bound: f64) -> Result<Tensor, LibtorchError> {
    const OPERATION: &str = "clip_values";
    check_list(OPERATION, tensors)?;
    if bound.is_nan() || bound < 0.0 {
        return Err(LibtorchError::Argument {
            operation: OPERATION,
            got: bound.to_string(),
            want: "a bound of 0 or more",
        });
    }
    ffi::clip_values(tensors, bound, false)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    fn bits(tensors: &[Tensor]) -> Vec<u32> {
        let values = |tensor: &Tensor| Vec::<f32>::try_from(tensor.to_kind(Kind::Float).contiguous().flatten(0, -1));
        tensors.iter().flat_map(|tensor| values(tensor).unwrap()).map(f32::to_bits).collect()
    }

    #[test]
    fn both_ways_clip_alike_and_tell_the_norm_of_what_is_left() {
        tch::manual_seed(8);
        let odd = [0.0, -0.0, 1e-40, 0.5, -0.5, 0.500_000_1, -7.0, f32::MAX, f32::INFINITY, f32::NEG_INFINITY];
        let make = || {
            let large = Tensor::randn([3, 70_001], (Kind::Float, Device::Cpu));
            vec![large.transpose(0, 1), large, Tensor::from_slice(&odd), Tensor::zeros([0], (Kind::Float, Device::Cpu))]
        };
        for kind in [Kind::Float, Kind::BFloat16, Kind::Double] {
            let tensors: Vec<Tensor> = make().iter().map(|tensor| tensor.to_kind(kind).copy()).collect();
            let copies: Vec<Tensor> = tensors.iter().map(Tensor::copy).collect();
            let squares = Vec::<f64>::try_from(clip_values(&tensors, 0.5).unwrap()).unwrap();
            let _squares = ffi::clip_values(&copies, 0.5, true).unwrap();
            assert_eq!(bits(&tensors), bits(&copies), "{kind:?}");
            for (tensor, squares) in tensors.iter().zip(squares) {
                let want = tensor.to_kind(Kind::Double).square().sum(Kind::Double).double_value(&[]);
                assert!((squares - want).abs() <= 1e-12 * want, "{kind:?}: {squares} {want}");
            }
        }
    }

    #[test]
    fn nan_stays_and_is_seen() {
        let tensor = Tensor::from_slice(&[f32::NAN, 3.0]);
        let squares = clip_values(&[tensor.shallow_clone()], 1.0).unwrap();
        assert!(squares.double_value(&[0]).is_nan() && tensor.double_value(&[0]).is_nan());
        assert_eq!(tensor.double_value(&[1]), 1.0);
    }

    #[test]
    fn bounds_that_limit_nothing_are_refused() {
        let tensor = [Tensor::from(1.0f32)];
        assert!(clip_values(&tensor, -1.0).is_err() && clip_values(&tensor, f64::NAN).is_err());
        assert!(clip_values(&[], 1.0).is_err());
    }
}
