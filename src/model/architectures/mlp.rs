//! A multilayer perceptron with hidden layers of equal width on the flattened image.

use tch::{TchError, Tensor};

use crate::model::{
    Model, ModelError, Pass,
    blocks::SkipGain,
    layer::{Dropout, Linear},
    normalization::Normalization,
    parameter::Path,
    residual::{Branch, Carried, Shortcut},
    tap::Activate,
};

/// Number of units per hidden layer, unless the config sets it.
pub(super) const DEFAULT_WIDTH: i64 = 256;
/// Number of hidden layers, unless the config sets it.
pub(super) const DEFAULT_DEPTH: usize = 3;

/// `layers.i.linear`, `layers.i.norm`, activation, and dropout for each hidden layer, then `classifier`.
///
/// With `residual`, a shortcut goes around each pair of hidden layers of equal shape, and around a remaining single
/// one. With `multi_skip`, each also adds the input of the first: the output of the first hidden layer, or the image if
/// that layer keeps its shape.
#[derive(Debug)]
pub(super) struct Mlp {
    layers: Vec<Layer>,
    classifier: Linear,
    dropout: Dropout,
    is_multi_skip: bool,
}

#[derive(Debug)]
struct Layer {
    linear: Linear,
    norm: Normalization,
    skip_gain: SkipGain,
    shortcut: Shortcut,
    activate: Activate,
}

impl Mlp {
    /// Creates a network with hidden layers of `width` units between `inputs` numbers and the classes.
    pub(super) fn new(
        root: &Path<'_>,
        inputs: i64,
        width: i64,
        depth: usize,
        classes: i64,
    ) -> Result<Self, ModelError> {
        let config = root.config();
        let inputs_of = |layer| if layer == 0 { inputs } else { width };
        let keeps_shape: Vec<_> = (0..depth).map(|layer| config.residual && inputs_of(layer) == width).collect();
        let shortcuts = Shortcut::place(&keeps_shape);
        let layer = |(index, (&shortcut, branch)): (usize, (&Shortcut, Option<Branch>))| {
            let path = (root / "layers" / index).in_branch(branch);
            let linear = Linear::hidden(&(&path / "linear"), inputs_of(index), width)?;
            let norm = Normalization::of_vectors(&(&path / "norm"), width)?;
            let activate = Activate::behind(&(&path / "linear"))?;
            Ok(Layer { linear, norm, skip_gain: SkipGain::new(&path)?, shortcut, activate })
        };
        Ok(Self {
            layers: shortcuts
                .iter()
                .zip(Branch::places(&shortcuts))
                .enumerate()
                .map(layer)
                .collect::<Result<_, ModelError>>()?,
            classifier: Linear::classifier(&(root / "classifier"), inputs_of(depth), classes)?,
            dropout: Dropout::new(root),
            is_multi_skip: config.multi_skip,
        })
    }
}

impl Model for Mlp {
    fn head(&self) -> &str {
        "classifier"
    }

    fn has_feature_maps(&self) -> bool {
        false
    }

    fn forward(&self, images: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        let mut hidden = images.f_flatten(1, -1)?;
        let mut carried = Carried::new(self.is_multi_skip);
        for Layer { linear, norm, skip_gain, shortcut, activate } in &self.layers {
            let sums = skip_gain.forward(norm.forward(&linear.forward(&hidden)?, pass)?)?;
            carried.open(*shortcut, hidden);
            let sums = carried.close(*shortcut, sums)?;
            hidden = self.dropout.forward(&activate.forward(&sums, pass)?, pass)?;
        }
        self.classifier.forward(&hidden)
    }
}
