//! The features of a data set of the Hugging Face hub, as its files describe them.

use parquet::file::metadata::FileMetaData;
use serde_json::{Map, Value};

/// Key of the file's metadata.
const KEY: &str = "huggingface";
/// Places of the features in its JSON.
const PLACES: [&str; 2] = ["/info/features", "/features"];

/// The features by column; empty for a file of another origin.
#[derive(Debug, Default)]
pub(super) struct Features(Map<String, Value>);

impl Features {
    pub(super) fn of(metadata: &FileMetaData) -> Self {
        let pairs = metadata.key_value_metadata().map(Vec::as_slice).unwrap_or_default();
        let json = pairs.iter().find(|pair| pair.key == KEY).and_then(|pair| pair.value.as_deref());
        json.map(Self::parse).unwrap_or_default()
    }

    pub(super) fn parse(json: &str) -> Self {
        let value: Value = serde_json::from_str(json).unwrap_or_default();
        let features = PLACES.iter().find_map(|place| value.pointer(place)?.as_object());
        Self(features.cloned().unwrap_or_default())
    }

    /// Whether the column is of type `Image`.
    pub(super) fn is_image(&self, column: &str) -> bool {
        self.type_of(column) == Some("Image")
    }

    /// Whether the column is of type `ClassLabel`.
    pub(super) fn is_class_label(&self, column: &str) -> bool {
        self.type_of(column) == Some("ClassLabel")
    }

    /// The class names of a column of type `ClassLabel`, by index.
    pub(super) fn class_names(&self, column: &str) -> Option<Vec<String>> {
        let names = self.0.get(column).filter(|_| self.is_class_label(column))?.get("names")?.as_array()?;
        names.iter().map(|name| name.as_str().map(str::to_owned)).collect()
    }

    fn type_of(&self, column: &str) -> Option<&str> {
        self.0.get(column)?.get("_type")?.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_found_with_and_without_the_info_around_them() {
        let inner = r#"{"features": {"x": {"_type": "Image"}, "y": {"names": ["b", "a"], "_type": "ClassLabel"}}}"#;
        for json in [inner.to_owned(), format!("{{\"info\": {inner}}}")] {
            let features = Features::parse(&json);
            assert!(features.is_image("x") && !features.is_image("y") && !features.is_image("z"));
            assert!(features.is_class_label("y") && !features.is_class_label("x"));
            assert_eq!(features.class_names("y").unwrap(), ["b", "a"]);
            assert_eq!(features.class_names("x"), None);
        }
    }

    #[test]
    fn other_metadata_has_no_features() {
        for json in ["", "[]", "{\"features\": 3}", r#"{"features": {"y": {"_type": "ClassLabel", "names": [1]}}}"#] {
            let features = Features::parse(json);
            assert!(!features.is_image("y") && features.class_names("y").is_none(), "{json}");
        }
    }
}
