//! Assigns tensors of a file to parameters of a model, before any of them is copied.

use std::collections::{HashMap, HashSet};

use tch::{Kind, TchError, Tensor};

use super::{refusal::shown, report::HeadLeft, source::Source, state_dict::Unread};
use crate::{
    disk::TensorFileError,
    model::{Network, Parameter},
};

/// Number of image channels that most weights are for.
const RGB: i64 = 3;
/// Torch before 0.4.1 did not save this counter. Only a momentum of None needs it.
const COUNTER: &str = ".num_batches_tracked";

/// A copy of one tensor.
pub(super) struct Copy<'f> {
    /// Source in the file.
    pub from: &'f Source<'f>,
    /// Parameter of the model.
    pub into: &'f Parameter,
    /// Whether to sum the filter over its channels first.
    pub is_summed: bool,
}

/// The assigned tensors, and the ones without a counterpart.
#[derive(Default)]
pub(super) struct Fit<'f> {
    pub copies: Vec<Copy<'f>>,
    pub head: Option<HeadLeft>,
    /// Number of batch counters that are missing in the file.
    pub uncounted: usize,
    pub missing: Vec<String>,
    pub unexpected: Vec<String>,
    /// Whether an unexpected tensor belongs to a layer of the model, so that the file's model is a different one.
    is_larger: bool,
    pub different: Vec<String>,
}

impl<'f> Fit<'f> {
    /// Assigns all tensors of the file, after translation to gradwatch's names.
    pub(super) fn new(network: &'f Network, tensors: &'f [(String, Source<'f>)], unread: &[Unread]) -> Self {
        let mut fit = Self::default();
        let mut named: HashMap<&str, &Source<'_>> =
            tensors.iter().map(|(name, source)| (name.as_str(), source)).collect();
        let mut others: HashMap<&str, &Unread> = unread.iter().map(|unread| (unread.name.as_str(), unread)).collect();
        let mut filters = network.parameters.trainable().filter(|parameter| parameter.tensor.dim() == 4);
        let first_filter = filters.next().map(|parameter| &parameter.name);
        for into in &network.parameters {
            let name = into.name.as_str();
            match (named.remove(name), others.remove(name)) {
                (Some(from), _) => fit.place(network.model.head(), from, into, Some(&into.name) == first_filter),
                (None, Some(Unread { what, .. })) => {
                    fit.different.push(format!("{name} (got {what}, want {})", kind_of(into)))
                }
                (None, None) if name.ends_with(COUNTER) => fit.uncounted += 1,
                (None, None) => fit.missing.push(name.to_owned()),
            }
        }
        let left = tensors.iter().map(|(name, _)| name.as_str()).filter(|name| named.contains_key(name));
        let unread = unread.iter().filter(|unread| unread.is_tensor).map(|unread| unread.name.as_str());
        let left: Vec<&str> = left.chain(unread.filter(|name| others.contains_key(name))).collect();
        let layers: HashSet<_> = network.parameters.iter().map(|own| outermost(own.name.as_str())).collect();
        fit.is_larger = left.iter().any(|name| layers.contains(outermost(name)));
        fit.unexpected = left.into_iter().map(shown).collect();
        fit
    }

    fn place(&mut self, head: &str, from: &'f Source<'f>, into: &'f Parameter, is_first_filter: bool) {
        let (got, want) = (&from.size[..], &into.tensor.size()[..]);
        let is_of_head = into.name.layer() == head;
        let is_convertible = is_convertible(from.kind, into.tensor.kind());
        match (got, want) {
            _ if is_convertible && got == want => self.copies.push(Copy { from, into, is_summed: false }),
            ([outputs, RGB, sides @ ..], [own_outputs, 1, own_sides @ ..])
                if is_convertible && is_first_filter && outputs == own_outputs && sides == own_sides =>
            {
                self.copies.push(Copy { from, into, is_summed: true });
            }
            ([classes, inputs @ ..], [own_classes, own_inputs @ ..])
                if is_convertible && is_of_head && inputs == own_inputs =>
            {
                self.head = Some(HeadLeft { name: head.to_owned(), got: *classes, want: *own_classes });
            }
            _ => {
                self.different.push(format!("{} (got {:?} {got:?}, want {})", into.name, from.kind, kind_of(into)));
            }
        }
    }

    /// Returns the differences from the model; `None` if everything except the head fits. Tensors outside of the
    /// model's layers, such as those of a loss, are no difference.
    pub(super) fn mismatch(&self) -> Option<TensorFileError> {
        let Self { missing, unexpected, different, is_larger, .. } = self;
        let is_whole = missing.is_empty() && different.is_empty() && !is_larger;
        let (missing, unexpected, different) = (missing.clone(), unexpected.clone(), different.clone());
        (!is_whole).then_some(TensorFileError::Mismatch { missing, unexpected, different })
    }
}

/// Returns the first segment of a name.
fn outermost(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// Type and shape of a parameter.
fn kind_of(parameter: &Parameter) -> String {
    format!("{:?} {:?}", parameter.tensor.kind(), parameter.tensor.size())
}

/// Whether values can be converted between the types: floats to floats, and integers to integers.
fn is_convertible(from: Kind, into: Kind) -> bool {
    let is_float = |kind| matches!(kind, Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16);
    let is_count = |kind| matches!(kind, Kind::Int64 | Kind::Int | Kind::Int16 | Kind::Int8 | Kind::Uint8);
    (is_float(from) && is_float(into)) || (is_count(from) && into == Kind::Int64) || from == into
}

impl Copy<'_> {
    /// Copies the tensor, on the model's device and in its type. Device sync here. Returns whether all copied values
    /// are finite.
    pub(super) fn make(&self) -> Result<bool, TchError> {
        let _no_grad = tch::no_grad_guard();
        let into: &Tensor = &self.into.tensor;
        let mut from = self.from.read()?;
        if self.is_summed {
            // In float32 or higher precision: a sum of half-precision values would lose digits.
            let kind = if from.kind() == Kind::Double { Kind::Double } else { Kind::Float };
            from = from.f_sum_dim_intlist([1i64].as_slice(), true, kind)?;
        }
        into.shallow_clone().f_copy_(&from)?;
        Ok(into.f_isfinite()?.f_all()?.f_int64_value(&[])? != 0)
    }
}
