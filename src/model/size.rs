//! Checks that a model fits into memory, before allocating any.

use super::{ModelError, architectures::Plan, parameter::Builder};
use crate::{
    config::{Architecture, Initialization, InitializationMethod, ModelConfig},
    data::ImageShape,
    libtorch::total_memory_bytes,
};

/// Bytes per parameter: four for its value and four for its gradient.
const BYTES_OF_EACH: u64 = 8;

/// Rejects a model if its parameters and gradients exceed this machine's memory, where they are created. The layers of
/// a TorchScript file are not known before it runs.
pub(super) fn check(config: &ModelConfig, input: ImageShape, classes: usize) -> Result<(), ModelError> {
    match total_memory_bytes() {
        Some(memory) if config.name != Architecture::Torchscript => check_in(memory, config, input, classes),
        _ => Ok(()),
    }
}

fn check_in(memory_bytes: u64, config: &ModelConfig, input: ImageShape, classes: usize) -> Result<(), ModelError> {
    // Computed without building the layers, because describing thousands of very wide layers takes long.
    let at_least = hidden_weights(config);
    if at_least.saturating_mul(BYTES_OF_EACH) > memory_bytes {
        return Err(ModelError::TooLarge { parameters: at_least, memory_bytes });
    }
    // Constants take no memory.
    let initialization = Initialization { method: InitializationMethod::Constant, ..config.initialization.clone() };
    let config = ModelConfig { initialization, ..config.clone() };
    let builder = Builder::of_shapes(&config);
    Plan::new(&config, input, classes)?.build(&builder.root())?;
    let parameters = builder.finish().iter().map(|parameter| parameter.tensor.numel() as u64).sum::<u64>();
    if parameters.saturating_mul(BYTES_OF_EACH) <= memory_bytes {
        return Ok(());
    }
    Err(ModelError::TooLarge { parameters, memory_bytes })
}

/// Number of weights between the hidden layers of an MLP, which are most of its parameters; 0 for other models.
fn hidden_weights(config: &ModelConfig) -> u64 {
    match (config.name, config.width, config.depth) {
        (Architecture::Mlp, Some(width), Some(depth)) => {
            let of_a_layer = (width as u64).saturating_mul(width as u64);
            (depth as u64).saturating_sub(1).saturating_mul(of_a_layer)
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture;

    #[test]
    fn a_model_is_refused_where_its_weights_and_gradients_are_beyond_memory() {
        let config = fixture::config(Architecture::Lenet5);
        let input = ImageShape { channels: 3, height: 32, width: 32 };
        // LeCun's network for three channels has 62,006 parameters.
        assert!(check_in(62_006 * 8, &config, input, 10).is_ok());
        let refused = check_in(62_006 * 8 - 1, &config, input, 10).unwrap_err().to_string();
        assert!(refused.contains("62006 parameters"), "{refused}");
    }

    #[test]
    fn the_deepest_and_widest_net_is_refused_at_once() {
        let config = ModelConfig { width: Some(1 << 20), depth: Some(10_000), ..fixture::config(Architecture::Mlp) };
        let input = ImageShape { channels: 3, height: 32, width: 32 };
        assert!(matches!(check_in(1 << 40, &config, input, 10), Err(ModelError::TooLarge { .. })));
    }
}
