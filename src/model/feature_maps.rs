//! The last feature maps of a model, which still have spatial positions.

use tch::{TchError, Tensor};

use super::Pass;

/// A callback for the last feature maps `[batch, channels, rows, columns]` of a pass: the input of global average
/// pooling, or the patches that the last block of a transformer attends to. The pass continues with the returned
/// tensor, which must have the same shape. An error ends the pass.
pub type FeatureMapFn<'a> = dyn Fn(&Tensor) -> Result<Tensor, TchError> + 'a;

impl<'a> Pass<'a> {
    /// Returns the pass with a callback for its last feature maps. Each pass calls it once, or never if the model has
    /// no such maps.
    pub fn with_feature_maps(self, see: &'a FeatureMapFn<'a>) -> Self {
        Self { see_feature_maps: Some(see), ..self }
    }

    /// Passes the maps to the callback and returns its result, or returns the maps unchanged if there is no callback.
    pub(super) fn show_feature_maps(&self, maps: Tensor) -> Result<Tensor, TchError> {
        self.see_feature_maps.map_or(Ok(maps.shallow_clone()), |see| see(&maps))
    }

    /// Like [`show_feature_maps`](Self::show_feature_maps), for tokens `[batch, tokens, width]`: `others` tokens,
    /// followed by the patches of a grid, row by row.
    pub(super) fn show_tokens(
        &self,
        tokens: Tensor,
        others: i64,
        [rows, columns]: [i64; 2],
    ) -> Result<Tensor, TchError> {
        let Some(see) = self.see_feature_maps else { return Ok(tokens) };
        let patches = tokens.f_narrow(1, others, rows * columns)?;
        let maps = see(&patches.f_transpose(1, 2)?.f_unflatten(2, [rows, columns])?)?;
        Tensor::f_cat(&[tokens.f_narrow(1, 0, others)?, maps.f_flatten(2, -1)?.f_transpose(1, 2)?], 1)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::{
        config::Architecture,
        model::fixture::{self, thin},
    };

    #[test]
    fn every_architecture_shows_its_last_maps_once_and_goes_on_with_what_it_is_given() {
        for name in fixture::drawn() {
            let network = fixture::network(&thin(name));
            let images = fixture::images(2);
            let seen = RefCell::new(Vec::new());
            let see = |maps: &Tensor| {
                seen.borrow_mut().push(maps.size());
                Ok(maps.shallow_clone())
            };
            let plain = network.forward(&images, &Pass::evaluation()).unwrap();
            let shown = network.forward(&images, &Pass::evaluation().with_feature_maps(&see)).unwrap();
            assert_eq!(plain, shown, "{name}");
            let seen = seen.into_inner();
            if name == Architecture::Mlp {
                assert!(seen.is_empty() && !network.model.has_feature_maps());
                continue;
            }
            assert!(network.model.has_feature_maps());
            assert!(seen.len() == 1 && seen[0].len() == 4 && seen[0][0] == 2, "{name}: {seen:?}");
            let others = |maps: &Tensor| maps.f_ones_like();
            let changed = network.forward(&images, &Pass::evaluation().with_feature_maps(&others)).unwrap();
            assert_ne!(plain, changed, "{name}");
        }
    }
}
