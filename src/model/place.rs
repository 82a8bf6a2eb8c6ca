//! Adapts an initialization to a layer's position in the model: first, last, or in a residual branch.

use tch::{Kind, TchError, Tensor};

use super::{
    ModelError,
    initialization::{DRAW, Fans, draw_bias, draw_weight, normal},
    parameter::Path,
};
use crate::config::{Activation, Initialization, InitializationMethod as Method};

/// Output of a sigmoid for an input of 0.
const CENTER: f64 = 0.5;

impl Path<'_> {
    /// Draws and registers the weight and, if `has_bias`, the bias of the layer at this path. `activation` follows the
    /// layer, if any. The channels form `groups` separate groups.
    pub fn draw_layer(
        &self,
        shape: &[i64],
        groups: i64,
        activation: Option<Activation>,
        has_bias: bool,
    ) -> Result<(Tensor, Option<Tensor>), ModelError> {
        let initialization = &self.config().initialization;
        // The inputs of the first layer are not activations.
        let is_first = !self.has_weights();
        let weight = self.draw_weight(shape, groups, activation, is_first)?;
        let bias = match initialization.method {
            _ if !has_bias => None,
            Method::CenteredLogistic if !is_first => Some(self.centered_bias(&weight)?),
            _ => Some(draw_bias(initialization, shape)?),
        };
        let weight = self.parameter("weight", &weight)?;
        Ok((weight, bias.map(|bias| self.parameter("bias", &bias)).transpose()?))
    }

    fn draw_weight(
        &self,
        shape: &[i64],
        groups: i64,
        activation: Option<Activation>,
        is_first: bool,
    ) -> Result<Tensor, TchError> {
        let initialization = &self.config().initialization;
        let gain = initialization.gain_before(activation);
        match (initialization.method, activation, self.branch()) {
            // In models with such branches, only the classifier is not followed by an activation.
            (Method::Fixup, None, _) => Tensor::f_zeros(shape, DRAW),
            (Method::Fixup, _, Some(branch)) if branch.is_last => Tensor::f_zeros(shape, DRAW),
            (Method::Fixup, _, Some(branch)) => draw_weight(initialization, shape, gain * branch.fixup_factor()),
            (Method::YilmazPoli, None, _) => normal(shape, 0.0, Fans::of(shape).fan_in.sqrt().recip()),
            (Method::CenteredLogistic, ..) if is_first => {
                draw_weight(initialization, shape, Initialization::CENTERED_ENDS)
            }
            // Each group is a convolution of its own, as in torch's dirac_.
            (Method::DeltaOrthogonal | Method::Identity, ..) if groups > 1 => {
                let mut of_one = shape.to_vec();
                of_one[0] /= groups;
                let drawn = (0..groups).map(|_| draw_weight(initialization, &of_one, gain));
                Tensor::f_cat(&drawn.collect::<Result<Vec<_>, _>>()?, 0)
            }
            _ => draw_weight(initialization, shape, gain),
        }
    }

    /// Compensates for inputs with a mean of 1/2, and for identity shortcuts that add the same mean.
    fn centered_bias(&self, weight: &Tensor) -> Result<Tensor, TchError> {
        let has_shortcut = self.branch().is_some_and(|branch| branch.is_last && branch.is_around_identity);
        let skips = if has_shortcut { 1.0 + f64::from(u8::from(self.config().multi_skip)) } else { 0.0 };
        let sums = weight.f_flatten(1, -1)?.f_sum_dim_intlist([1_i64].as_slice(), false, Kind::Float)?;
        sums.f_mul_scalar(-CENTER)?.f_sub_scalar(skips * CENTER)
    }
}
