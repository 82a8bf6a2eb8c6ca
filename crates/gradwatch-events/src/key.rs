//! The key of a value: tag, step, and wall time.

use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use super::EventsError;

/// The name of a series, such as `loss/train`. TensorBoard groups series by the part before the first slash.
///
/// Cloning a tag does not allocate, so a loop that writes the same tags at every step should reuse them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Arc<str>);

impl Tag {
    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Tag {
    fn from(tag: &str) -> Self {
        Self(tag.into())
    }
}

impl From<String> for Tag {
    fn from(tag: String) -> Self {
        Self(tag.into())
    }
}

impl From<&String> for Tag {
    fn from(tag: &String) -> Self {
        Self(tag.as_str().into())
    }
}

impl From<&Tag> for Tag {
    fn from(tag: &Tag) -> Self {
        tag.clone()
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Number of optimizer steps before the value was recorded: TensorBoard's `global_step`. At most 2^63 - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Step(u64);

impl Step {
    /// The number of steps.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The step in the format of event files.
    pub(super) fn to_stored(self) -> i64 {
        i64::try_from(self.0).expect("no Step is made beyond 2^63 - 1")
    }
}

impl From<u64> for Step {
    /// Clamps the step to 2^63 - 1, which no run reaches.
    fn from(step: u64) -> Self {
        Self(step.min(i64::MAX as u64))
    }
}

/// Seconds since 1970-01-01 UTC, finite. The f64 has a resolution of about 0.2 microseconds.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct WallTime(f64);

impl WallTime {
    /// The current time, or 0 if the system clock is set before 1970.
    pub fn now() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()))
    }

    /// The time `secs` seconds after 1970-01-01 UTC.
    ///
    /// # Errors
    /// If `secs` is NaN or infinite, because TensorBoard cannot show such a time.
    pub fn from_secs(secs: f64) -> Result<Self, EventsError> {
        if secs.is_finite() { Ok(Self(secs)) } else { Err(EventsError::WallTime { got: secs }) }
    }

    /// Seconds since 1970-01-01 UTC.
    pub fn as_secs(self) -> f64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_never_becomes_negative_in_the_file() {
        assert_eq!(Step::from(7).to_stored(), 7);
        assert_eq!(Step::from(u64::MAX).to_stored(), i64::MAX);
    }

    #[test]
    fn a_wall_time_is_finite() {
        assert_eq!(WallTime::from_secs(1.5).unwrap().as_secs(), 1.5);
        assert!(WallTime::from_secs(f64::NAN).is_err());
        assert!(WallTime::from_secs(f64::INFINITY).is_err());
    }
}
