//! How closely a step is watched, one row of the table each.

use gradwatch::config::{Config, MonitorConfig};

/// A way to watch a training.
pub struct Variant {
    pub name: &'static str,
    /// Whether every parameter has a hook.
    pub has_hooks: bool,
    /// The `[monitor]` table of a config.
    monitor: Option<&'static str>,
}

/// A step that nobody watches, without even the norm that the trainer needs to skip a bad one.
pub const PLAIN: Variant = Variant { name: "plain", has_hooks: false, monitor: None };

/// What a run does where its config says nothing of it.
pub const FULL: Variant = Variant { name: "full", has_hooks: true, monitor: Some("preset = \"full\"") };

/// Plain against plain comes first: it is the noise of the rest. Blocks begin at step 1000, beyond the first steps that
/// are looked at in everything.
pub const VARIANTS: [Variant; 5] = [
    PLAIN,
    Variant { name: "hooks only", has_hooks: true, monitor: None },
    Variant { name: "light", has_hooks: true, monitor: Some("preset = \"light\"") },
    FULL,
    Variant { name: "full, everything written at every step", has_hooks: true, monitor: Some(EVERYTHING) },
];

const EVERYTHING: &str = "preset = \"full\"\nparameters_every_steps = 1\nhistograms_every_steps = 1\n\
                          layers_every_steps = 1\nweights_every_steps = 1";

impl Variant {
    /// What is due when; `None` for nothing ever.
    pub fn monitor(&self) -> Result<Option<MonitorConfig>, gradwatch::config::ConfigError> {
        let Some(monitor) = self.monitor else { return Ok(None) };
        let toml =
            format!("run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\n[monitor]\n{monitor}");
        Ok(Some(Config::parse(&toml, "bench")?.monitor))
    }
}
