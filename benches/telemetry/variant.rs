//! What is done with the gradients of a step, one row of the table each.

use std::error::Error;

use gradwatch::gradient::GradientMonitor;

use crate::training::Training;

/// Called between backward and the optimizer; what it owns goes when a block ends.
pub type Look = Box<dyn FnMut() -> Result<(), Box<dyn Error>>>;

/// A way to look at gradients.
pub struct Variant {
    pub name: &'static str,
    pub start: fn(&Training) -> Result<Look, Box<dyn Error>>,
}

pub const PLAIN: Variant = Variant { name: "plain", start: |_| Ok(Box::new(|| Ok(()))) };

/// Plain against plain comes first: it is the noise of the rest.
pub const VARIANTS: [Variant; 3] = [
    PLAIN,
    Variant {
        name: "hooks only",
        start: |training| {
            let monitor = attach(training)?;
            Ok(Box::new(move || {
                std::hint::black_box(&monitor);
                Ok(())
            }))
        },
    },
    Variant {
        name: "collect, every step",
        start: |training| {
            let monitor = attach(training)?;
            Ok(Box::new(move || {
                std::hint::black_box(monitor.collect()?);
                Ok(())
            }))
        },
    },
];

fn attach(training: &Training) -> Result<GradientMonitor, Box<dyn Error>> {
    let parameters = training.parameters.iter().map(|(name, param)| (name.as_str(), param));
    Ok(GradientMonitor::attach(parameters)?)
}
