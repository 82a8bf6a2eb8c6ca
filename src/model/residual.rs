//! Where the shortcuts of a plain stack of layers begin and end.

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
