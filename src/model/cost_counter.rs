//! What the layers of a pass cost, counted while it runs. That a pass counts is a mode of its thread, as libtorch's `no_grad` is: the
//! layers of an architecture need not hand it on.

use std::cell::RefCell;

use serde::Serialize;
use tch::{Device, Kind, TchError, Tensor};

use super::parameter::ParameterName;

/// What a layer costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerCost {
    /// Its name, as of a module in torch.
    pub name: String,
    /// The shape of its output for one image; empty where it is not known.
    pub output: Vec<i64>,
    /// Numbers of its own that the optimizer trains.
    pub parameters: usize,
    /// Its multiply-accumulate operations for one image.
    pub macs: u64,
}

thread_local! {
    /// The layers of the pass that is being looked at on this thread.
    static SEEN: RefCell<Option<Vec<LayerCost>>> = const { RefCell::new(None) };
}

/// What stands in for the output of a layer, zeros of this shape, if somebody looks; `None` where it is to be computed.
///
/// Each number of an output is a sum over all of a filter.
pub fn look_at(
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

/// Notes what a layer costs for a batch of one, if somebody looks.
pub fn note(layer: &ParameterName, shape: &[i64], macs: i64) {
    SEEN.with_borrow_mut(|seen| {
        if let Some(seen) = seen {
            let (name, output) = (layer.to_string(), shape.iter().skip(1).copied().collect());
            seen.push(LayerCost { name, output, parameters: 0, macs: macs.unsigned_abs() });
        }
    });
}

/// What `pass` gives, and what its layers cost.
pub fn count<T>(pass: impl FnOnce() -> T) -> (T, Vec<LayerCost>) {
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
        // Five positions of three outputs, each a sum of four.
        assert_eq!(seen, [LayerCost { name: "fc".into(), output: vec![5, 3], parameters: 0, macs: 60 }]);
        assert!(look().is_none());
    }
}
