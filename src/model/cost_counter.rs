//! Counts the cost of the layers while a forward pass runs. Counting is a thread-local mode, like libtorch's `no_grad`,
//! so the layers of an architecture need not pass it on.

use std::cell::RefCell;

use serde::Serialize;
use tch::{Device, Kind, TchError, Tensor};

use super::parameter::ParameterName;

/// Cost of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerCost {
    /// Name of the layer's module in torch.
    pub name: String,
    /// Shape of its output for one image; empty if unknown.
    pub output: Vec<i64>,
    /// Number of its trainable parameters.
    pub parameters: usize,
    /// Number of its multiply-accumulate operations for one image.
    pub macs: u64,
}

thread_local! {
    /// The layers of the pass that is being counted on this thread.
    static SEEN: RefCell<Option<Vec<LayerCost>>> = const { RefCell::new(None) };
}

/// While a pass is counted, returns zeros of this shape as a placeholder for the layer's output. `None` if the output
/// must be computed.
///
/// Each output element is a sum over an entire filter.
pub(super) fn look_at(
    layer: &ParameterName,
    weight: &Tensor,
    shape: impl FnOnce() -> Vec<i64>,
) -> Option<Result<Tensor, TchError>> {
    if SEEN.with_borrow(Option::is_none) {
        return None;
    }
    let shape = shape();
    let filter: i64 = weight.size().iter().skip(1).product();
    note(layer, &shape, filter * shape.iter().skip(1).product::<i64>());
    Some(Tensor::f_zeros(&*shape, (Kind::Float, Device::Cpu)))
}

/// Records the cost of a layer for a batch of one, if the pass is being counted.
pub(super) fn note(layer: &ParameterName, shape: &[i64], macs: i64) {
    SEEN.with_borrow_mut(|seen| {
        if let Some(seen) = seen {
            let (name, output) = (layer.to_string(), shape.iter().skip(1).copied().collect());
            seen.push(LayerCost { name, output, parameters: 0, macs: macs.unsigned_abs() });
        }
    });
}

/// Runs `pass` and returns its result and the cost of its layers.
pub(super) fn count<T>(pass: impl FnOnce() -> T) -> (T, Vec<LayerCost>) {
    SEEN.replace(Some(Vec::new()));
    let passed = pass();
    (passed, SEEN.take().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_stood_in_for_while_somebody_looks_and_not_after() {
        let name = ParameterName::new("fc").unwrap();
        let weight = Tensor::zeros([3, 4], (Kind::Float, Device::Cpu));
        let look = || look_at(&name, &weight, || vec![1, 5, 3]);
        assert!(look().is_none());
        let (output, seen) = count(|| look().unwrap().unwrap());
        assert_eq!(output.size(), [1, 5, 3]);
        // Five positions with three outputs each, each a sum of four products.
        assert_eq!(seen, [LayerCost { name: "fc".into(), output: vec![5, 3], parameters: 0, macs: 60 }]);
        assert!(look().is_none());
    }
}
