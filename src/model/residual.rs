//! Shortcuts in a plain stack of layers, and the positions of the layers between their ends.

use tch::{TchError, Tensor};

/// Role of a layer for the shortcut around it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shortcut {
    /// The shortcut starts at the layer's input.
    pub opens: bool,
    /// It is the first of its shape.
    pub is_first: bool,
    /// The shortcut is added before the layer's activation (He et al. 2016, figure 2).
    pub closes: bool,
}

impl Shortcut {
    /// Places shortcuts in a stack in which layer `i` preserves the shape of its input if `keeps_shape[i]`: one around
    /// every two consecutive layers that do, and one around a remaining single layer. So the gradient can bypass every
    /// layer, except those that change the shape.
    pub fn place(keeps_shape: &[bool]) -> Vec<Self> {
        let (mut is_open, mut kept) = (false, false);
        let mut shortcuts = Vec::with_capacity(keeps_shape.len());
        for (layer, &keeps) in keeps_shape.iter().enumerate() {
            let next_keeps = keeps_shape.get(layer + 1).copied().unwrap_or(false);
            let opens = keeps && !is_open;
            let closes = keeps && (is_open || !next_keeps);
            shortcuts.push(Self { opens, is_first: opens && !kept, closes });
            (is_open, kept) = (keeps && !closes, keeps);
        }
        shortcuts
    }
}

/// The inputs that the shortcuts of a stack carry forward.
#[derive(Debug)]
pub(super) struct Carried {
    is_multi_skip: bool,
    input: Option<Tensor>,
    features: Option<Tensor>,
}

impl Carried {
    /// Creates the state at the start of a stack. With `is_multi_skip`, each shortcut also adds the input of the first one
    /// of its shape, as `MultiSkipResidualMLP` of Creus Castanyer et al. 2025 does. The first one adds its input twice.
    pub(super) fn new(is_multi_skip: bool) -> Self {
        Self { is_multi_skip, input: None, features: None }
    }

    /// Keeps the input of a layer if a shortcut starts there.
    pub(super) fn open(&mut self, shortcut: Shortcut, input: Tensor) {
        if shortcut.is_first && self.is_multi_skip {
            self.features = Some(input.shallow_clone());
        }
        if shortcut.opens {
            self.input = Some(input);
        }
    }

    /// Adds what the shortcut carries to the output of a branch that ends with a layer; otherwise returns it as it is.
    pub(super) fn close(&self, shortcut: Shortcut, mut sums: Tensor) -> Result<Tensor, TchError> {
        if shortcut.closes {
            for carried in [&self.input, &self.features].into_iter().flatten() {
                sums = sums.f_add(carried)?;
            }
        }
        Ok(sums)
    }
}

/// Position of a layer in a residual branch, which consists of the layers that a shortcut bypasses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Branch {
    /// Number of weight layers in the branch: m in Zhang et al. 2019.
    pub layers: usize,
    /// Number of branches in the model: L.
    pub count: usize,
    /// Whether this is the last layer of the branch.
    pub is_last: bool,
    /// Whether the branch's shortcut is the identity, without a layer of its own.
    pub is_around_identity: bool,
}

impl Branch {
    /// A branch with a single layer and an identity shortcut. The number of branches only matters for longer ones.
    pub const OF_ONE_LAYER: Self = Self { layers: 1, count: 1, is_last: true, is_around_identity: true };

    /// Returns the position of each layer in a stack with these shortcuts.
    pub fn places(shortcuts: &[Shortcut]) -> Vec<Option<Self>> {
        let count = shortcuts.iter().filter(|shortcut| shortcut.closes).count();
        let mut places = vec![None; shortcuts.len()];
        let mut start = None;
        for (layer, shortcut) in shortcuts.iter().enumerate() {
            start = if shortcut.opens { Some(layer) } else { start };
            if let (true, Some(start)) = (shortcut.closes, start) {
                let layers = layer + 1 - start;
                let place = |index| Self { layers, count, is_last: index == layer, is_around_identity: true };
                (start..=layer).for_each(|index| places[index] = Some(place(index)));
            }
        }
        places
    }

    /// Factor that Fixup applies to the weights of a branch, except the last: L^(-1 / (2 m - 2)).
    pub fn fixup_factor(self) -> f64 {
        let layers = self.layers.max(2) as f64;
        (self.count as f64).powf(-1.0 / (2.0 * layers - 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Architecture, ModelConfig},
        model::{Network, Pass, fixture},
    };

    #[test]
    fn two_layers_share_a_shortcut_and_one_left_over_has_its_own() {
        let drawn = |keeps: &[bool]| -> String {
            let sign = |shortcut: &Shortcut| match (shortcut.opens, shortcut.closes) {
                (true, true) => 'o',
                (true, false) => '(',
                (false, true) => ')',
                (false, false) => '-',
            };
            Shortcut::place(keeps).iter().map(sign).collect()
        };
        assert_eq!(drawn(&[false, true, true, true, true]), "-()()");
        assert_eq!(drawn(&[false, true, true, true]), "-()o");
        assert_eq!(drawn(&[false, true, false, true]), "-o-o");
        assert_eq!(drawn(&[true, true, false]), "()-");
        assert_eq!(drawn(&[]), "");
    }

    #[test]
    fn the_first_shortcut_of_each_shape_is_known() {
        let first = |keeps: &[bool]| -> Vec<usize> {
            let shortcuts = Shortcut::place(keeps);
            (0..keeps.len()).filter(|&layer| shortcuts[layer].is_first).collect()
        };
        assert_eq!(first(&[false, true, true, true, true, true]), [1]);
        assert_eq!(first(&[true, true, true, true, false, true, true, true]), [0, 5]);
        assert_eq!(first(&[false, true, false, true]), [1, 3]);
    }

    fn multi_skip(name: Architecture, width: usize, depth: usize) -> Network {
        let (width, depth) = (Some(width), Some(depth));
        fixture::network(&ModelConfig { width, depth, residual: true, multi_skip: true, ..fixture::config(name) })
    }

    fn parameter(network: &Network, name: &str) -> Tensor {
        network.parameters.get(name).unwrap().tensor.shallow_clone()
    }

    fn linear(network: &Network, layer: &str, input: &Tensor) -> Tensor {
        let [weight, bias] = ["weight", "bias"].map(|name| parameter(network, &format!("{layer}.{name}")));
        input.linear(&weight, Some(&bias))
    }

    fn assert_equal(got: &Tensor, want: &Tensor) {
        let off = (got - want).abs().max().double_value(&[]);
        assert!(off <= 1e-5 && want.std(false).double_value(&[]) > 1e-3, "off by {off:e}");
    }

    /// The blocks written out: f is the output of the first layer, and each block adds it to its own input.
    #[test]
    fn the_first_layers_output_reaches_every_block_of_an_mlp() {
        let network = multi_skip(Architecture::Mlp, 24, 6);
        let images = fixture::images(3);
        let layer = |index: usize, input: &Tensor| linear(&network, &format!("layers.{index}.linear"), input);
        let f = layer(0, &images.flatten(1, -1)).relu();
        let first = (layer(2, &layer(1, &f).relu()) + &f + &f).relu();
        let second = (layer(4, &layer(3, &first).relu()) + &first + &f).relu();
        let last = (layer(5, &second) + &second + &f).relu();
        let want = linear(&network, "classifier", &last);
        assert_equal(&network.forward(&images, &Pass::evaluation()).unwrap(), &want);
    }

    /// Convolutions 0, 2, 4, and 6 change the shape; the blocks after the last pooling are 7 to 8 and 9 to 10, and 11.
    #[test]
    fn features_reach_every_block_of_a_cnn_between_the_same_poolings() {
        let network = multi_skip(Architecture::Cnn, 5, 12);
        let images = fixture::images(3);
        let layer = |index: usize, input: &Tensor| {
            let [weight, bias] =
                ["weight", "bias"].map(|name| parameter(&network, &format!("layers.{index}.conv.{name}")));
            input.conv2d(&weight, Some(&bias), 1, 1, 1, 1)
        };
        let mut maps = images.shallow_clone();
        for stage in [0, 2, 4] {
            let opened = layer(stage, &maps).relu();
            maps = (layer(stage + 1, &opened) + &opened + &opened).relu().max_pool2d(2, 2, 0, 1, false);
        }
        let f = layer(6, &maps).relu();
        let first = (layer(8, &layer(7, &f).relu()) + &f + &f).relu();
        let second = (layer(10, &layer(9, &first).relu()) + &first + &f).relu();
        let last = (layer(11, &second) + &second + &f).relu();
        let mean = last.mean_dim([2i64, 3].as_slice(), false, tch::Kind::Float);
        let want = linear(&network, "classifier", &mean);
        assert_equal(&network.forward(&images, &Pass::evaluation()).unwrap(), &want);
    }
}
