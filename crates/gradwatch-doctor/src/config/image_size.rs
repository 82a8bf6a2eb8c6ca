//! The size of the model's input images.

use serde::{Serialize, Serializer};
use toml::Value;

use super::{from_toml::FromToml, range::MOST_SIDE};

/// Height and width in pixels; in a config a side, or `[height, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageSize {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl ImageSize {
    pub(super) const VALID: &str = "sides from 1 to 8192";

    pub(super) fn is_valid(&self) -> bool {
        [self.height, self.width].iter().all(|side| (1..=MOST_SIDE).contains(&(*side as u64)))
    }
}

/// A square.
impl From<usize> for ImageSize {
    fn from(side: usize) -> Self {
        Self { height: side, width: side }
    }
}

impl FromToml for ImageSize {
    const WANT: &'static str = "a side in pixels, or [height, width]";

    fn from_toml(value: &Value) -> Option<Self> {
        match value.as_array().map(Vec::as_slice) {
            Some([height, width]) => Some(Self { height: usize::from_toml(height)?, width: usize::from_toml(width)? }),
            Some(_) => None,
            None => usize::from_toml(value).map(Self::from),
        }
    }
}

impl Serialize for ImageSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.height == self.width {
            true => self.height.serialize(serializer),
            false => [self.height, self.width].serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn read(size: &str) -> Result<String, String> {
        let text = format!("run.max_epochs=1\ndata={{source=\"synthetic\",image_size={size}}}\nmodel.name=\"cnn\"");
        let config = Config::parse(&text, "a").map_err(|error| error.to_string())?;
        Ok(serde_json::to_string(&config.data.image_size).unwrap())
    }

    #[test]
    fn a_side_and_a_pair_are_read_and_written_as_they_are() {
        assert_eq!(read("32").unwrap(), "32");
        assert_eq!(read("[24, 32]").unwrap(), "[24,32]");
        assert_eq!(read("[32, 32]").unwrap(), "32");
        for (size, want) in
            [("[1, 2, 3]", "[height, width]"), ("0", "1 to 8192"), ("[24, 0]", "1 to 8192"), ("-1", "side")]
        {
            assert!(read(size).unwrap_err().contains(want), "{size}: {}", read(size).unwrap_err());
        }
    }
}
