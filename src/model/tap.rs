//! Observes the activations of a model during a forward pass.

use tch::{TchError, Tensor};

use super::{ModelError, Pass, activate, parameter::Path};
use crate::config::{self, Activation};

/// One activation in one forward pass.
pub struct Tap<'a> {
    /// The convolution or linear layer before it, or the normalization if it combines several layers. `<layer>.weight`
    /// is a parameter.
    pub layer: &'a str,
    /// Input of the activation: the layer's output after its normalization and shortcut, if any. Its gradient is
    /// dLoss/dz. A hook on it does not keep its data alive.
    pub pre_activation: &'a Tensor,
    /// Output of the activation.
    pub output: &'a Tensor,
    /// Dimension of the layer's units: 1 behind a convolution, and the last one behind a linear layer.
    pub units: usize,
    /// The activation function.
    pub activation: Activation,
}

/// A callback for each activation of a pass, in forward order. An error ends the pass.
pub type TapFn<'a> = dyn Fn(&Tap<'_>) -> Result<(), TchError> + 'a;

/// The model's activation after a layer.
#[derive(Debug)]
pub(super) struct Activate {
    /// `None` if taps do not see this activation.
    layer: Option<String>,
    activation: Activation,
    /// Whether units are in the last dimension of feature maps too.
    has_units_last: bool,
}

impl Activate {
    /// Creates the activation after the convolution or linear layer at `path`.
    pub(super) fn behind(path: &Path<'_>) -> Result<Self, ModelError> {
        Self::with(path, path.config().activation)
    }

    /// Like [`behind`](Self::behind), with an activation other than the model's.
    pub(super) fn with(path: &Path<'_>, activation: Activation) -> Result<Self, ModelError> {
        Ok(Self { layer: Some(path.name()?.to_string()), activation, has_units_last: false })
    }

    /// Creates the activation after the normalization at `path` of several layers' outputs. Taps do not see it if the
    /// config has no normalization.
    pub(super) fn behind_normalization(path: &Path<'_>) -> Result<Self, ModelError> {
        let has_layer = path.config().normalization != config::Normalization::None;
        if has_layer { Self::behind(path) } else { Ok(Self::unseen(path)) }
    }

    /// Creates an activation that taps do not see, because its input already passed through other activations or does
    /// not come from a layer.
    pub(super) fn unseen(path: &Path<'_>) -> Self {
        Self { layer: None, activation: path.config().activation, has_units_last: false }
    }

    /// Like the activation itself, behind a linear layer for each position of feature maps.
    pub(super) fn of_positions(self) -> Self {
        Self { has_units_last: true, ..self }
    }

    /// Applies the activation and passes its input and output to the tap.
    pub(super) fn forward(&self, pre_activation: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let output = activate(self.activation, pre_activation)?;
        if let (Some(tap), Some(layer)) = (pass.tap, &self.layer) {
            let last = output.dim().saturating_sub(1);
            let units = if output.dim() == 4 && !self.has_units_last { 1 } else { last };
            tap(&Tap { layer, pre_activation, output: &output, units, activation: self.activation })?;
        }
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::RefCell,
        sync::{Arc, Mutex},
    };

    use tch::{Device, Kind};

    use super::*;
    use crate::{
        config::{Architecture, ModelConfig, Normalization},
        data::ImageShape,
        libtorch::Hook,
        model::{self, fixture},
    };

    /// Returns the layers that a tap sees in a pass through the model of `config`. Checks them against the model's
    /// parameters and a pass without a tap.
    fn layers_of(config: &ModelConfig) -> Vec<String> {
        let network = fixture::network(config);
        let images = fixture::images(2);
        let layers = RefCell::new(Vec::new());
        let tap = |tap: &Tap<'_>| {
            assert_eq!(*tap.output, activate(tap.activation, tap.pre_activation)?);
            layers.borrow_mut().push(tap.layer.to_owned());
            Ok(())
        };
        let logits = |pass: Pass<'_>| network.forward(&images, &pass).unwrap();
        assert_eq!(logits(Pass::training().with_tap(&tap)), logits(Pass::training()));
        let layers = layers.into_inner();
        let weights: Vec<&str> =
            network.parameters.trainable().filter_map(|param| param.name.as_str().strip_suffix(".weight")).collect();
        let positions: Vec<_> = layers.iter().map(|layer| weights.iter().position(|name| name == layer)).collect();
        assert!(positions.iter().all(Option::is_some) && positions.is_sorted(), "{layers:?}");
        assert!(positions.windows(2).all(|pair| pair[0] != pair[1]), "{layers:?}");
        layers
    }

    #[test]
    fn every_layer_of_every_architecture_is_shown_once_in_forward_order_and_the_logits_stay_bit_equal() {
        let is_stack = |name: &Architecture| {
            let stacks = ["mlp", "lenet", "cnn", "vgg", "resnet"];
            stacks.iter().any(|stack| name.name().starts_with(stack))
        };
        for name in fixture::drawn().filter(is_stack) {
            for residual in [false, true] {
                if residual && name == Architecture::Lenet5 {
                    continue;
                }
                let config = ModelConfig {
                    width: Some(4),
                    residual,
                    normalization: Normalization::Layer,
                    ..fixture::config(name)
                };
                let network = fixture::network(&config);
                let is_layer = |name: &str, dims| name.ends_with(".weight") && dims > 1 && !name.contains("downsample");
                let all = network.parameters.trainable().filter(|p| is_layer(p.name.as_str(), p.tensor.dim())).count();
                // All layers except the classifier.
                assert_eq!(layers_of(&config).len(), all - 1, "{name}");
            }
        }
    }

    #[test]
    fn layers_of_every_family_are_shown_in_forward_order_and_the_logits_stay_bit_equal() {
        for name in fixture::FAMILIES {
            // At least one layer per block.
            assert!(layers_of(&fixture::thin(name)).len() >= 12, "{name}");
        }
    }

    #[test]
    fn names_are_those_of_the_layers() {
        let layers = |name| layers_of(&ModelConfig { width: Some(4), ..fixture::config(name) });
        assert_eq!(layers(Architecture::Lenet5), ["conv1", "conv2", "fc1", "fc2"]);
        assert_eq!(layers(Architecture::Mlp), ["layers.0.linear", "layers.1.linear", "layers.2.linear"]);
        assert_eq!(layers(Architecture::Resnet8)[..3], ["conv1", "layer1.0.conv1", "layer1.0.conv2"]);
        assert_eq!(layers(Architecture::Vgg11)[7..], ["features.18", "classifier.0", "classifier.3"]);
    }

    #[test]
    fn a_hook_on_what_goes_in_sees_the_gradient_of_the_loss() {
        let config = ModelConfig { depth: Some(2), width: Some(3), ..fixture::config(Architecture::Mlp) };
        let input = ImageShape { channels: 1, height: 1, width: 2 };
        let network = model::build(&config, input, 2, Device::Cpu).unwrap();
        let grads = Arc::new(Mutex::new(Vec::new()));
        let hooks = RefCell::new(Vec::new());
        let tap = |tap: &Tap<'_>| {
            let seen = Arc::clone(&grads);
            let hook = Hook::before_accumulation(tap.pre_activation, move |grad| {
                seen.lock().unwrap().push(grad.copy());
                None
            });
            hooks.borrow_mut().push((hook.unwrap(), tap.pre_activation.detach()));
            Ok(())
        };
        let images = Tensor::randn([4, 1, 1, 2], (Kind::Float, Device::Cpu));
        network.forward(&images, &Pass::training().with_tap(&tap)).unwrap().sum(Kind::Float).backward();
        let weight = |name: &str| network.parameters.get(name).unwrap().tensor.detach();
        let relu_gradient = |z: &Tensor| z.gt(0.0).to_kind(Kind::Float);
        let (hooks, grads) = (hooks.into_inner(), grads.lock().unwrap());
        // The sum of the classifier's columns, zeroed where ReLU is flat, then passed back through the second layer's
        // weight.
        let last = weight("classifier.weight").sum_dim_intlist([0i64].as_slice(), true, Kind::Float);
        let last = last * relu_gradient(&hooks[1].1);
        let first = last.matmul(&weight("layers.1.linear.weight")) * relu_gradient(&hooks[0].1);
        assert_eq!(grads.len(), 2);
        assert!(grads[0].allclose(&last, 1e-6, 1e-7, false) && grads[1].allclose(&first, 1e-6, 1e-7, false));
    }

    #[test]
    fn an_error_of_the_tap_ends_the_pass() {
        let network = fixture::network(&fixture::config(Architecture::Lenet5));
        let refuse = |_: &Tap<'_>| Err(TchError::Torch("no more".into()));
        let error = network.forward(&fixture::images(1), &Pass::evaluation().with_tap(&refuse)).unwrap_err();
        assert!(error.to_string().contains("no more"));
    }
}
