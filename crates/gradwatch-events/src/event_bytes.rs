//! Builds small event files in memory, to be written or replaced as a whole.

use super::{
    Hparams, Step, Tag, Value, WallTime,
    session::{Kind, first_records},
    tf_record::append_record,
    writer_thread::Encoder,
};

/// The bytes of an event file.
///
/// ```
/// use gradwatch_events::{EventBytes, EventFile, WallTime, Value};
///
/// let mut bytes = EventBytes::new(WallTime::from_secs(0.5)?);
/// bytes.value(WallTime::from_secs(1.5)?, "accuracy", 10, Value::Scalar(0.75));
/// let events = EventFile::new("memory", &bytes.into_bytes()[..]).collect::<Result<Vec<_>, _>>()?;
/// assert_eq!((events.len(), events[1].wall_time, events[1].step), (2, 1.5, 10));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct EventBytes {
    encoder: Encoder,
    bytes: Vec<u8>,
}

impl EventBytes {
    /// Starts a file created at `wall_time`.
    pub fn new(wall_time: WallTime) -> Self {
        Self { encoder: Encoder::default(), bytes: first_records(wall_time, Kind::Other) }
    }

    /// Appends a value.
    pub fn value(&mut self, wall_time: WallTime, tag: impl Into<Tag>, step: impl Into<Step>, value: Value) {
        append_record(&mut self.bytes, self.encoder.encode(wall_time, step.into(), vec![(tag.into(), value)]));
    }

    /// Appends a message for TensorBoard's HParams page.
    pub fn hparams(&mut self, wall_time: WallTime, hparams: Hparams) {
        self.value(wall_time, hparams.tag(), 0, Value::Hparams(hparams));
    }

    /// Returns the file.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
