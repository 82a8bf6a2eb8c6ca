//! Operations over a list of tensors in one call, so that the cost on CUDA does not grow with the number of tensors.

use tch::Tensor;

use super::{
    LibtorchError,
    ffi::{self, Foreach},
};

/// Computes the `norm_type`-norm of each tensor in f64 (`f64::INFINITY` is the largest absolute value): shape
/// `[tensors.len()]`.
///
/// # Errors
/// If the list is empty, or its tensors do not share one device and one floating-point dtype.
pub fn foreach_norm(tensors: &[Tensor], norm_type: f64) -> Result<Tensor, LibtorchError> {
    check_list("_foreach_norm", tensors)?;
    ffi::foreach_norm(tensors, norm_type)
}

/// Multiplies every tensor in place by the scalar tensor `factor` (shape `[]`), which may stay on the device. No sync.
///
/// # Errors
/// As for [`foreach_norm`], or if `factor` is not of shape `[]`.
pub fn foreach_multiply(tensors: &[Tensor], factor: &Tensor) -> Result<(), LibtorchError> {
    check_list("_foreach_mul_", tensors)?;
    check_one_element("_foreach_mul_", factor)?;
    ffi::foreach("_foreach_mul_", tensors, &Foreach::Multiply(factor))
}

/// Adds the scalar tensor `addend` (shape `[]`) to every tensor in place. No sync.
///
/// # Errors
/// As for [`foreach_multiply`].
pub fn foreach_add(tensors: &[Tensor], addend: &Tensor) -> Result<(), LibtorchError> {
    check_list("_foreach_add_", tensors)?;
    check_one_element("_foreach_add_", addend)?;
    ffi::foreach("_foreach_add_", tensors, &Foreach::Add(addend))
}

/// Copies each tensor of `from` into the tensor of `into` at the same index. Shapes must match; any dtype works. No
/// sync.
///
/// # Errors
/// If a list is empty, its tensors do not share one device and one dtype, or the shapes of the lists do not match.
pub fn foreach_copy(into: &[Tensor], from: &[Tensor]) -> Result<(), LibtorchError> {
    check_pairs("_foreach_copy_", into, from, check_alike)?;
    ffi::foreach("_foreach_copy_", into, &Foreach::Copy(from))
}

/// Subtracts each tensor of `subtrahends` in place from the tensor of `from` at the same index. No sync.
///
/// # Errors
/// As for [`foreach_copy`], or if a dtype is not floating-point.
pub fn foreach_subtract(from: &[Tensor], subtrahends: &[Tensor]) -> Result<(), LibtorchError> {
    check_pairs("_foreach_sub_", from, subtrahends, check_list)?;
    ffi::foreach("_foreach_sub_", from, &Foreach::Subtract(subtrahends))
}

/// Interpolates each tensor of `from` in place toward the tensor of `to` at the same index, by `weight` (shape `[]`).
/// Weight 0 changes nothing; weight 1 gives `to`, up to rounding. No sync.
///
/// # Errors
/// As for [`foreach_subtract`] and [`foreach_multiply`].
pub fn foreach_lerp(from: &[Tensor], to: &[Tensor], weight: &Tensor) -> Result<(), LibtorchError> {
    check_pairs("_foreach_lerp_", from, to, check_list)?;
    check_one_element("_foreach_lerp_", weight)?;
    ffi::foreach("_foreach_lerp_", from, &Foreach::Lerp(to, weight))
}

/// Sets the `.grad` of every parameter to undefined, so that the next backward writes instead of accumulates.
///
/// # Errors
/// If a tensor is undefined.
pub fn clear_grads(params: &[Tensor]) -> Result<(), LibtorchError> {
    if params.iter().any(|param| !param.defined()) {
        let got = "an undefined tensor".into();
        return Err(LibtorchError::Argument { operation: "clear_grads", got, want: "parameters" });
    }
    ffi::clear_grads(params)
}

fn check_pairs(
    operation: &'static str,
    one: &[Tensor],
    other: &[Tensor],
    check: fn(&'static str, &[Tensor]) -> Result<(), LibtorchError>,
) -> Result<(), LibtorchError> {
    check(operation, one)?;
    check(operation, other)?;
    if one.iter().map(Tensor::size).eq(other.iter().map(Tensor::size)) {
        return Ok(());
    }
    let got = format!("lists of {} and {} tensors with different shapes", one.len(), other.len());
    Err(LibtorchError::Argument { operation, got, want: "two lists with the same shapes" })
}

fn check_one_element(operation: &'static str, tensor: &Tensor) -> Result<(), LibtorchError> {
    if tensor.defined() && tensor.dim() == 0 {
        return Ok(());
    }
    let got = if tensor.defined() { format!("shape {:?}", tensor.size()) } else { "undefined".into() };
    Err(LibtorchError::Argument { operation, got, want: "a scalar tensor of shape []" })
}

/// Checks that every tensor is defined and dense, and has the device and floating-point dtype of the first one.
pub(super) fn check_list(operation: &'static str, tensors: &[Tensor]) -> Result<(), LibtorchError> {
    use tch::Kind::{BFloat16, Double, Float, Half};
    check_alike(operation, tensors)?;
    match tensors.iter().map(Tensor::kind).find(|kind| !matches!(kind, Float | Double | Half | BFloat16)) {
        None => Ok(()),
        Some(kind) => {
            Err(LibtorchError::Argument { operation, got: format!("{kind:?}"), want: "floating-point tensors" })
        }
    }
}

/// Checks that every tensor is defined and dense, and has the device and dtype of the first one.
fn check_alike(operation: &'static str, tensors: &[Tensor]) -> Result<(), LibtorchError> {
    let refuse = |got: String, want| Err(LibtorchError::Argument { operation, got, want });
    let Some(first) = tensors.first() else { return refuse("an empty list".into(), "at least one tensor") };
    if let Some(position) = tensors.iter().position(|tensor| !tensor.defined()) {
        return refuse(format!("an undefined tensor at {position}"), "defined tensors");
    }
    if let Some(position) = tensors.iter().position(|tensor| tensor.is_sparse()) {
        return refuse(format!("a sparse tensor at {position}"), "dense tensors");
    }
    let (device, kind) = (first.device(), first.kind());
    match tensors.iter().find(|tensor| tensor.device() != device || tensor.kind() != kind) {
        None => Ok(()),
        Some(other) => refuse(
            format!("{kind:?} on {device:?} and {:?} on {:?}", other.kind(), other.device()),
            "one device and one dtype",
        ),
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn norms_come_out_as_one_vector_in_the_order_of_the_list() {
        let tensors = [Tensor::from_slice(&[3.0f32, -4.0]), Tensor::from_slice(&[-7.0f32]).reshape([1, 1])];
        assert_eq!(Vec::<f64>::try_from(foreach_norm(&tensors, 2.0).unwrap()).unwrap(), [5.0, 7.0]);
        assert_eq!(Vec::<f64>::try_from(foreach_norm(&tensors, f64::INFINITY).unwrap()).unwrap(), [4.0, 7.0]);
    }

    #[test]
    fn a_factor_and_an_addend_reach_every_tensor_in_place() {
        let tensors = [Tensor::from_slice(&[1.0f32, 2.0]), Tensor::from_slice(&[4.0f32])];
        foreach_multiply(&tensors, &Tensor::from(0.5f32)).unwrap();
        foreach_add(&tensors, &Tensor::from(1.0f32)).unwrap();
        assert_eq!(Vec::<f32>::try_from(&tensors[0]).unwrap(), [1.5, 2.0]);
        assert_eq!(Vec::<f32>::try_from(&tensors[1]).unwrap(), [3.0]);
    }

    #[test]
    fn lists_are_copied_and_subtracted_pair_by_pair() {
        let ones = || vec![Tensor::from_slice(&[1.0f32, 2.0]), Tensor::from_slice(&[4.0f32])];
        let (into, from) = (ones(), vec![Tensor::from_slice(&[5.0f32, 7.0]), Tensor::from_slice(&[9.0f32])]);
        foreach_subtract(&from, &into).unwrap();
        foreach_copy(&into, &from).unwrap();
        assert_eq!(Vec::<f32>::try_from(&into[0]).unwrap(), [4.0, 5.0]);
        assert_eq!(Vec::<f32>::try_from(&into[1]).unwrap(), [5.0]);
        assert!(foreach_copy(&into, &from[..1]).is_err());
    }

    #[test]
    fn cleared_gradients_are_undefined() {
        let param = Tensor::ones([2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        param.sum(Kind::Float).backward();
        assert!(param.grad().defined());
        clear_grads(&[param.shallow_clone()]).unwrap();
        assert!(!param.grad().defined());
    }

    #[test]
    fn lists_that_no_foreach_op_takes_are_refused_with_what_was_seen() {
        let float = || Tensor::ones([1], (Kind::Float, Device::Cpu));
        let mixed = [float(), Tensor::ones([1], (Kind::Double, Device::Cpu))];
        for (list, seen) in [
            (vec![], "an empty list"),
            (vec![Tensor::new()], "an undefined tensor at 0"),
            (vec![Tensor::ones([1], (Kind::Int64, Device::Cpu))], "Int64"),
            (Vec::from(mixed), "Float on Cpu and Double on Cpu"),
        ] {
            let error = foreach_norm(&list, 2.0).unwrap_err().to_string();
            assert!(error.contains(seen), "{error}");
        }
        assert!(foreach_multiply(&[float()], &Tensor::from_slice(&[1.0f32, 2.0])).is_err());
    }
}
