//! Units of tensors for adaptive gradient clipping: one norm for each output of a layer.

use tch::{Device, Kind, Tensor};

use super::{LibtorchError, ffi, foreach::check_list};

/// Computes the squared L2 norm of every unit: shape `[sum of units]`, f64, in the order of the tensors. `units[i]` is
/// 1 (the whole tensor is one unit), or the size of the first dimension of `tensors[i]` (each row is a unit). No sync.
///
/// Takes one pass over the elements on the CPU, and two ATen ops per tensor elsewhere, because libtorch has no list
/// operation for row norms.
///
/// # Errors
/// If the list is empty, its tensors do not share one device and one floating-point dtype, a tensor has no elements, or
/// its number of units is invalid.
pub fn unit_squares(tensors: &[Tensor], units: &[i64]) -> Result<Tensor, LibtorchError> {
    check("unit_squares", tensors, units)?;
    ffi::unit_squares(tensors, units, false)
}

/// Returns the smallest value (f64) of the units of each tensor, at most 1: shape `[tensors]`. `owners` (i64) contains
/// the tensor index of each unit. No sync.
///
/// # Errors
/// If libtorch reports an error.
pub fn unit_minima(values: &Tensor, owners: &Tensor, tensors: usize) -> Result<Tensor, LibtorchError> {
    ffi::unit_minima(values, owners, tensors)
}

/// Multiplies every unit in place by its factor, f64. On the CPU, units with a factor of 1 are not touched. No sync.
///
/// # Errors
/// As for [`unit_squares`], or if the number of factors is not the number of units.
pub fn scale_units(tensors: &[Tensor], units: &[i64], factors: &Tensor) -> Result<(), LibtorchError> {
    const OPERATION: &str = "scale_units";
    check(OPERATION, tensors, units)?;
    check_factors(OPERATION, tensors, units, factors)?;
    ffi::scale_units(tensors, units, factors, false)
}

/// The result of [`clip_units`], on the device.
pub struct UnitClip {
    /// The smallest factor of each gradient, at most 1: shape `[grads]`, f64.
    pub smallest: Tensor,
    /// L2 norm of all gradients after clipping: shape `[]`, f64.
    pub norm: Tensor,
    /// Number of clipped units: shape `[]`, f64.
    pub clipped: Tensor,
    /// `norm` divided by the norm before clipping, 1 if that is not a number: shape `[]`, f32.
    pub coefficient: Tensor,
}

/// Clips gradients adaptively (AGC) with GPU kernels, in four launches: scales each unit of a gradient to at most
/// `clip_factor` times the larger of its weights' norm and `eps`. `units` is 0 for a gradient that stays unchanged.
/// `total_norm` (f64) is the norm of all gradients. If `found_inf` (f32) is 1, clips nothing. Returns `None`, and does
/// nothing, if no kernels are loaded for these gradients. No sync.
///
/// # Errors
/// If the lists do not match, or the scalars are not of shape `[]` on the gradients' device.
pub fn clip_units(
    params: &[Tensor],
    grads: &[Tensor],
    units: &[i64],
    [clip_factor, eps]: [f64; 2],
    total_norm: &Tensor,
    found_inf: &Tensor,
) -> Result<Option<UnitClip>, LibtorchError> {
    const OPERATION: &str = "clip_units";
    if !grads.iter().all(|grad| grad.defined() && matches!(grad.device(), Device::Cuda(_))) {
        return Ok(None);
    }
    check_list(OPERATION, grads)?;
    check_list(OPERATION, params)?;
    let device = grads[0].device();
    let fits = |scalar: &Tensor, kind| scalar.dim() == 0 && scalar.kind() == kind && scalar.device() == device;
    let are_alike = |(param, grad): (&Tensor, &Tensor)| param.size() == grad.size() && param.device() == device;
    let has_units = |(grad, &units): (&Tensor, &i64)| units <= 1 || grad.size().first() == Some(&units);
    if params.len() != grads.len()
        || units.len() != grads.len()
        || !params.iter().zip(grads).all(are_alike)
        || !grads.iter().zip(units).all(has_units)
        || !fits(total_norm, Kind::Double)
        || !fits(found_inf, Kind::Float)
    {
        let got = format!("{} parameters, {} gradients, units {units:?}", params.len(), grads.len());
        return Err(LibtorchError::Argument { operation: OPERATION, got, want: "lists that match, and scalars" });
    }
    let clip = ffi::clip_units(params, grads, units, [clip_factor, eps], [total_norm, found_inf])?;
    Ok(clip.map(|[smallest, norm, clipped, coefficient]| UnitClip { smallest, norm, clipped, coefficient }))
}

fn check(operation: &'static str, tensors: &[Tensor], units: &[i64]) -> Result<(), LibtorchError> {
    check_list(operation, tensors)?;
    let fits = |(tensor, &units): (&Tensor, &i64)| {
        tensor.numel() > 0 && (units == 1 || tensor.size().first().is_some_and(|&rows| rows == units))
    };
    if tensors.len() == units.len() && tensors.iter().zip(units).all(fits) {
        return Ok(());
    }
    let got = format!("units {units:?} for {} tensors", tensors.len());
    Err(LibtorchError::Argument { operation, got, want: "1 or the first size of each tensor, none of them empty" })
}

fn check_factors(
    operation: &'static str,
    tensors: &[Tensor],
    units: &[i64],
    factors: &Tensor,
) -> Result<(), LibtorchError> {
    let count: i64 = units.iter().sum();
    let fits = factors.defined()
        && factors.size() == [count]
        && factors.kind() == Kind::Double
        && factors.device() == tensors[0].device()
        && factors.is_contiguous();
    if fits {
        return Ok(());
    }
    let got = if factors.defined() { format!("{factors:?}") } else { "undefined".into() };
    Err(LibtorchError::Argument { operation, got, want: "a double for each unit on the tensors' device" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(size: &[i64]) -> Tensor {
        Tensor::randn(size, (Kind::Float, Device::Cpu))
    }

    fn values(tensor: &Tensor) -> Vec<f64> {
        Vec::try_from(tensor.to_kind(Kind::Double).contiguous().flatten(0, -1)).unwrap()
    }

    /// Tensors of every memory layout, with their units.
    fn some(kind: Kind) -> (Vec<Tensor>, Vec<i64>) {
        tch::manual_seed(2);
        let maps = random(&[6, 5, 3, 3]);
        let channels_last = maps.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
        let transposed = random(&[40, 7]).transpose(0, 1);
        let tensors =
            [random(&[300, 700]), maps, channels_last, transposed, random(&[9]), random(&[]), random(&[4, 1, 1, 1])];
        (tensors.iter().map(|tensor| tensor.to_kind(kind)).collect(), vec![300, 6, 6, 7, 1, 1, 4])
    }

    #[test]
    fn every_unit_has_the_norm_of_its_elements_and_is_scaled_alone() {
        for (kind, slack) in [(Kind::Float, 1e-12), (Kind::Double, 1e-12), (Kind::BFloat16, 1e-12)] {
            let (tensors, units) = some(kind);
            let want: Vec<f64> = tensors
                .iter()
                .zip(&units)
                .flat_map(|(tensor, &units)| {
                    values(tensor)
                        .chunks(tensor.numel() / units as usize)
                        .map(|row| row.iter().map(|v| v * v).sum::<f64>())
                        .collect::<Vec<_>>()
                })
                .collect();
            for use_aten in [false, true] {
                let got = values(&ffi::unit_squares(&tensors, &units, use_aten).unwrap());
                assert_eq!(got.len(), want.len());
                for (got, want) in got.iter().zip(&want) {
                    assert!((got - want).abs() <= slack * want, "{kind:?}: {got} {want}");
                }
            }
        }
    }

    #[test]
    fn both_ways_of_scaling_agree_and_a_factor_of_one_changes_nothing() {
        let (tensors, units) = some(Kind::Float);
        let count: i64 = units.iter().sum();
        // Powers of two, which multiply f32 exactly.
        let factors = (-Tensor::arange(count, (Kind::Double, Device::Cpu)).remainder(4)).exp2();
        let scaled = [false, true].map(|use_aten| {
            let copies: Vec<Tensor> = tensors.iter().map(Tensor::copy).collect();
            ffi::scale_units(&copies, &units, &factors, use_aten).unwrap();
            copies
        });
        assert_eq!(scaled[0], scaled[1]);
        let mut unit = 0;
        for ((before, after), &units) in tensors.iter().zip(&scaled[0]).zip(&units) {
            let length = before.numel() / units as usize;
            for (before, after) in values(before).chunks(length).zip(values(after).chunks(length)) {
                let factor = factors.double_value(&[unit]);
                assert!(before.iter().zip(after).all(|(before, after)| *after == before * factor));
                unit += 1;
            }
        }
    }

    #[test]
    fn units_that_are_not_those_of_the_tensors_are_refused() {
        let tensors = [random(&[4, 3])];
        assert!(unit_squares(&tensors, &[3]).is_err() && unit_squares(&tensors, &[]).is_err());
        assert!(unit_squares(&[random(&[0, 3])], &[1]).is_err());
        let factors = Tensor::ones([3], (Kind::Double, Device::Cpu));
        assert!(scale_units(&tensors, &[4], &factors).is_err());
    }
}
