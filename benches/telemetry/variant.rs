//! Monitoring variants, one row of the table each.

use gradwatch::config::{Config, MonitorConfig};

/// A monitoring variant.
pub(crate) struct Variant {
    pub name: &'static str,
    /// Whether every parameter has a hook.
    pub has_hooks: bool,
    /// The `[monitor]` table of a config.
    pub monitor: Option<&'static str>,
}

/// A step without monitoring, not even the norm that the trainer needs to skip a non-finite step.
pub(crate) const PLAIN: Variant = Variant { name: "plain", has_hooks: false, monitor: None };

/// The default monitoring of a run.
pub(crate) const FULL: Variant = Variant { name: "full", has_hooks: true, monitor: Some("preset = \"full\"") };

/// Only norms on most steps.
pub(crate) const LIGHT: Variant = Variant { name: "light", has_hooks: true, monitor: Some("preset = \"light\"") };

/// All measurements, written to the event file at every step.
pub(crate) const EVERYTHING: Variant = Variant {
    name: "full, everything written at every step",
    has_hooks: true,
    monitor: Some(
        "preset = \"full\"\nparameters_every_steps = 1\nhistograms_every_steps = 1\nlayers_every_steps = 1\n\
         weights_every_steps = 1",
    ),
};

impl Variant {
    /// The parsed monitor config; `None` without monitoring.
    pub(crate) fn monitor(&self) -> Result<Option<MonitorConfig>, gradwatch::config::ConfigError> {
        let Some(monitor) = self.monitor else { return Ok(None) };
        let toml =
            format!("run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\n[monitor]\n{monitor}");
        Ok(Some(Config::parse(&toml, "bench")?.monitor))
    }
}
