//! Initial values of weights and biases.
//!
//! All values come from libtorch's default CPU generator. So `tch::manual_seed` makes a model's weights reproducible,
//! and a run on another device starts from the same weights. [`fit_to_data`](super::fit_to_data) completes
//! data-dependent methods.

use tch::{Device, Kind, TchError, Tensor};

use super::ModelError;
use crate::config::{Activation, Fan, Initialization, InitializationMethod as Method, ModelConfig, Normalization};

/// Type and device for drawing initial values, regardless of the target device.
pub(super) const DRAW: (Kind, Device) = (Kind::Float, Device::Cpu);
/// Draws the weight of a linear layer `[outputs, inputs]` or a convolution `[outputs, inputs, height, width]`,
/// independent of its position in the model.
pub fn draw_weight(initialization: &Initialization, shape: &[i64], gain: f64) -> Result<Tensor, TchError> {
    let fans = Fans::of(shape);
    let kaiming_std = match initialization.fan {
        Fan::FanIn => gain / fans.fan_in.sqrt(),
        Fan::FanOut => gain / fans.fan_out.sqrt(),
    };
    let xavier_std = gain * (2.0 / (fans.fan_in + fans.fan_out)).sqrt();
    let lecun_std = gain / fans.fan_in.sqrt();
    match initialization.method {
        // The gain of leaky_relu with slope sqrt(5), which torch's layers pass to kaiming_uniform_.
        Method::Default => uniform(shape, (2.0_f64 / (1.0 + 5.0)).sqrt() / fans.fan_in.sqrt()),
        Method::XavierUniform => uniform(shape, xavier_std),
        Method::XavierNormal => normal(shape, 0.0, xavier_std),
        Method::KaimingUniform => uniform(shape, kaiming_std),
        Method::KaimingNormal | Method::Fixup => normal(shape, 0.0, kaiming_std),
        Method::LecunUniform => uniform(shape, lecun_std),
        Method::LecunNormal | Method::CenteredLogistic => normal(shape, 0.0, lecun_std),
        Method::Orthogonal | Method::Lsuv => orthogonal(shape, gain),
        Method::DeltaOrthogonal => delta_orthogonal(shape, gain),
        Method::Identity => identity(shape),
        Method::YilmazPoli => {
            normal(shape, Initialization::yilmaz_poli_mean(fans.fan_in), Initialization::YILMAZ_POLI_STD)
        }
        Method::Normal => normal(shape, initialization.mean, initialization.std),
        // A single element; the parameter expands it as needed.
        Method::Constant => Tensor::f_full([1], initialization.value, DRAW)?.f_expand(shape, false),
    }
}

/// Draws the bias of a layer with a weight of shape `weight_shape`: zero, except under `default`.
pub fn draw_bias(initialization: &Initialization, weight_shape: &[i64]) -> Result<Tensor, TchError> {
    let outputs = weight_shape.first().copied().unwrap_or(0);
    let mut bias = Tensor::f_zeros([outputs], DRAW)?;
    if initialization.method == Method::Default {
        let bound = Fans::of(weight_shape).fan_in.sqrt().recip();
        return bias.f_uniform_(-bound, bound);
    }
    Ok(bias)
}

/// Rejects settings that the model of `config` does not support, or that would prevent learning.
pub(super) fn check(initialization: &Initialization, config: &ModelConfig) -> Result<(), ModelError> {
    let ModelConfig { residual, normalization, activation, .. } = config;
    let Initialization { method, zero_residual, skip_init, .. } = initialization;
    let (is_fixup, is_centered) = (*method == Method::Fixup, *method == Method::CenteredLogistic);
    let is_normalized = *normalization != Normalization::None;
    let without_shortcuts = || "model.residual = false".to_owned();
    let around = "set model.residual = true";
    let (key, got, beside, want, remedy) = match () {
        () if is_fixup && !residual => ("method", method.to_string(), without_shortcuts(), "shortcuts", around),
        () if (is_fixup || is_centered) && is_normalized => {
            let beside = format!("model.normalization = \"{normalization}\"");
            ("method", method.to_string(), beside, "none", "set model.normalization = \"none\"")
        }
        () if is_centered && *activation != Activation::Sigmoid => {
            let beside = format!("model.activation = \"{activation}\"");
            ("method", method.to_string(), beside, "sigmoid", "set model.activation = \"sigmoid\"")
        }
        () if *zero_residual && !residual => ("zero_residual", "true".into(), without_shortcuts(), "shortcuts", around),
        () if *skip_init && !residual => ("skip_init", "true".into(), without_shortcuts(), "shortcuts", around),
        () if *zero_residual && !is_normalized => {
            let beside = "model.normalization = \"none\"".into();
            (
                "zero_residual",
                "true".into(),
                beside,
                "a normalization",
                "set model.normalization, or use skip_init instead",
            )
        }
        // The gradient of each zero would be its product with the other zero.
        () if *skip_init && (*zero_residual || is_fixup) => {
            let beside = if is_fixup { "method = \"fixup\"" } else { "zero_residual = true" };
            (
                "skip_init",
                "true".into(),
                beside.into(),
                "only one of them",
                "two zeros in a row never learn: remove one",
            )
        }
        () => return Ok(()),
    };
    Err(ModelError::Initialization { key, got, beside, want, remedy })
}

/// Number of inputs per unit, and number of units that each input reaches.
pub(super) struct Fans {
    pub(super) fan_in: f64,
    fan_out: f64,
}

impl Fans {
    pub(super) fn of(shape: &[i64]) -> Self {
        let size = |dim: usize| shape.get(dim).copied().unwrap_or(1) as f64;
        let kernel: f64 = shape.iter().skip(2).map(|&side| side as f64).product();
        Self { fan_in: size(1) * kernel, fan_out: size(0) * kernel }
    }
}

fn uniform(shape: &[i64], std: f64) -> Result<Tensor, TchError> {
    let bound = 3.0_f64.sqrt() * std;
    Tensor::f_empty(shape, DRAW)?.f_uniform_(-bound, bound)
}

pub(super) fn normal(shape: &[i64], mean: f64, std: f64) -> Result<Tensor, TchError> {
    Tensor::f_empty(shape, DRAW)?.f_normal_(mean, std)
}

/// Orthogonal weights (Saxe et al. 2014), as drawn by `torch.nn.init.orthogonal_`: rows are outputs, columns are all
/// other dimensions, and the smaller side is orthogonal. Multiplying by the signs of R's diagonal makes Q uniform over
/// the orthogonal matrices (Mezzadri 2007).
fn orthogonal(shape: &[i64], gain: f64) -> Result<Tensor, TchError> {
    let rows = shape.first().copied().unwrap_or(1);
    let columns = shape.iter().skip(1).product::<i64>();
    let gaussian = normal(&[rows, columns], 0.0, 1.0)?;
    let is_wide = rows < columns;
    let tall = if is_wide { gaussian.f_transpose(0, 1)? } else { gaussian };
    let (q, r) = Tensor::f_linalg_qr(&tall, "reduced")?;
    let signed = q.f_mul(&r.f_diagonal(0, 0, 1)?.f_sign()?)?;
    let fitting = if is_wide { signed.f_transpose(0, 1)? } else { signed };
    fitting.f_contiguous()?.f_view(shape)?.f_mul_scalar(gain)
}

/// Xiao et al. 2018, algorithm 1, with the kernel's center as the only nonzero tap. It preserves norms if there are at
/// least as many outputs as inputs. With fewer outputs, the rows are orthogonal instead.
fn delta_orthogonal(shape: &[i64], gain: f64) -> Result<Tensor, TchError> {
    let &[outputs, inputs, height, width] = shape else { return orthogonal(shape, gain) };
    let kernel = Tensor::f_zeros(shape, DRAW)?;
    let middle = kernel.f_select(3, (width - 1) / 2)?.f_select(2, (height - 1) / 2)?;
    middle.shallow_clone().f_copy_(&orthogonal(&[outputs, inputs], gain)?)?;
    Ok(kernel)
}

/// `torch.nn.init.eye_`, or `dirac_` for a convolution, with the tap at half the side length.
fn identity(shape: &[i64]) -> Result<Tensor, TchError> {
    let size = |dim: usize| shape.get(dim).copied().unwrap_or(1);
    let eye = Tensor::f_eye_m(size(0), size(1), DRAW)?;
    let &[_, _, height, width] = shape else { return Ok(eye) };
    let kernel = Tensor::f_zeros(shape, DRAW)?;
    kernel.f_select(3, width / 2)?.f_select(2, height / 2)?.f_copy_(&eye)?;
    Ok(kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: [i64; 4] = [256, 128, 3, 3];
    const FAN_IN: f64 = 128.0 * 9.0;
    const FAN_OUT: f64 = 256.0 * 9.0;

    fn initialization(method: Method, fan: Fan) -> Initialization {
        Initialization {
            method,
            gain: None,
            fan,
            mean: 0.25,
            std: 0.5,
            value: -0.75,
            zero_residual: false,
            skip_init: false,
        }
    }

    /// Mean, variance, and largest magnitude in float64.
    fn moments(tensor: &Tensor) -> (f64, f64, f64) {
        let values = tensor.to_kind(Kind::Double);
        let mean = values.mean(Kind::Double).double_value(&[]);
        (mean, values.var(true).double_value(&[]), values.abs().max().double_value(&[]))
    }

    /// Allows five standard errors: sigma / sqrt(n) for the mean, and sigma^2 sqrt((kurtosis - 1) / n) for the
    /// variance, with kurtosis 3 for a normal and 9/5 for a uniform distribution. A correct sampler fails one check in
    /// two million.
    fn assert_distributed(tensor: &Tensor, mean: f64, variance: f64, kurtosis: f64) {
        let n = tensor.numel() as f64;
        let (got_mean, got_variance, _) = moments(tensor);
        assert!((got_mean - mean).abs() < 5.0 * (variance / n).sqrt(), "mean: got {got_mean}, want {mean}");
        let tolerance = 5.0 * variance * ((kurtosis - 1.0) / n).sqrt();
        assert!((got_variance - variance).abs() < tolerance, "variance: got {got_variance}, want {variance}");
    }

    #[test]
    fn every_method_has_the_mean_and_variance_of_its_formula() {
        let gain = 1.3;
        let xavier = gain * gain * 2.0 / (FAN_IN + FAN_OUT);
        let cases = [
            (Method::Default, Fan::FanIn, 1.0 / (3.0 * FAN_IN), true),
            (Method::XavierUniform, Fan::FanIn, xavier, true),
            (Method::XavierNormal, Fan::FanIn, xavier, false),
            (Method::KaimingUniform, Fan::FanIn, gain * gain / FAN_IN, true),
            (Method::KaimingUniform, Fan::FanOut, gain * gain / FAN_OUT, true),
            (Method::KaimingNormal, Fan::FanIn, gain * gain / FAN_IN, false),
            (Method::KaimingNormal, Fan::FanOut, gain * gain / FAN_OUT, false),
            (Method::LecunUniform, Fan::FanOut, gain * gain / FAN_IN, true),
            (Method::LecunNormal, Fan::FanOut, gain * gain / FAN_IN, false),
            (Method::CenteredLogistic, Fan::FanOut, gain * gain / FAN_IN, false),
            (Method::Fixup, Fan::FanOut, gain * gain / FAN_OUT, false),
        ];
        for (method, fan, variance, is_uniform) in cases {
            let weight = draw_weight(&initialization(method, fan), &SHAPE, gain).unwrap();
            assert_distributed(&weight, 0.0, variance, if is_uniform { 9.0 / 5.0 } else { 3.0 });
            if is_uniform {
                let (bound, (_, _, largest)) = ((3.0 * variance).sqrt(), moments(&weight));
                // 1e-7: the bound rounded to float32. The probability that none of 295k draws is in the outer 0.1 % is
                // e^-295.
                assert!(largest <= bound * (1.0 + 1e-7) && largest > 0.999 * bound, "{method}: {largest} of {bound}");
            }
        }
        let normal = draw_weight(&initialization(Method::Normal, Fan::FanIn), &SHAPE, gain).unwrap();
        assert_distributed(&normal, 0.25, 0.25, 3.0);
        let negative = draw_weight(&initialization(Method::YilmazPoli, Fan::FanIn), &SHAPE, gain).unwrap();
        assert_distributed(&negative, -8.0 / FAN_IN, 0.01, 3.0);
        let few = draw_weight(&initialization(Method::YilmazPoli, Fan::FanIn), &[1000, 4], gain).unwrap();
        assert_distributed(&few, -1.0, 0.01, 3.0);
        let constant = draw_weight(&initialization(Method::Constant, Fan::FanIn), &[3, 2], gain).unwrap();
        assert_eq!(Vec::<f32>::try_from(constant.flatten(0, -1)).unwrap(), [-0.75; 6]);
    }

    #[test]
    fn the_smaller_side_of_an_orthogonal_weight_is_orthogonal_with_norm_gain() {
        let initialization = initialization(Method::Orthogonal, Fan::FanIn);
        for shape in [vec![48, 16, 3, 3], vec![20, 300], vec![300, 20], vec![64, 64], vec![32, 1, 5, 5]] {
            let weight = draw_weight(&initialization, &shape, 1.7).unwrap();
            assert_eq!(weight.size(), shape);
            let matrix = weight.reshape([shape[0], -1]).to_kind(Kind::Double);
            let is_wide = shape[0] < matrix.size()[1];
            let gram = if is_wide { matrix.matmul(&matrix.tr()) } else { matrix.tr().matmul(&matrix) };
            let want = Tensor::eye(gram.size()[0], (Kind::Double, Device::Cpu)) * (1.7 * 1.7);
            let error = (gram - want).abs().max().double_value(&[]);
            assert!(error < 1e-5, "{shape:?}: off by {error}");
        }
    }

    #[test]
    fn the_middle_of_a_delta_orthogonal_kernel_keeps_norms_and_with_few_outputs_its_rows_are_orthogonal() {
        let initialization = initialization(Method::DeltaOrthogonal, Fan::FanIn);
        for shape in [[48, 16, 3, 3], [16, 48, 5, 5], [16, 16, 7, 3], [8, 8, 2, 2]] {
            let kernel = draw_weight(&initialization, &shape, 1.7).unwrap().to_kind(Kind::Double);
            let middle = kernel.select(3, (shape[3] - 1) / 2).select(2, (shape[2] - 1) / 2);
            let weights = |tensor: &Tensor| tensor.ne(0.0).sum(Kind::Int64).int64_value(&[]);
            assert_eq!((weights(&kernel), weights(&middle)), (shape[0] * shape[1], shape[0] * shape[1]));
            let images = Tensor::randn([2, shape[1], 9, 9], (Kind::Double, Device::Cpu));
            let maps = images.conv2d::<Tensor>(&kernel, None, [1, 1], [shape[2] / 2, shape[3] / 2], [1, 1], 1);
            let maps = maps.narrow(2, (shape[2] + 1) % 2, 9).narrow(3, (shape[3] + 1) % 2, 9);
            let gain = (maps.square().sum(Kind::Double) / images.square().sum(Kind::Double)).sqrt().double_value(&[]);
            if shape[0] >= shape[1] {
                assert!((gain - 1.7).abs() < 1e-5, "{shape:?}: {gain}");
            } else {
                let gram = middle.matmul(&middle.tr()) / (1.7 * 1.7);
                let error = (gram - Tensor::eye(shape[0], (Kind::Double, Device::Cpu))).abs().max();
                assert!(error.double_value(&[]) < 1e-5, "{shape:?}");
            }
        }
        let linear = draw_weight(&initialization, &[20, 20], 1.0).unwrap();
        assert!((linear.square().sum(Kind::Double).double_value(&[]) - 20.0).abs() < 1e-4);
    }

    #[test]
    fn biases_are_zero_except_under_default() {
        for &method in Method::ALL {
            let bias = draw_bias(&initialization(method, Fan::FanIn), &[4096, 100]).unwrap();
            let (_, _, largest) = moments(&bias);
            if method == Method::Default {
                assert_distributed(&bias, 0.0, 0.1 * 0.1 / 3.0, 9.0 / 5.0);
                assert!(largest <= 0.1 * (1.0 + 1e-7));
            } else {
                assert_eq!(largest, 0.0, "{method}");
            }
        }
    }
}
