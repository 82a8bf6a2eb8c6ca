//! Time per parameter of a backward pass, from the times at which gradients were written.

use std::{collections::HashMap, sync::Arc};

use serde::Serialize;

/// Time per parameter of one backward pass.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct BackwardTimeline {
    /// In the order in which backward wrote the gradients; the last layer comes first.
    pub parameters: Vec<BackwardTime>,
}

/// Time of one parameter in a backward pass.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BackwardTime {
    /// Name of the parameter.
    pub name: Arc<str>,
    /// Seconds since the previous gradient was written, or since the start of the pass for the first gradient.
    /// Gradients that backward writes together, such as weight and bias, split the time of their layer arbitrarily.
    pub secs: f64,
}

impl BackwardTimeline {
    /// Builds a timeline from each parameter's seconds since the start of the pass.
    pub fn new(written: impl Iterator<Item = (Arc<str>, f64)>) -> Self {
        let mut written: Vec<_> = written.collect();
        written.sort_by(|(_, one), (_, other)| one.total_cmp(other));
        let mut before = 0.0;
        let parameter =
            |(name, at): (Arc<str>, f64)| BackwardTime { name, secs: at - std::mem::replace(&mut before, at) };
        Self { parameters: written.into_iter().map(parameter).collect() }
    }

    /// Time per layer, summed over its parameters, in the order of the backward pass. The layer is the parameter's name
    /// without its last segment.
    pub fn layers(&self) -> Vec<(&str, f64)> {
        let mut layers: Vec<(&str, f64)> = Vec::new();
        let mut places = HashMap::new();
        for BackwardTime { name, secs } in &self.parameters {
            let layer = name.rsplit_once('.').map_or(&**name, |(layer, _)| layer);
            let place = *places.entry(layer).or_insert(layers.len());
            if place == layers.len() {
                layers.push((layer, 0.0));
            }
            layers[place].1 += secs;
        }
        layers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_parameter_takes_the_time_since_the_one_before_and_a_layer_that_of_its_parameters() {
        let at = [("conv.weight", 7.0), ("fc.weight", 3.0), ("fc.bias", 2.0), ("conv.bias", 5.0), ("scale", 7.5)];
        let timeline = BackwardTimeline::new(at.iter().map(|&(name, secs)| (Arc::from(name), secs)));
        let seen: Vec<(&str, f64)> = timeline.parameters.iter().map(|p| (&*p.name, p.secs)).collect();
        let want = [("fc.bias", 2.0), ("fc.weight", 1.0), ("conv.bias", 2.0), ("conv.weight", 2.0), ("scale", 0.5)];
        assert_eq!(seen, want);
        assert_eq!(timeline.layers(), [("fc", 3.0), ("conv", 4.0), ("scale", 0.5)]);
    }
}
