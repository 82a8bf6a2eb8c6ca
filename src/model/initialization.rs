//! Initial values of weights and biases.
//!
//! Every draw comes from libtorch's default CPU generator, so `tch::manual_seed` makes a model's weights reproducible
//! and a run on another device starts from the same ones.

use tch::{Device, Kind, TchError, Tensor};

use crate::config::{Activation, Fan, Initialization, InitializationMethod as Method};

/// Where the initial values are drawn, whatever device they move to.
const DRAW: (Kind, Device) = (Kind::Float, Device::Cpu);

impl Initialization {
    /// The gain of a layer before `activation`; `None` stands for the classifier, whose output goes to the loss.
    ///
    /// A gain in the config holds for every layer. Without one it is the activation's, 1 for the classifier, and 1 for
    /// the lecun methods, which are defined by variance 1 / fan_in.
    pub fn gain_before(&self, activation: Option<Activation>) -> f64 {
        let fitting = match self.method {
            Method::LecunUniform | Method::LecunNormal => 1.0,
            _ => activation.map_or(1.0, Activation::gain),
        };
        self.gain.unwrap_or(fitting)
    }

    /// Draws the weight of a linear layer `[outputs, inputs]` or a convolution `[outputs, inputs, height, width]`.
    pub fn draw_weight(&self, shape: &[i64], gain: f64) -> Result<Tensor, TchError> {
        let fans = Fans::of(shape);
        let kaiming_std = match self.fan {
            Fan::FanIn => gain / fans.fan_in.sqrt(),
            Fan::FanOut => gain / fans.fan_out.sqrt(),
        };
        let xavier_std = gain * (2.0 / (fans.fan_in + fans.fan_out)).sqrt();
        let lecun_std = gain / fans.fan_in.sqrt();
        match self.method {
            // The gain of leaky_relu with slope sqrt(5), with which torch's layers call kaiming_uniform_.
            Method::Default => uniform(shape, (2.0_f64 / (1.0 + 5.0)).sqrt() / fans.fan_in.sqrt()),
            Method::XavierUniform => uniform(shape, xavier_std),
            Method::XavierNormal => normal(shape, 0.0, xavier_std),
            Method::KaimingUniform => uniform(shape, kaiming_std),
            Method::KaimingNormal => normal(shape, 0.0, kaiming_std),
            Method::LecunUniform => uniform(shape, lecun_std),
            Method::LecunNormal => normal(shape, 0.0, lecun_std),
            Method::Orthogonal => orthogonal(shape, gain),
            Method::Normal => normal(shape, self.mean, self.std),
            // One number, of which the parameter makes as many as it needs.
            Method::Constant => Tensor::f_full([1], self.value, DRAW)?.f_expand(shape, false),
        }
    }

    /// Draws the bias of the layer whose weight has shape `weight_shape`: zero, except under `default`.
    pub fn draw_bias(&self, weight_shape: &[i64]) -> Result<Tensor, TchError> {
        let outputs = weight_shape.first().copied().unwrap_or(0);
        let mut bias = Tensor::f_zeros([outputs], DRAW)?;
        if self.method == Method::Default {
            let bound = Fans::of(weight_shape).fan_in.sqrt().recip();
            return bias.f_uniform_(-bound, bound);
        }
        Ok(bias)
    }
}

/// How many inputs a unit has, and how many units an input reaches.
struct Fans {
    fan_in: f64,
    fan_out: f64,
}

impl Fans {
    fn of(shape: &[i64]) -> Self {
        let size = |dim: usize| shape.get(dim).copied().unwrap_or(1) as f64;
        let kernel: f64 = shape.iter().skip(2).map(|&side| side as f64).product();
        Self { fan_in: size(1) * kernel, fan_out: size(0) * kernel }
    }
}

fn uniform(shape: &[i64], std: f64) -> Result<Tensor, TchError> {
    let bound = 3.0_f64.sqrt() * std;
    Tensor::f_empty(shape, DRAW)?.f_uniform_(-bound, bound)
}

fn normal(shape: &[i64], mean: f64, std: f64) -> Result<Tensor, TchError> {
    Tensor::f_empty(shape, DRAW)?.f_normal_(mean, std)
}

/// Saxe et al. 2014 as `torch.nn.init.orthogonal_` draws it: rows are outputs, columns all the rest; the smaller side
/// is orthogonal. The signs of R's diagonal make Q uniform over the orthogonal matrices (Mezzadri 2007).
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

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: [i64; 4] = [256, 128, 3, 3];
    const FAN_IN: f64 = 128.0 * 9.0;
    const FAN_OUT: f64 = 256.0 * 9.0;

    fn initialization(method: Method, fan: Fan) -> Initialization {
        Initialization { method, gain: None, fan, mean: 0.25, std: 0.5, value: -0.75 }
    }

    /// Mean, variance and largest magnitude in float64.
    fn moments(tensor: &Tensor) -> (f64, f64, f64) {
        let values = tensor.to_kind(Kind::Double);
        let mean = values.mean(Kind::Double).double_value(&[]);
        (mean, values.var(true).double_value(&[]), values.abs().max().double_value(&[]))
    }

    /// Five standard errors: the mean's is sigma / sqrt(n); the variance's is sigma^2 sqrt((kurtosis - 1) / n), with
    /// kurtosis 3 for a normal and 9/5 for a uniform. A right sampler fails one check in two million.
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
        ];
        for (method, fan, variance, is_uniform) in cases {
            let weight = initialization(method, fan).draw_weight(&SHAPE, gain).unwrap();
            assert_distributed(&weight, 0.0, variance, if is_uniform { 9.0 / 5.0 } else { 3.0 });
            if is_uniform {
                let (bound, (_, _, largest)) = ((3.0 * variance).sqrt(), moments(&weight));
                // 1e-7: the bound rounded to float32. 295k draws leave the outer 0.1 % empty with probability e^-295.
                assert!(largest <= bound * (1.0 + 1e-7) && largest > 0.999 * bound, "{method}: {largest} of {bound}");
            }
        }
        let normal = initialization(Method::Normal, Fan::FanIn).draw_weight(&SHAPE, gain).unwrap();
        assert_distributed(&normal, 0.25, 0.25, 3.0);
        let constant = initialization(Method::Constant, Fan::FanIn).draw_weight(&[3, 2], gain).unwrap();
        assert_eq!(Vec::<f32>::try_from(constant.flatten(0, -1)).unwrap(), [-0.75; 6]);
    }

    #[test]
    fn the_smaller_side_of_an_orthogonal_weight_is_orthogonal_with_norm_gain() {
        let initialization = initialization(Method::Orthogonal, Fan::FanIn);
        for shape in [vec![48, 16, 3, 3], vec![20, 300], vec![300, 20], vec![64, 64], vec![32, 1, 5, 5]] {
            let weight = initialization.draw_weight(&shape, 1.7).unwrap();
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
    fn biases_are_zero_except_under_default() {
        for &method in Method::ALL {
            let bias = initialization(method, Fan::FanIn).draw_bias(&[4096, 100]).unwrap();
            let (_, _, largest) = moments(&bias);
            if method == Method::Default {
                assert_distributed(&bias, 0.0, 0.1 * 0.1 / 3.0, 9.0 / 5.0);
                assert!(largest <= 0.1 * (1.0 + 1e-7));
            } else {
                assert_eq!(largest, 0.0, "{method}");
            }
        }
    }

    #[test]
    fn a_given_gain_holds_for_every_layer_and_a_fitting_one_for_those_before_an_activation() {
        let mut kaiming = initialization(Method::KaimingNormal, Fan::FanIn);
        assert_eq!(kaiming.gain_before(Some(Activation::Tanh)), 5.0 / 3.0);
        assert_eq!(kaiming.gain_before(None), 1.0);
        kaiming.gain = Some(0.1);
        assert_eq!(kaiming.gain_before(Some(Activation::Tanh)), 0.1);
        assert_eq!(kaiming.gain_before(None), 0.1);
        assert_eq!(initialization(Method::LecunNormal, Fan::FanIn).gain_before(Some(Activation::Relu)), 1.0);
    }
}
