//! Augmentation that leaves too little of the image.
//!
//! A square of side c erases, on average over its position, (1 - (1 - c / 2s)^2)^2 of an image of side s: 56% for c = s.
//! Crops of 8% of the area are usual in ImageNet recipes; a crop of 1% of a small image is a few pixels.

use serde::{Deserialize, Serialize};

use super::{Need, Rule, RuleContext, Ways};
use crate::{
    config::RuleName,
    diagnosis::{Figure, Observation, Remedy, Severity, Symptom},
};

/// Average fraction of the image that must be left.
const LEAST: f64 = 0.15;
/// Largest crop, in pixels, that shows too little.
const FEW_PIXELS: f64 = 36.0;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in super::super) struct Augmentation {}

impl Rule for Augmentation {
    fn name(&self) -> RuleName {
        RuleName::Augmentation
    }

    fn needs(&self) -> Ways {
        &[&[Need::InitialFacts, Need::ModelConfig]]
    }

    fn judge(&mut self, seen: &Observation<'_>, context: &RuleContext<'_>) -> Option<Symptom> {
        let augment = &context.config?.data.augment;
        let side = context.facts.image_side as f64;
        if seen.step > 0 || side == 0.0 {
            return None;
        }
        let half = (augment.cutout as f64 / (2.0 * side)).min(1.0);
        let left = 1.0 - (1.0 - (1.0 - half).powi(2)).powi(2);
        let pixels = side * side * augment.scale[1];
        let (figure, cause, remedy) = if left < LEAST {
            let name = "average fraction of the image that cutout leaves".into();
            let cause = format!(
                "cutout erases squares of {} pixels from images of {side} pixels, on average {:.0}% of the image",
                augment.cutout,
                100.0 * (1.0 - left)
            );
            let remedy = Remedy::config("data.augment.cutout", 0usize, "keeps the whole image");
            (Figure { name, seen: left, expected: "0.75 or more".into() }, cause, remedy)
        } else if augment.random_resized_crop && pixels < FEW_PIXELS {
            let name = "pixels of the largest random crop".into();
            let cause = format!(
                "random_resized_crop shows at most {:.1}% of an image, {pixels:.0} pixels",
                100.0 * augment.scale[1]
            );
            let remedy = Remedy::config("data.augment.random_resized_crop", false, "shows the whole image");
            (Figure { name, seen: pixels, expected: "most of the image".into() }, cause, remedy)
        } else {
            return None;
        };
        Some(Symptom {
            severity: Severity::Critical,
            layers: Vec::new(),
            ranks: Vec::new(),
            figures: vec![figure],
            cause: format!("{cause}: the network cannot see what it should learn"),
            remedies: vec![remedy],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::fixture::Case;

    #[test]
    fn erased_images_and_crops_of_a_few_pixels_are_told() {
        let is_told = |more: &str, side: usize| {
            let mut case = Case::new(more);
            case.facts.image_side = side;
            Augmentation::default().judge(&Observation::default(), &case.context()).is_some()
        };
        assert!(is_told("data.augment.cutout = 56", 28) && !is_told("data.augment.cutout = 16", 32));
        // Half of the side to each side: 56% erased.
        assert!(!is_told("data.augment.cutout = 28", 28));
        let crop = |most: f64| format!("data.augment = {{ random_resized_crop = true, scale = [0.001, {most}] }}");
        assert!(is_told(&crop(0.002), 28) && !is_told(&crop(1.0), 28));
        assert!(!is_told(&crop(0.002), 0), "the size is unknown");
    }
}
