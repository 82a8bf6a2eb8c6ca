//! Named tensors of a model, in the order of torch's `state_dict`.
//!
//! tch's `VarStore` keeps its variables in a hash map and renames duplicates. Here, the order is that of registration,
//! and a duplicate is an error.

use std::{borrow::Borrow, cell::RefCell, collections::HashMap, fmt, ops::Div};

use tch::{Device, Tensor};

use super::{ModelError, residual::Branch};
use crate::config::ModelConfig;

/// A name in torch's `state_dict`, such as `layer1.0.conv1.weight`: non-empty segments separated by dots.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParameterName(String);

impl ParameterName {
    /// Validates a name: its segments must consist of letters, digits, and `_`.
    pub fn new(name: impl Into<String>) -> Result<Self, ModelError> {
        let name = name.into();
        let is_word = |segment: &str| {
            !segment.is_empty() && segment.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
        };
        if name.split('.').all(is_word) { Ok(Self(name)) } else { Err(ModelError::Name { got: name }) }
    }

    /// Returns the layer that the parameter belongs to: the name without its last segment.
    pub fn layer(&self) -> &str {
        self.0.rsplit_once('.').map_or(&self.0, |(layer, _)| layer)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ParameterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Borrow<str> for ParameterName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A tensor of a model's state.
#[derive(Debug)]
pub struct Parameter {
    /// Name in the `state_dict`.
    pub name: ParameterName,
    /// The tensor, shared with its layer: writing to it in place changes the model.
    pub tensor: Tensor,
    /// Whether backward computes its gradient. Buffers, such as running statistics, are not trainable.
    pub is_trainable: bool,
}

/// All tensors of a model's state, in the order of torch's `state_dict`.
#[derive(Debug, Default)]
pub struct Parameters {
    all: Vec<Parameter>,
    /// Index of each name.
    places: HashMap<String, usize>,
}

impl Parameters {
    /// All parameters and buffers.
    pub fn iter(&self) -> std::slice::Iter<'_, Parameter> {
        self.all.iter()
    }

    /// The trainable parameters: torch's `named_parameters`.
    pub fn trainable(&self) -> impl Iterator<Item = &Parameter> {
        self.iter().filter(|parameter| parameter.is_trainable)
    }

    /// State that is saved but not trained: torch's `named_buffers`.
    pub fn buffers(&self) -> impl Iterator<Item = &Parameter> {
        self.iter().filter(|parameter| !parameter.is_trainable)
    }

    /// Names of the layers with running statistics of batch normalization.
    pub fn batch_norms(&self) -> impl Iterator<Item = &str> {
        self.buffers().filter_map(|buffer| buffer.name.as_str().strip_suffix(".running_mean"))
    }

    /// Returns the parameter or buffer with this name.
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.all.get(*self.places.get(name)?)
    }

    /// Appends a tensor, which must have a new name.
    pub fn push(&mut self, parameter: Parameter) -> Result<(), ModelError> {
        if self.get(parameter.name.as_str()).is_some() {
            return Err(ModelError::DuplicateName { name: parameter.name });
        }
        self.places.insert(parameter.name.as_str().to_owned(), self.all.len());
        self.all.push(parameter);
        Ok(())
    }

    /// Number of parameters and buffers.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are no parameters and no buffers.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Number of trainable elements.
    pub fn trainable_count(&self) -> usize {
        self.trainable().map(|parameter| parameter.tensor.numel()).sum()
    }
}

impl<'a> IntoIterator for &'a Parameters {
    type Item = &'a Parameter;
    type IntoIter = std::slice::Iter<'a, Parameter>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Collects the parameters of a model while its layers are created.
#[derive(Debug)]
pub(super) struct Builder<'a> {
    config: &'a ModelConfig,
    device: Device,
    has_values: bool,
    parameters: RefCell<Parameters>,
}

impl<'a> Builder<'a> {
    /// Creates an empty builder. Layers take their options from `config`.
    pub(super) fn new(config: &'a ModelConfig, device: Device) -> Self {
        Self { config, device, has_values: true, parameters: RefCell::default() }
    }

    /// Like [`new`](Self::new), for shapes only: constant values take no memory, and tensors do not require gradients.
    pub(super) fn of_shapes(config: &'a ModelConfig) -> Self {
        Self { has_values: false, ..Self::new(config, Device::Cpu) }
    }

    /// Path of the model itself; `root / "layer1" / 0` is the path of a layer.
    pub(super) fn root(&self) -> Path<'_> {
        Path { builder: self, prefix: String::new(), branch: None }
    }

    /// Returns the registered tensors.
    pub(super) fn finish(self) -> Parameters {
        self.parameters.into_inner()
    }
}

/// Position of a layer in the model: the first segments of its parameters' names.
#[derive(Debug, Clone)]
pub struct Path<'a> {
    builder: &'a Builder<'a>,
    prefix: String,
    branch: Option<Branch>,
}

impl<'a> Path<'a> {
    /// Options of the model.
    pub fn config(&self) -> &'a ModelConfig {
        self.builder.config
    }

    /// Device of the model's tensors.
    pub fn device(&self) -> Device {
        self.builder.device
    }

    /// Returns the path for a layer of a residual branch; `None` for a layer outside of all branches.
    pub fn in_branch(self, branch: Option<Branch>) -> Self {
        Self { branch, ..self }
    }

    /// The layer's position in a residual branch.
    pub fn branch(&self) -> Option<Branch> {
        self.branch
    }

    /// Whether any layer has registered its weight yet.
    pub fn has_weights(&self) -> bool {
        self.builder.parameters.borrow().trainable().any(|parameter| parameter.tensor.dim() > 1)
    }

    /// The path as a parameter name.
    pub fn name(&self) -> Result<ParameterName, ModelError> {
        ParameterName::new(&*self.prefix)
    }

    /// Registers a trainable tensor with these initial values. Returns the leaf tensor on the model's device.
    pub fn parameter(&self, name: &str, values: &Tensor) -> Result<Tensor, ModelError> {
        self.register(name, values, true)
    }

    /// Registers a tensor that is saved but not trained.
    pub fn buffer(&self, name: &str, values: &Tensor) -> Result<Tensor, ModelError> {
        self.register(name, values, false)
    }

    fn register(&self, name: &str, values: &Tensor, is_trainable: bool) -> Result<Tensor, ModelError> {
        let tensor = values.f_to_device(self.builder.device)?;
        // Initial values can be a single element expanded to the shape.
        let tensor = if self.builder.has_values { tensor.f_contiguous()? } else { tensor };
        let tensor = tensor.f_set_requires_grad(is_trainable && self.builder.has_values)?;
        let shared = tensor.shallow_clone();
        self.adopt(name, tensor, is_trainable)?;
        Ok(shared)
    }

    /// Registers an existing tensor of a layer, as it is.
    pub fn adopt(&self, name: &str, tensor: Tensor, is_trainable: bool) -> Result<(), ModelError> {
        let name = ParameterName::new((self / name).prefix)?;
        self.builder.parameters.borrow_mut().push(Parameter { name, tensor, is_trainable })
    }
}

impl<'a, S: fmt::Display> Div<S> for &Path<'a> {
    type Output = Path<'a>;

    fn div(self, segment: S) -> Path<'a> {
        let separator = if self.prefix.is_empty() { "" } else { "." };
        Path { prefix: format!("{}{separator}{segment}", self.prefix), ..self.clone() }
    }
}

impl<'a, S: fmt::Display> Div<S> for Path<'a> {
    type Output = Path<'a>;

    fn div(self, segment: S) -> Path<'a> {
        &self / segment
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::{config::Architecture, model::fixture};

    fn zeros() -> Tensor {
        Tensor::zeros([2], (Kind::Float, Device::Cpu))
    }

    #[test]
    fn names_join_with_dots_in_the_order_of_registration() {
        let config = fixture::config(Architecture::Mlp);
        let builder = Builder::new(&config, Device::Cpu);
        let block = builder.root() / "layer1" / 0;
        let _ = (&block / "conv1").parameter("weight", &zeros()).unwrap();
        let _ = (&block / "bn1").buffer("running_mean", &zeros()).unwrap();
        let _ = builder.root().parameter("bias", &zeros()).unwrap();
        let parameters = builder.finish();
        let names: Vec<_> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        assert_eq!(names, ["layer1.0.conv1.weight", "layer1.0.bn1.running_mean", "bias"]);
        assert_eq!(parameters.trainable().count(), 2);
        assert_eq!(parameters.buffers().count(), 1);
        assert_eq!(parameters.trainable_count(), 4);
        assert!(parameters.trainable().all(|parameter| parameter.tensor.requires_grad()));
        assert!(parameters.buffers().all(|parameter| !parameter.tensor.requires_grad()));
    }

    #[test]
    fn a_duplicate_name_is_an_error() {
        let config = fixture::config(Architecture::Mlp);
        let builder = Builder::new(&config, Device::Cpu);
        let _ = builder.root().parameter("weight", &zeros()).unwrap();
        let error = builder.root().buffer("weight", &zeros()).unwrap_err();
        assert!(matches!(error, ModelError::DuplicateName { name } if name.as_str() == "weight"));
    }

    #[test]
    fn a_name_has_no_empty_segment_and_no_foreign_letter() {
        for name in ["", ".", "a.", ".a", "a..b", "a b", "a/b"] {
            assert!(ParameterName::new(name).is_err(), "{name:?}");
        }
        assert_eq!(ParameterName::new("layer1.0.conv1.weight").unwrap().as_str(), "layer1.0.conv1.weight");
    }

    #[test]
    fn a_layer_sees_what_is_written_into_the_list() {
        let config = fixture::config(Architecture::Mlp);
        let builder = Builder::new(&config, Device::Cpu);
        let held = builder.root().parameter("weight", &zeros()).unwrap();
        let parameters = builder.finish();
        let _ = tch::no_grad(|| parameters.get("weight").unwrap().tensor.shallow_clone().fill_(3.0));
        assert_eq!(held.double_value(&[1]), 3.0);
    }
}
