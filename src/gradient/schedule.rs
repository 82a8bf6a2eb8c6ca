//! Sets what is measured and written at each step.

use crate::config::{MonitorConfig, MonitorPreset};

/// The measurements due at one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Due {
    /// Loss and gradient norms are copied to the host: one device sync. All other measurements need it.
    pub reading: bool,
    /// Gradients are measured with their distributions.
    pub distributions: bool,
    /// Scalars of each parameter are written.
    pub parameters: bool,
    /// Histograms are written.
    pub histograms: bool,
    /// Layers are tapped.
    pub layers: bool,
    /// Weights and updates are measured.
    pub weights: bool,
    /// Pictures are written.
    pub pictures: bool,
    /// Gradients of micro-batches, or of halves of the batch, are compared.
    pub noise_scale: bool,
}

impl Due {
    /// Returns the measurements due at `step`.
    pub fn at(step: u64, config: &MonitorConfig) -> Self {
        let every = |steps: u64| steps > 0 && step.is_multiple_of(steps);
        if config.preset == MonitorPreset::Off {
            return Due { reading: every(config.every_steps), ..Due::default() };
        }
        let is_first = step < config.first_steps;
        let mut due = Due {
            reading: is_first || every(config.every_steps),
            distributions: false,
            parameters: is_first || every(config.parameters_every_steps),
            histograms: is_first || every(config.histograms_every_steps),
            layers: is_first || every(config.layers_every_steps),
            weights: is_first || every(config.weights_every_steps),
            // The first step alone does not make a useful picture.
            pictures: step > 0 && every(config.pictures_every_steps),
            noise_scale: every(config.noise_scale_every_steps),
        };
        due.reading |= due.parameters | due.histograms | due.layers | due.weights | due.pictures | due.noise_scale;
        due.distributions = due.reading && (config.preset == MonitorPreset::Full || due.histograms);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn monitor(settings: &str) -> MonitorConfig {
        let toml =
            format!("[run]\nmax_epochs = 1\n[data]\nsource = \"synthetic\"\n[model]\nname = \"mlp\"\n{settings}");
        Config::parse(&toml, "test").unwrap().monitor
    }

    #[test]
    fn the_first_steps_are_looked_at_in_everything_but_pictures() {
        let config = monitor("[monitor]\npreset = \"light\"\nfirst_steps = 3");
        for step in 0..3 {
            let due = Due::at(step, &config);
            assert!(due.distributions && due.parameters && due.histograms && due.layers && due.weights);
            assert!(!due.pictures);
        }
        assert_eq!(Due::at(3, &config), Due { reading: true, ..Due::default() });
    }

    #[test]
    fn each_part_has_its_own_schedule_and_whatever_is_due_is_read() {
        let config = monitor(
            "[monitor]\nfirst_steps = 0\nevery_steps = 100\nparameters_every_steps = 2\nhistograms_every_steps = 3\n\
             layers_every_steps = 0\nweights_every_steps = 5\npictures_every_steps = 7\nnoise_scale_every_steps = 0",
        );
        let read = Due { reading: true, distributions: true, ..Due::default() };
        assert_eq!(Due::at(1, &config), Due::default());
        assert_eq!(Due::at(4, &config), Due { parameters: true, ..read });
        assert_eq!(Due::at(9, &config), Due { histograms: true, ..read });
        assert_eq!(Due::at(25, &config), Due { weights: true, ..read });
        assert_eq!(Due::at(49, &config), Due { pictures: true, ..read });
        assert_eq!(Due::at(0, &config), Due { parameters: true, histograms: true, weights: true, ..read });
    }

    #[test]
    fn off_reads_the_loss_alone() {
        let config = monitor("[monitor]\npreset = \"off\"\nevery_steps = 4");
        assert_eq!(Due::at(8, &config), Due { reading: true, ..Due::default() });
        assert_eq!(Due::at(1, &config), Due::default());
    }
}
