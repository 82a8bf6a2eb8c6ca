//! The variables of a tch store by name, in an order that means something.

use tch::{Tensor, nn::VarStore};

/// The trainable variables of a store with their names, in the order in which they were made: that of the forward pass, where
/// layers are made in it. [`VarStore::variables`] has them in no order, and depth profiles go by it.
///
/// ```
/// use gradwatch::gradient::{GradientMonitor, named_variables};
/// use tch::{Device, nn};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// for layer in ["first", "second", "third"] {
///     nn::linear(vs.root() / layer, 4, 4, nn::LinearConfig { bias: false, ..Default::default() });
/// }
/// let names: Vec<String> = named_variables(&vs).into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["first.weight", "second.weight", "third.weight"]);
/// let monitor = GradientMonitor::attach(named_variables(&vs))?;
/// # Ok::<(), gradwatch::gradient::GradientError>(())
/// ```
pub fn named_variables(vs: &VarStore) -> Vec<(String, Tensor)> {
    let names: Vec<(String, Tensor)> = vs.variables().into_iter().collect();
    // A store has handles of the same tensors under names and in order.
    let name_of = |param: &Tensor| names.iter().find(|(_, named)| is_same(named, param)).map(|(name, _)| name.clone());
    let in_order = vs.trainable_variables().into_iter();
    in_order.filter_map(|param| Some((name_of(&param)?, param))).collect()
}

fn is_same(one: &Tensor, other: &Tensor) -> bool {
    one.data_ptr() == other.data_ptr() && one.size() == other.size()
}
