//! Statistics of many tensors as one table on their device, from one pass over their elements.

use tch::{Kind, Tensor};

use super::{LibtorchError, ffi};

/// Selects the columns of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// The columns [`column::SQUARES`] and [`column::LARGEST`].
    Norms,
    /// All columns.
    Distribution,
}

/// Column indices of a table.
pub mod column {
    /// Sum of the squares of all elements, computed in f64.
    pub const SQUARES: usize = 0;
    /// Largest absolute value; NaN if an element is NaN.
    pub const LARGEST: usize = 1;
    /// Sum of all elements, computed in f64.
    pub const SUM: usize = 2;
    /// Number of elements that are exactly 0, of either sign.
    pub const ZEROS: usize = 3;
    /// Number of denormal elements: below the smallest normal number of the tensor's dtype, and not 0.
    pub const DENORMALS: usize = 4;
    /// Number of NaN elements.
    pub const NANS: usize = 5;
    /// Number of elements equal to infinity.
    pub const INFINITIES: usize = 6;
    /// Number of elements equal to -infinity.
    pub const NEGATIVE_INFINITIES: usize = 7;
    /// Counts of normal elements v < 0 with 2^e <= |v| < 2^(e+1), for each e from [`FIRST_EXPONENT`] on.
    pub const NEGATIVE: usize = 8;
    /// The same counts for v > 0.
    pub const POSITIVE: usize = NEGATIVE + EXPONENTS;
    /// Number of columns per sign: one per exponent of normal f32. f64 elements outside this range count in the
    /// outermost columns.
    pub const EXPONENTS: usize = 254;
    /// Exponent of the first of these columns.
    pub const FIRST_EXPONENT: i32 = gradwatch_doctor::statistics::LogHistogram::SMALLEST_EXPONENT;
    /// Number of all columns.
    pub const COUNT: usize = POSITIVE + EXPONENTS;
}

/// Returns a table `[tensors.len(), columns]` of f64 on the tensors' device: two columns for [`Detail::Norms`],
/// otherwise [`column::COUNT`]. Both give bit-identical norms. No sync.
///
/// On the CPU it takes one pass over the elements on all threads; the sums do not depend on the number of threads. On a
/// GPU with [`load_kernels`](super::load_kernels), it takes two launches and one pass. Without the kernels it consists
/// of ATen ops with many launches, and has no distribution of float64.
///
/// # Errors
/// If the list is empty, or a tensor is sparse, not floating-point, or not on the device of the first one.
pub fn tensor_table(tensors: &[Tensor], detail: Detail) -> Result<Tensor, LibtorchError> {
    check(tensors)?;
    ffi::table(tensors, detail == Detail::Distribution, false)
}

/// Returns the L2 norm of all tensors of a table together (f64), and a flag (f32): 1 if an optimizer must skip the
/// step, else 0. The flag is 1 if an element is NaN or infinite, or if the sum of the squares overflows f32, the dtype
/// of second moments. Both have shape `[]` on the table's device. No sync.
///
/// # Errors
/// If `table` is not a two-dimensional f64 tensor.
pub fn table_total(table: &Tensor) -> Result<(Tensor, Tensor), LibtorchError> {
    if table.dim() != 2 || table.kind() != Kind::Double {
        return Err(LibtorchError::Argument {
            operation: "table_total",
            got: format!("{table:?}"),
            want: "a table of f64",
        });
    }
    if let Some([norm, found_inf]) = ffi::table_total(table)? {
        return Ok((norm, found_inf));
    }
    let squares = table.f_select(1, column::SQUARES as i64)?.f_sum(Kind::Double)?;
    let found_inf = squares.f_to_kind(Kind::Float)?.f_isfinite()?.f_logical_not()?.f_to_kind(Kind::Float)?;
    Ok((squares.f_sqrt()?, found_inf))
}

/// Sums over the inputs and outputs of an activation: shape `[4]`, f64. The sum of the squared outputs, the sum of the
/// outputs, the number of outputs at or below 0, and the number of inputs at or below `flat[0]` or at or above
/// `flat[1]`. Both tensors have the same shape and device; under autocast their dtypes may differ. One pass, no sync.
///
/// # Errors
/// If the tensors do not match.
pub fn activation_sums(inputs: &Tensor, outputs: &Tensor, flat: [f64; 2]) -> Result<Tensor, LibtorchError> {
    check(&[inputs.shallow_clone(), outputs.shallow_clone()])?;
    if inputs.size() != outputs.size() {
        let got = format!("{inputs:?} and {outputs:?}");
        return Err(LibtorchError::Argument { operation: "activation_sums", got, want: "one shape" });
    }
    ffi::activation_sums(inputs, outputs, flat)
}

fn check(tensors: &[Tensor]) -> Result<(), LibtorchError> {
    let refuse = |got, want| Err(LibtorchError::Argument { operation: "tensor_table", got, want });
    let Some(first) = tensors.first() else { return refuse("an empty list".into(), "at least one tensor") };
    for (position, tensor) in tensors.iter().enumerate() {
        if !tensor.defined() {
            return refuse(format!("an undefined tensor at {position}"), "defined tensors");
        }
        if tensor.is_sparse() {
            return refuse(format!("a sparse tensor at {position}"), "dense tensors");
        }
        if !matches!(tensor.kind(), Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16) {
            return refuse(format!("{:?} at {position}", tensor.kind()), "floating-point tensors");
        }
        if tensor.device() != first.device() {
            return refuse(format!("{:?} and {:?}", first.device(), tensor.device()), "one device");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tch::Device;

    use super::*;

    /// Reference implementation: one row of the table, element by element in f64.
    fn slow_row(tensor: &Tensor) -> Vec<f64> {
        let kind = tensor.kind();
        let smallest = match kind {
            Kind::Half => 2f64.powi(-14),
            Kind::Double => f64::MIN_POSITIVE,
            _ => 2f64.powi(-126),
        };
        let elements = Vec::<f64>::try_from(tensor.to_kind(Kind::Double).contiguous().flatten(0, -1)).unwrap();
        let count = |is_it: &dyn Fn(f64) -> bool| elements.iter().filter(|&&v| is_it(v)).count() as f64;
        let largest = elements.iter().fold(0.0, |largest: f64, v| if v.abs() > largest { v.abs() } else { largest });
        let mut row = vec![
            elements.iter().map(|v| v * v).sum(),
            if elements.iter().any(|v| v.is_nan()) { f64::NAN } else { largest },
            elements.iter().sum(),
            count(&|v| v == 0.0),
            count(&|v| v != 0.0 && v.abs() < smallest),
            count(&|v| v.is_nan()),
            count(&|v| v == f64::INFINITY),
            count(&|v| v == f64::NEG_INFINITY),
        ];
        for sign in [-1.0, 1.0] {
            for exponent in -126..128 {
                let is_last = exponent == 127;
                let [low, high] = [exponent, exponent + 1].map(|exponent| 2f64.powi(exponent));
                let low = if exponent == -126 { 0.0 } else { low };
                let is_inside = |v: f64| low <= v && (v < high || is_last);
                row.push(count(&|v| v.is_finite() && v.abs() >= smallest && v * sign > 0.0 && is_inside(v.abs())));
            }
        }
        row
    }

    fn is_close(got: f64, want: f64, scale: f64) -> bool {
        got == want || (got.is_nan() && want.is_nan()) || (got - want).abs() <= 1e-12 * scale
    }

    /// Checks that counts and the largest value match the reference exactly, and sums up to the order of f64 addition.
    fn assert_equals_twin(table: &Tensor, tensors: &[Tensor]) {
        assert_eq!(table.size(), [tensors.len() as i64, column::COUNT as i64]);
        for (index, tensor) in tensors.iter().enumerate() {
            let row = Vec::<f64>::try_from(table.get(index as i64)).unwrap();
            let want = slow_row(tensor);
            let absolute = tensor.to_kind(Kind::Double).abs().sum(Kind::Double).double_value(&[]);
            for (column, (got, want)) in row.iter().zip(&want).enumerate() {
                let scale = match column {
                    column::SQUARES => *want,
                    column::SUM => absolute,
                    _ => 0.0,
                };
                assert!(is_close(*got, *want, scale), "column {column} of {tensor:?}: got {got}, want {want}");
            }
        }
    }

    fn check_both_ways(tensors: &[Tensor]) {
        assert_equals_twin(&tensor_table(tensors, Detail::Distribution).unwrap(), tensors);
        let singles: Vec<Tensor> =
            tensors.iter().filter(|t| t.kind() != Kind::Double).map(Tensor::shallow_clone).collect();
        if !singles.is_empty() {
            assert_equals_twin(&ffi::table(&singles, true, true).unwrap(), &singles);
        }
    }

    /// Zeros of both signs, denormals, infinities, NaN, and the ends of each dtype's range.
    const ODD: [f64; 18] = [
        0.0,
        -0.0,
        1e-45,
        -1e-40,
        f32::MIN_POSITIVE as f64,
        -(f32::MIN_POSITIVE as f64),
        6e-8,
        -6e-5,
        6.103_515_625e-5,
        1.0,
        -1.999_999,
        2.0,
        65504.0,
        f32::MAX as f64,
        f32::MIN as f64,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];
    const KINDS: [Kind; 4] = [Kind::Float, Kind::BFloat16, Kind::Half, Kind::Double];

    #[test]
    fn every_odd_value_of_every_dtype_is_counted_where_it_belongs() {
        for kind in KINDS {
            let all = Tensor::from_slice(&ODD).to_kind(kind);
            let each: Vec<Tensor> = ODD.iter().map(|&v| Tensor::from(v).to_kind(kind)).collect();
            check_both_ways(&[all]);
            check_both_ways(&each);
        }
    }

    #[test]
    fn empty_scalar_strided_and_channels_last_tensors_are_read_whole() {
        tch::manual_seed(3);
        let options = (Kind::Float, Device::Cpu);
        let maps = Tensor::randn([3, 5, 7, 2], options);
        let channels_last = maps.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
        assert!(!channels_last.is_contiguous());
        check_both_ways(&[
            Tensor::zeros([0], options),
            Tensor::zeros([3, 0, 2], options),
            Tensor::from(-2.5f32),
            maps.transpose(0, 3),
            maps.slice(1, 1, 5, 2),
            Tensor::from(3.0f32).expand([4, 5], false),
            channels_last,
            maps.narrow(0, 1, 2),
        ]);
    }

    #[test]
    fn tensors_of_many_pieces_and_of_uneven_length_are_read_whole() {
        tch::manual_seed(4);
        for kind in [Kind::Float, Kind::BFloat16, Kind::Half] {
            let large = (Tensor::randn([200_003], (Kind::Float, Device::Cpu)) * 1e-3).to_kind(kind);
            let small = (Tensor::randn([11], (Kind::Float, Device::Cpu)) * 1e3).to_kind(kind);
            check_both_ways(&[small, large]);
        }
    }

    #[test]
    fn a_tensor_of_2_to_the_26_elements_is_counted_to_the_last() {
        let huge = Tensor::ones([1 << 26], (Kind::Float, Device::Cpu));
        let _ = huge.get((1 << 26) - 1).fill_(f64::NEG_INFINITY);
        let _ = huge.get(12_345).fill_(-4.0);
        let row = Vec::<f64>::try_from(tensor_table(&[huge.shallow_clone()], Detail::Distribution).unwrap().get(0));
        let row = row.unwrap();
        assert_eq!(row[column::POSITIVE + 126], f64::from((1 << 26) - 2));
        assert_eq!((row[column::NEGATIVE_INFINITIES], row[column::NEGATIVE + 128]), (1.0, 1.0));
        let _ = huge.get((1 << 26) - 1).fill_(2.0);
        let row = Vec::<f64>::try_from(tensor_table(&[huge], Detail::Norms).unwrap().get(0)).unwrap();
        assert_eq!(row, [f64::from((1 << 26) - 2) + 16.0 + 4.0, 4.0]);
    }

    #[test]
    fn norms_are_bit_equal_with_and_without_the_distribution() {
        tch::manual_seed(5);
        let tensors: Vec<Tensor> =
            [1, 7, 70_000, 300_001].iter().map(|&n| Tensor::randn([n], (Kind::Float, Device::Cpu))).collect();
        let norms = |detail| tensor_table(&tensors, detail).unwrap().narrow(1, 0, 2);
        assert_eq!(norms(Detail::Distribution), norms(Detail::Norms));
    }

    #[test]
    fn activations_are_summed_as_a_plain_loop_sums_them() {
        tch::manual_seed(6);
        let inputs = Tensor::randn([3, 5, 101, 97], (Kind::Float, Device::Cpu)) * 2.0;
        let odd = Tensor::from_slice(&[-1.5f32, 1.5, 0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY]);
        let strided = inputs.transpose(0, 3);
        for inputs in [inputs, strided, odd, Tensor::from_slice::<f32>(&[])] {
            for kind in [Kind::Float, Kind::BFloat16, Kind::Double] {
                let inputs = inputs.to_kind(kind);
                let outputs = inputs.relu();
                let got = Vec::<f64>::try_from(activation_sums(&inputs, &outputs, [-1.5, 1.5]).unwrap()).unwrap();
                let values = |tensor: &Tensor| {
                    Vec::<f64>::try_from(tensor.to_kind(Kind::Double).contiguous().flatten(0, -1)).unwrap()
                };
                let (inputs, outputs) = (values(&inputs), values(&outputs));
                let count = |values: &[f64], is_it: &dyn Fn(f64) -> bool| values.iter().filter(|v| is_it(**v)).count();
                let squares: f64 = outputs.iter().map(|v| v * v).sum();
                assert!(is_close(got[0], squares, squares), "{kind:?}: {} {squares}", got[0]);
                let sum: f64 = outputs.iter().sum();
                assert!(is_close(got[1], sum, sum.abs()), "{kind:?}: {} {sum}", got[1]);
                assert_eq!(got[2] as usize, count(&outputs, &|v| v <= 0.0));
                assert_eq!(got[3] as usize, count(&inputs, &|v| v <= -1.5 || v >= 1.5));
            }
        }
        let single = Tensor::from(1.0f32);
        assert!(activation_sums(&single, &Tensor::from_slice(&[1.0f32]), [0.0, 1.0]).is_err());
    }

    #[test]
    fn what_has_no_table_is_refused_with_what_was_seen() {
        let integers = Tensor::from_slice(&[1i64]);
        let sparse = Tensor::eye(2, (Kind::Float, Device::Cpu)).to_sparse_sparse_dim(2);
        for (list, seen) in [
            (vec![], "an empty list"),
            (vec![Tensor::new()], "an undefined tensor at 0"),
            (vec![integers], "Int64 at 0"),
            (vec![Tensor::from(1.0f32), sparse], "a sparse tensor at 1"),
        ] {
            let error = tensor_table(&list, Detail::Norms).unwrap_err().to_string();
            assert!(error.contains(seen), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn any_bits_of_any_dtype_give_the_twins_table(
            bits in prop::collection::vec(any::<u32>(), 0..300), kind in prop::sample::select(&KINDS[..3]),
        ) {
            let values: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(bits)).collect();
            check_both_ways(&[Tensor::from_slice(&values).to_kind(kind)]);
        }
    }
}
