//! What a value is filed under: tag, step and wall time.

use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// The name of a series, e.g. `loss/train`. TensorBoard groups series by what stands before the first slash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Arc<str>);

impl Tag {
    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<S: AsRef<str>> From<S> for Tag {
    fn from(tag: S) -> Self {
        Self(tag.as_ref().into())
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The optimizer steps taken before a value was seen: TensorBoard's `global_step`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Step(i64);

impl Step {
    /// The step as TensorBoard stores it.
    pub fn get(self) -> i64 {
        self.0
    }
}

impl From<u64> for Step {
    /// Steps beyond 2^63 - 1, which no run reaches, are stored as that.
    fn from(step: u64) -> Self {
        Self(i64::try_from(step).unwrap_or(i64::MAX))
    }
}

/// Seconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct WallTime(f64);

impl WallTime {
    /// The time now; 1970 on a machine whose clock stands before it.
    pub fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()))
    }

    /// The time `secs` seconds after 1970-01-01 UTC.
    pub fn from_secs(secs: f64) -> Self {
        Self(secs)
    }

    /// Seconds since 1970-01-01 UTC.
    pub fn as_secs(self) -> f64 {
        self.0
    }
}
