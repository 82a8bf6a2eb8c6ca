//! Calls of the program that wait for its end, and a small experiment for them.

use std::path::{Path, PathBuf};

use super::workplace::{Outcome, Workplace};

/// A small experiment with many features: augmentation, dropout, batch normalization, a schedule.
pub(crate) const SMALL: &str = r#"
run = { max_epochs = 2, threads = 1 }
data = { source = "synthetic", samples = 300, classes = 4, image_size = 8, channels = 1, batch_size = 32, augment = { hflip = 0.5, random_crop = 1 } }
model = { name = "cnn", width = 4, depth = 2, normalization = "batch", dropout = 0.2 }
optimizer = { learning_rate = 0.05 }
schedule = { name = "one_cycle" }
clipping = { mode = "norm", max_norm = 0.5 }
monitor = { first_steps = 1, parameters_every_steps = 2 }
"#;

impl Workplace {
    /// Calls the program in another folder.
    pub(crate) fn call_in(&self, folder: &Path, arguments: &[&str]) -> Outcome {
        Outcome::of(self.command(arguments).current_dir(folder))
    }

    /// Calls the program and waits for it.
    pub(crate) fn call(&self, arguments: &[&str]) -> Outcome {
        self.call_in(self.path(), arguments)
    }

    /// Trains into `logs/<name>` and checks that it succeeds.
    pub(crate) fn train(&self, name: &str, settings: &[&str]) -> PathBuf {
        let mut arguments = vec!["train", "small.toml", "--run-name", name];
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        let outcome = self.call(&arguments);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        self.run_folder(name)
    }
}
