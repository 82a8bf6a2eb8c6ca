//! The `.grad` of parameters: replacing it, and copying it into a buffer.

use tch::{Device, Kind, Tensor};

use super::{LibtorchError, ffi};

/// Sets `.grad` of `param` to `grad`, without a copy: both share memory from here on.
///
/// # Errors
/// If `grad` does not have the shape, dtype, and device of `param`.
pub fn set_grad(param: &Tensor, grad: &Tensor) -> Result<(), LibtorchError> {
    check_alike("set_grad", param, grad)?;
    ffi::set_grad(param, grad)
}

/// Copies `from` into `to`, and returns the sum of the squared elements if it comes at no cost: dense f32 tensors in
/// the memory of the CPU are read once for both. `None` on other devices. No sync.
///
/// # Errors
/// If shape, dtype, or device differ.
pub fn copy_with_squares(to: &Tensor, from: &Tensor) -> Result<Option<f64>, LibtorchError> {
    check_alike("copy_with_squares", to, from)?;
    let is_plain = |tensor: &Tensor| tensor.device() == Device::Cpu && tensor.kind() == Kind::Float;
    // Two dense tensors with the same strides have the same elements at the same places.
    if is_plain(from) && to.stride() == from.stride() && is_dense(from) && from.numel() > 0 {
        return ffi::copy_with_squares(to, from).map(Some);
    }
    let _no_grad = tch::no_grad_guard();
    to.shallow_clone().f_copy_(from)?;
    Ok(None)
}

/// Whether the elements fill their memory without gaps, in any order of the dimensions.
pub fn is_dense(tensor: &Tensor) -> bool {
    let mut dimensions: Vec<(i64, i64)> =
        tensor.stride().into_iter().zip(tensor.size()).filter(|(_, size)| *size > 1).collect();
    dimensions.sort_unstable();
    let mut expected = 1;
    dimensions.into_iter().all(|(stride, size)| {
        let fits = stride == expected;
        expected *= size;
        fits
    })
}

fn check_alike(operation: &'static str, one: &Tensor, other: &Tensor) -> Result<(), LibtorchError> {
    let describe = |tensor: &Tensor| (tensor.size(), tensor.kind(), tensor.device());
    if one.defined() && other.defined() && describe(one) == describe(other) {
        return Ok(());
    }
    let text = |tensor: &Tensor| if tensor.defined() { format!("{:?}", describe(tensor)) } else { "undefined".into() };
    let got = format!("{} and {}", text(one), text(other));
    Err(LibtorchError::Argument { operation, got, want: "two tensors of one shape, dtype, and device" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gradient_that_was_set_shares_its_memory() {
        let param = Tensor::ones([2, 3], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let grad = Tensor::zeros([2, 3], (Kind::Float, Device::Cpu));
        set_grad(&param, &grad).unwrap();
        let _ = grad.shallow_clone().fill_(7.0);
        assert_eq!(param.grad().double_value(&[1, 2]), 7.0);
        (&param * 2.0).sum(Kind::Float).backward();
        assert_eq!(grad.double_value(&[1, 2]), 9.0);
        assert!(set_grad(&param, &Tensor::zeros([3], (Kind::Float, Device::Cpu))).is_err());
        assert!(set_grad(&param, &Tensor::new()).is_err());
    }

    #[test]
    fn a_copy_has_the_values_and_the_sum_of_squares_in_any_dense_layout() {
        // 50,000 elements take several pieces.
        let plain = Tensor::arange(50_000, (Kind::Float, Device::Cpu)) / 1000.0;
        let want: f64 = (0..50_000).map(|value| f64::from(value as f32 / 1000.0).powi(2)).sum();
        for from in [plain.view([500, 100]), plain.view([500, 100]).transpose(0, 1)] {
            let to = Tensor::empty_strided(from.size(), from.stride(), (Kind::Float, Device::Cpu));
            let squares = copy_with_squares(&to, &from).unwrap().unwrap();
            assert!((squares - want).abs() < 1e-6 * want, "{squares} {want}");
            assert!(to.equal(&from));
        }
    }

    #[test]
    fn a_copy_between_layouts_or_of_another_dtype_has_no_squares() {
        let from = Tensor::arange(6, (Kind::Float, Device::Cpu)).view([2, 3]);
        let to = Tensor::zeros([3, 2], (Kind::Float, Device::Cpu)).transpose(0, 1);
        assert_eq!(copy_with_squares(&to, &from).unwrap(), None);
        assert!(to.equal(&from));
        let (from, to) = (from.to_kind(Kind::Double), to.to_kind(Kind::Double));
        assert_eq!(copy_with_squares(&to, &from).unwrap(), None);
    }

    #[test]
    fn a_tensor_with_gaps_is_not_dense() {
        let whole = Tensor::zeros([4, 6], (Kind::Float, Device::Cpu));
        assert!(is_dense(&whole) && is_dense(&whole.transpose(0, 1)) && is_dense(&Tensor::from(1.0f32)));
        assert!(is_dense(&whole.narrow(0, 0, 1)));
        assert!(!is_dense(&whole.narrow(1, 0, 5)) && !is_dense(&whole.narrow(1, 0, 1).expand([4, 6], false)));
    }
}
