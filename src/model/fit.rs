//! Data-dependent initialization: `lsuv` sets the variance of each layer's output, and `centered_logistic` centers each
//! layer's input.
//!
//! A layer is fitted when the forward pass reaches it, so that its inputs come from fitted layers. Fitting is a
//! thread-local mode, like libtorch's `no_grad`, so the layers of an architecture need not pass it on.

use std::cell::Cell;

use tch::{Kind, TchError, Tensor};

use super::{ModelError, Network, Pass};
use crate::{
    config::InitializationMethod,
    libtorch::{generator_state, set_generator_state},
};

/// Mishkin and Matas 2016, algorithm 1: maximum deviation of a variance from 1, and maximum number of rescalings per
/// layer.
const TOLERANCE: f64 = 0.1;
const MOST_ROUNDS: usize = 10;

/// Effect of a pass on the layers that it reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Forward,
    /// Sets the bias that centers the sums of the next layer only.
    CentreNext,
    /// Scales the weights so that each layer's output has variance 1.
    UnitVariance,
}

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Forward) };
}

/// Passes on this thread fit layers until this is dropped.
struct Fitting;

impl Fitting {
    fn begin(mode: Mode) -> Self {
        MODE.set(mode);
        Self
    }
}

impl Drop for Fitting {
    fn drop(&mut self) {
        MODE.set(Mode::Forward);
    }
}

/// Completes a data-dependent initialization (`lsuv` or `centered_logistic`). Under any other method, the weights stay
/// unchanged bit for bit.
///
/// `images` `[batch, channels, height, width]` must be on the network's device and normalized as in training; use the
/// first training batches, for example. They pass through the network once, in training mode. Afterwards, the random
/// generator and the running statistics are restored.
///
/// ```
/// use gradwatch::{
///     config::Config,
///     data::ImageShape,
///     model::{self, Pass, Tap},
/// };
/// use tch::{Device, Kind, Tensor};
///
/// let toml = "[run]\nmax_epochs = 1\n[data]\nsource = \"synthetic\"\n\
///             [model]\nname = \"mlp\"\ndepth = 20\ninitialization = \"lsuv\"";
/// let config = Config::parse(toml, "demo.toml")?;
/// let network = model::build(&config.model, ImageShape { channels: 1, height: 28, width: 28 }, 10, Device::Cpu)?;
/// let images = Tensor::f_randn([64, 1, 28, 28], (Kind::Float, Device::Cpu))?;
/// model::fit_to_data(&network, &images)?;
///
/// let see = |tap: &Tap<'_>| {
///     let variance = tap.pre_activation.f_var(false)?.double_value(&[]);
///     assert!((variance - 1.0).abs() < 0.1);
///     Ok(())
/// };
/// network.forward(&images, &Pass::evaluation().with_tap(&see))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As for [`Model::forward`](super::Model::forward).
pub fn fit_to_data(network: &Network, images: &Tensor) -> Result<(), ModelError> {
    let mode = match network.method {
        InitializationMethod::Lsuv => Mode::UnitVariance,
        InitializationMethod::CenteredLogistic => Mode::CentreNext,
        _ => return Ok(()),
    };
    let _no_grad = tch::no_grad_guard();
    let buffers = network.parameters.buffers().map(|buffer| &buffer.tensor);
    let before: Vec<(&Tensor, Tensor)> =
        buffers.map(|live| Ok((live, live.f_detach_copy()?))).collect::<Result<_, TchError>>()?;
    let random = generator_state(images.device())?;
    let outcome = {
        let _fitting = Fitting::begin(mode);
        network.forward(images, &Pass::training())
    };
    set_generator_state(images.device(), &random)?;
    for (live, before) in before {
        live.shallow_clone().f_copy_(&before)?;
    }
    Ok(outcome.map(drop)?)
}

/// Applies the mode to a layer that the pass reaches. `forward` computes the layer's output for `inputs`.
pub(super) fn meet(
    weight: &Tensor,
    bias: Option<&Tensor>,
    inputs: &Tensor,
    forward: &dyn Fn() -> Result<Tensor, TchError>,
) -> Result<(), TchError> {
    match MODE.get() {
        Mode::Forward => Ok(()),
        Mode::CentreNext => {
            MODE.set(Mode::Forward);
            bias.map_or(Ok(()), |bias| center(weight, bias, inputs))
        }
        Mode::UnitVariance => scale(weight, forward),
    }
}

/// Sets b = -W mean(x), with the mean of each input over the images and, for a convolution, over the pixels.
fn center(weight: &Tensor, bias: &Tensor, inputs: &Tensor) -> Result<(), TchError> {
    let channel = if weight.dim() > 2 { 1 } else { inputs.dim() - 1 };
    let dims: Vec<i64> = (0..inputs.dim()).filter(|dim| *dim != channel).map(|dim| dim as i64).collect();
    let mean = inputs.f_mean_dim(dims.as_slice(), false, Kind::Float)?;
    let [outputs, inputs] = [0, 1].map(|dim| weight.size()[dim]);
    let kernel_sums =
        weight.f_reshape([outputs, inputs, -1])?.f_sum_dim_intlist([2_i64].as_slice(), false, Kind::Float)?;
    bias.shallow_clone().f_copy_(&kernel_sums.f_mv(&mean)?.f_neg()?)
}

/// Divides W by sqrt(Var(output)), with the variance over images, units, and pixels. A constant or non-finite output is
/// not rescaled.
fn scale(weight: &Tensor, forward: &dyn Fn() -> Result<Tensor, TchError>) -> Result<(), TchError> {
    for _ in 0..MOST_ROUNDS {
        // Device sync here, once per round.
        let variance = forward()?.f_var(false)?.f_double_value(&[])?;
        if !variance.is_finite() || variance <= 0.0 || (variance - 1.0).abs() < TOLERANCE {
            break;
        }
        let _ = weight.shallow_clone().f_div_scalar_(variance.sqrt())?;
    }
    Ok(())
}
