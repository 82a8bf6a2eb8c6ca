//! Collects the outputs of activations and the gradients that flow back into them.

use std::{
    cell::RefCell,
    sync::{Arc, Mutex, PoisonError},
};

use tch::{Kind, TchError, Tensor};

use super::{GradientError, LayerStatistics};
use crate::{
    libtorch::{Detail, Hook, HostBlock, HostValues, LibtorchError, Part, activation_sums, tensor_table},
    model::Tap,
};

/// Sums of one layer over the micro-batches of a step, on the device.
struct Layer {
    name: Arc<str>,
    elements: u64,
    /// `[5]`, f64: sum of squares of the outputs, sum of the outputs, number of nonpositive outputs, number of
    /// saturated inputs, sum of squares of dLoss/dz.
    sums: Tensor,
    /// `[units]`, f64: sum of the absolute outputs of each unit.
    units: Tensor,
    has_gradient: bool,
}

const SUMS: i64 = 5;
/// Figures of a layer in a [`HostBlock`]: its sums, and the fraction of dormant units.
const FIGURES: i64 = SUMS + 1;

/// Measures every layer in the passes it is attached to; see [`Pass::with_tap`](crate::model::Pass::with_tap).
#[derive(Default)]
pub struct LayerTaps {
    seen: Arc<Mutex<Seen>>,
    hooks: RefCell<Vec<Hook>>,
}

#[derive(Default)]
struct Seen {
    layers: Vec<Layer>,
    failure: Option<LibtorchError>,
}

/// Position of a step's layers in a [`HostBlock`].
pub struct LayerParts {
    layers: Vec<(Arc<str>, u64, bool)>,
    sums: Option<Part>,
}

impl LayerTaps {
    /// Measures one layer and attaches a hook for its gradient. No sync.
    ///
    /// # Errors
    /// If libtorch reports an error.
    pub fn see(&self, tap: &Tap<'_>) -> Result<(), TchError> {
        let (sums, units) = (forward_sums(tap)?, unit_sums(tap)?);
        let index = self.lock().add(tap.layer, tap.output.numel() as u64, &sums, &units)?;
        if tap.pre_activation.requires_grad() {
            let seen = Arc::clone(&self.seen);
            let hook = Hook::before_accumulation(tap.pre_activation, move |grad| {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.add_gradient(index, grad);
                None
            });
            self.hooks.borrow_mut().push(hook?);
        }
        Ok(())
    }

    /// Adds the sums to `block` and resets them. `loss_scale` (`[]`) is the loss scale to divide out of the gradients,
    /// if one was used. No sync.
    ///
    /// # Errors
    /// If libtorch reports an error, or reported one during backward.
    pub fn add_to(&self, block: &mut HostBlock, loss_scale: Option<&Tensor>) -> Result<LayerParts, GradientError> {
        self.hooks.borrow_mut().clear();
        let Seen { layers, failure } = std::mem::take(&mut *self.lock());
        if let Some(failure) = failure {
            return Err(failure.into());
        }
        let rows = layers.iter().map(Layer::figures).collect::<Result<Vec<_>, _>>()?;
        let sums = if rows.is_empty() {
            None
        } else {
            let sums = Tensor::f_stack(&rows, 0)?;
            if let Some(scale) = loss_scale {
                let _ = sums.f_narrow(1, SUMS - 1, 1)?.f_div_(&scale.f_to_kind(Kind::Double)?.f_square()?)?;
            }
            Some(block.add(&sums)?)
        };
        let layers = layers.into_iter().map(|layer| (layer.name, layer.elements, layer.has_gradient));
        Ok(LayerParts { layers: layers.collect(), sums })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        // Ignores poisoning: the state is only appended to, so it stays valid.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Adds a micro-batch's sums. Returns the index of the layer.
    fn add(&mut self, name: &str, elements: u64, sums: &Tensor, units: &Tensor) -> Result<usize, TchError> {
        if let Some(index) = self.layers.iter().position(|layer| &*layer.name == name) {
            let layer = &mut self.layers[index];
            layer.elements += elements;
            layer.sums = layer.sums.f_add(sums)?;
            layer.units = layer.units.f_add(units)?;
            return Ok(index);
        }
        let (sums, units) = (sums.shallow_clone(), units.shallow_clone());
        self.layers.push(Layer { name: name.into(), elements, sums, units, has_gradient: false });
        Ok(self.layers.len() - 1)
    }

    /// Runs inside backward, so it stores an error for later.
    fn add_gradient(&mut self, index: usize, grad: &Tensor) {
        let Some(layer) = self.layers.get_mut(index) else { return };
        let added = squares(grad).and_then(|squares| Ok(layer.sums.f_narrow(0, SUMS - 1, 1)?.f_add_(&squares)?));
        match added {
            Ok(_) => layer.has_gradient = true,
            Err(error) => self.failure = Some(error),
        }
    }
}

impl Layer {
    /// The sums and the fraction of dormant units: `[6]`, f64. If all outputs are 0, so is the threshold, and all units are
    /// dormant. If one is not finite, the fraction is NaN.
    fn figures(&self) -> Result<Tensor, TchError> {
        let threshold = self.units.f_mean(None)?.f_mul_scalar(LayerStatistics::DORMANT)?;
        let dormant = self.units.f_le_tensor(&threshold)?.f_mean_dim([0i64].as_slice(), true, Kind::Double)?;
        Tensor::f_cat(&[&self.sums, &dormant.f_add(&threshold.f_mul_scalar(0.0)?)?], 0)
    }
}

/// Sum of squares: `[1]`, f64.
fn squares(tensor: &Tensor) -> Result<Tensor, LibtorchError> {
    let table = tensor_table(std::slice::from_ref(tensor), Detail::Norms)?;
    Ok(table.f_select(0, 0)?.f_narrow(0, 0, 1)?)
}

fn forward_sums(tap: &Tap<'_>) -> Result<Tensor, LibtorchError> {
    let _no_grad = tch::no_grad_guard();
    let sums = activation_sums(tap.pre_activation, tap.output, tap.activation.saturation())?;
    let gradient = sums.f_narrow(0, 0, 1)?.f_zeros_like()?;
    Ok(Tensor::f_cat(&[&sums, &gradient], 0)?)
}

/// Sum of the absolute outputs of each unit: `[units]`, f64.
fn unit_sums(tap: &Tap<'_>) -> Result<Tensor, TchError> {
    let _no_grad = tch::no_grad_guard();
    let others: Vec<i64> = (0..tap.output.dim() as i64).filter(|&dim| dim != tap.units as i64).collect();
    // Without dimensions, the norm would be over all of them.
    if others.is_empty() {
        return tap.output.f_abs()?.f_to_kind(Kind::Double);
    }
    tap.output.f_norm_scalaropt_dim_dtype(1.0, others.as_slice(), false, Kind::Double)
}

impl LayerParts {
    /// Reads the layers from the host block, in the order of the forward pass.
    pub fn take(self, values: &HostValues) -> Vec<LayerStatistics> {
        let sums = self.sums.as_ref().map(|part| &values[part]).unwrap_or_default();
        let rows = self.layers.into_iter().zip(sums.chunks_exact(FIGURES as usize));
        rows.map(|((layer, elements, has_gradient), row)| {
            let mean = |sum: f64| sum / elements as f64;
            LayerStatistics {
                layer,
                mean: mean(row[1]),
                rms: mean(row[0]).sqrt(),
                nonpositive_fraction: mean(row[2]),
                saturated_fraction: mean(row[3]),
                dormant_fraction: Some(row[5]),
                gradient_rms: has_gradient.then(|| mean(row[4]).sqrt()),
            }
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Activation, gradient::DepthProfile};

    fn read(taps: &LayerTaps) -> Vec<LayerStatistics> {
        let mut block = HostBlock::default();
        let parts = taps.add_to(&mut block, None).unwrap();
        parts.take(&block.read().unwrap())
    }

    /// One layer relu(z), with a loss that weights each output.
    fn pass(taps: &LayerTaps, z: &[f32], weights: &[f32]) {
        let z = Tensor::from_slice(z).set_requires_grad(true) * 1.0;
        let output = z.relu();
        let tap = Tap { layer: "fc1", pre_activation: &z, output: &output, units: 0, activation: Activation::Relu };
        taps.see(&tap).unwrap();
        (output * Tensor::from_slice(weights)).sum(Kind::Float).backward();
    }

    #[test]
    fn a_layer_comes_out_as_derived_by_hand() {
        let taps = LayerTaps::default();
        // Outputs 0, 0, 3, 1 and gradients 0, 0, 4, 3.
        pass(&taps, &[-2.0, 0.0, 3.0, 1.0], &[9.0, 9.0, 4.0, 3.0]);
        let want = LayerStatistics {
            layer: "fc1".into(),
            mean: 1.0,
            rms: 2.5f64.sqrt(),
            nonpositive_fraction: 0.5,
            saturated_fraction: 0.5,
            dormant_fraction: Some(0.5),
            gradient_rms: Some(2.5),
        };
        assert_eq!(read(&taps), [want]);
        assert!(read(&taps).is_empty());
    }

    #[test]
    fn micro_batches_count_as_one_batch() {
        let taps = LayerTaps::default();
        pass(&taps, &[-2.0, 0.0], &[9.0, 9.0]);
        pass(&taps, &[3.0, 1.0], &[4.0, 3.0]);
        let layers = read(&taps);
        assert_eq!((layers.len(), layers[0].rms, layers[0].gradient_rms), (1, 2.5f64.sqrt(), Some(2.5)));
        assert_eq!(DepthProfile::of_layers(&layers).layers, [("fc1".into(), 2.5)]);
    }

    #[test]
    fn a_pass_without_backward_has_no_gradient() {
        let taps = LayerTaps::default();
        let z = Tensor::from_slice(&[7.0f32, -7.0]);
        let output = z.sigmoid();
        let tap = Tap { layer: "fc1", pre_activation: &z, output: &output, units: 0, activation: Activation::Sigmoid };
        taps.see(&tap).unwrap();
        let layer = &read(&taps)[0];
        assert_eq!((layer.saturated_fraction, layer.nonpositive_fraction, layer.gradient_rms), (1.0, 0.0, None));
    }

    /// Dormant fraction of a layer with these outputs in each micro-batch.
    fn dormant(outputs: &[&Tensor], units: usize) -> f64 {
        let taps = LayerTaps::default();
        for output in outputs {
            let tap = Tap { layer: "a", pre_activation: output, output, units, activation: Activation::Tanh };
            taps.see(&tap).unwrap();
        }
        read(&taps)[0].dormant_fraction.unwrap()
    }

    #[test]
    fn a_unit_is_dormant_at_a_tenth_of_the_mean_over_its_layer() {
        // Two images of four units, whose mean absolute outputs are 0, 0.25, 2, and 7.75, with mean 2.5.
        let output = Tensor::from_slice(&[0.0f32, 0.25, -4.0, 7.5, 0.0, -0.25, 0.0, 8.0]).reshape([2, 4]);
        assert_eq!(dormant(&[&output], 1), 0.5);
        let above = Tensor::from_slice(&[0.0f32, 0.251, -4.0, 7.5, 0.0, -0.251, 0.0, 8.0]).reshape([2, 4]);
        assert_eq!(dormant(&[&above], 1), 0.25);
        // Channels of feature maps [1, 4, 2, 1], and the last dimension of [1, 2, 1, 4].
        assert_eq!(dormant(&[&output.transpose(0, 1).reshape([1, 4, 2, 1])], 1), 0.5);
        assert_eq!(dormant(&[&output.reshape([1, 2, 1, 4])], 3), 0.5);
        let [first, second] = [0, 1].map(|image| output.narrow(0, image, 1));
        assert_eq!(dormant(&[&first, &second], 1), 0.5);
    }

    #[test]
    fn all_units_of_a_silent_layer_are_dormant_and_those_of_one_that_diverged_are_unknown() {
        let output = Tensor::zeros([3, 4], (Kind::Float, tch::Device::Cpu));
        assert_eq!(dormant(&[&output], 1), 1.0);
        for value in [f64::NAN, f64::INFINITY] {
            let _ = output.get(1).fill_(value);
            assert!(dormant(&[&output], 1).is_nan());
        }
    }
}
