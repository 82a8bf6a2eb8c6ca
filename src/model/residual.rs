//! Positions of shortcuts in a plain stack of layers, and of the layers between their ends.

/// Role of a layer for the shortcut around it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shortcut {
    /// The shortcut starts at the layer's input.
    pub opens: bool,
    /// The shortcut is added before the layer's activation (He et al. 2016, figure 2).
    pub closes: bool,
}

impl Shortcut {
    /// Places shortcuts in a stack in which layer `i` preserves the shape of its input if `keeps_shape[i]`: one around
    /// every two consecutive layers that do, and one around a remaining single layer. So the gradient can bypass every
    /// layer, except those that change the shape.
    pub fn place(keeps_shape: &[bool]) -> Vec<Self> {
        let mut is_open = false;
        let mut shortcuts = Vec::with_capacity(keeps_shape.len());
        for (layer, &keeps) in keeps_shape.iter().enumerate() {
            let next_keeps = keeps_shape.get(layer + 1).copied().unwrap_or(false);
            let opens = keeps && !is_open;
            let closes = keeps && (is_open || !next_keeps);
            is_open = keeps && !closes;
            shortcuts.push(Self { opens, closes });
        }
        shortcuts
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
}
