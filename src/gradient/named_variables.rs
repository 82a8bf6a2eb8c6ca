//! The variables of a tch store with their names, in the order of creation.

use tch::{Tensor, nn::VarStore};

/// Returns the trainable variables of a store with their names, in the order of creation. If the code creates layers in
/// forward order, this is the order of the forward pass, which depth profiles need. [`VarStore::variables`] returns
/// them in no particular order.
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
    // A store keeps handles of the same tensors by name and, separately, in order.
    let name_of = |param: &Tensor| names.iter().find(|(_, named)| is_same(named, param)).map(|(name, _)| name.clone());
    let in_order = vs.trainable_variables().into_iter();
    in_order.filter_map(|param| Some((name_of(&param)?, param))).collect()
}

fn is_same(one: &Tensor, other: &Tensor) -> bool {
    one.data_ptr() == other.data_ptr() && one.size() == other.size()
}
