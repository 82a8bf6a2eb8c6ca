//! Where the shortcuts of a plain stack of layers begin and end, and what stands between the ends.

/// What a layer does with the shortcut around it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shortcut {
    /// Its input is kept.
    pub opens: bool,
    /// What was kept is added before its activation (He et al. 2016, figure 2).
    pub closes: bool,
}

impl Shortcut {
    /// Places shortcuts in a stack whose layer `i` keeps the shape of its input if `keeps_shape[i]`: one around every
    /// two successive layers that do, and one around a layer that is left over. So a gradient meets no layer without a
    /// way around it, except where the shape changes.
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

/// Where in a residual branch, the layers that a shortcut leads around, a layer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Branch {
    /// Weight layers of the branch: m of Zhang et al. 2019.
    pub layers: usize,
    /// Branches of the model: L.
    pub count: usize,
    /// Whether the branch ends with this layer.
    pub is_last: bool,
    /// Whether its input goes around the branch as it is, through no layer of its own.
    pub is_around_identity: bool,
}

impl Branch {
    /// Around a single layer and its input; how many more there are only matters to longer ones.
    pub const OF_ONE_LAYER: Self = Self { layers: 1, count: 1, is_last: true, is_around_identity: true };

    /// The place of each layer of a stack with these shortcuts.
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

    /// What Fixup multiplies the weights of a branch by, but for the last: L^(-1 / (2 m - 2)).
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
