//! The compared training steps, one row of the table each.

use crate::variant::{EVERYTHING, FULL, LIGHT, PLAIN, Variant};

/// A kind of training step.
pub(crate) struct Mode {
    /// Its name, and the monitoring.
    pub variant: Variant,
    /// `clipping.mode` of the trainer's step. `None`: only forward, backward, and optimizer.
    pub clipping: Option<&'static str>,
}

/// The baseline step of every ratio.
pub(crate) const PLAIN_MODE: Mode = Mode { variant: PLAIN, clipping: None };

/// Plain against plain comes first: it shows the noise of the other ratios.
pub(crate) const MODES: [Mode; 6] = [
    PLAIN_MODE,
    Mode { variant: Variant { name: "off", ..PLAIN }, clipping: Some("none") },
    Mode { variant: LIGHT, clipping: Some("none") },
    Mode { variant: FULL, clipping: Some("none") },
    Mode { variant: Variant { name: "full with AGC", ..FULL }, clipping: Some("agc") },
    Mode { variant: EVERYTHING, clipping: Some("none") },
];
