//! Chooses the columns of images and labels of a file.

use parquet::{
    basic::{ConvertedType, LogicalType, Type},
    schema::types::{ColumnDescriptor, SchemaDescriptor},
};

use super::features::Features;
use crate::config::DataConfig;

/// Usual names of columns, the most likely one first.
const IMAGES: [&str; 4] = ["image", "img", "images", "jpg"];
const LABELS: [&str; 5] = ["label", "labels", "fine_label", "class", "cls"];

/// The columns to read, as indices of the schema's leaves.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns {
    /// Encoded images.
    pub bytes: Option<usize>,
    /// Paths of image files.
    pub path: Option<usize>,
    pub label: usize,
    /// Names of the classes, by label, if the file lists them.
    pub classes: Option<Vec<String>>,
}

/// Reason why the columns cannot be chosen, and the key that chooses one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoColumn {
    pub key: &'static str,
    pub cause: String,
}

impl Columns {
    /// Takes the columns that `config` names; otherwise those that `features` describe as images and class labels;
    /// otherwise those with a usual name.
    pub(super) fn choose(
        schema: &SchemaDescriptor,
        features: &Features,
        config: &DataConfig,
    ) -> Result<Self, NoColumn> {
        let columns = Leaves(schema);
        let image = Role {
            key: "data.image_column",
            what: "images",
            name: config.image_column.as_deref(),
            described: columns.names().into_iter().filter(|name| features.is_image(name)).collect(),
            usual: &IMAGES,
        };
        let label = Role {
            key: "data.label_column",
            what: "labels",
            name: config.label_column.as_deref(),
            described: columns.names().into_iter().filter(|name| features.is_class_label(name)).collect(),
            usual: &LABELS,
        };
        let (image_name, label_name) = (image.choose(&columns)?, label.choose(&columns)?);
        let (bytes, path) = columns.images(image_name).ok_or_else(|| {
            image.unfit(image_name, &columns, "want binary images, paths as strings, or a struct of `bytes` and `path`")
        })?;
        let label_index = columns
            .labels(label_name)
            .ok_or_else(|| label.unfit(label_name, &columns, "want signed integers or strings"))?;
        Ok(Self { bytes, path, label: label_index, classes: features.class_names(label_name) })
    }

    /// All columns to read.
    pub(super) fn all(&self) -> impl Iterator<Item = usize> {
        [Some(self.label), self.bytes, self.path].into_iter().flatten()
    }
}

/// What a column is needed for.
struct Role<'a> {
    key: &'static str,
    what: &'static str,
    /// Name in the config.
    name: Option<&'a str>,
    /// Columns of this role in the file's own description.
    described: Vec<&'a str>,
    usual: &'static [&'static str],
}

impl<'a> Role<'a> {
    fn choose(&self, columns: &Leaves<'a>) -> Result<&'a str, NoColumn> {
        let names = columns.names();
        let find = |wanted: &str| names.iter().copied().find(|name| *name == wanted);
        let wrong =
            |cause: String| NoColumn { key: self.key, cause: format!("{cause}; its columns are {}", names.join(", ")) };
        if let Some(name) = self.name {
            return find(name).ok_or_else(|| wrong(format!("it has no column `{name}`")));
        }
        let candidates = if self.described.is_empty() { &names } else { &self.described };
        let usual = self.usual.iter().find_map(|usual| candidates.iter().copied().find(|name| name == usual));
        match (usual, &self.described[..]) {
            (_, [only]) => Ok(only),
            (Some(usual), _) => Ok(usual),
            (None, []) => {
                Err(wrong(format!("no column of {} found (looked for {})", self.what, self.usual.join(", "))))
            }
            (None, several) => Err(wrong(format!("it has several columns of {} ({})", self.what, several.join(", ")))),
        }
    }

    fn unfit(&self, name: &str, columns: &Leaves<'_>, want: &str) -> NoColumn {
        let found = match columns.at(name, &[]) {
            Some((_, leaf)) => leaf.physical_type().to_string(),
            None => {
                let leaves = columns.below(name).map(|(_, leaf)| leaf.path().string());
                format!("lists or a struct ({})", leaves.collect::<Vec<_>>().join(", "))
            }
        };
        NoColumn { key: self.key, cause: format!("column `{name}` holds {found}; {want}") }
    }
}

/// The leaves of a schema, each with its index.
struct Leaves<'a>(&'a SchemaDescriptor);

impl<'a> Leaves<'a> {
    /// The names of the columns, in their order.
    fn names(&self) -> Vec<&'a str> {
        let mut names: Vec<&str> = self.0.columns().iter().map(|leaf| top(leaf)).collect();
        names.dedup();
        names
    }

    /// The leaves of a column.
    fn below(&self, name: &str) -> impl Iterator<Item = (usize, &'a ColumnDescriptor)> {
        self.0.columns().iter().map(AsRef::as_ref).enumerate().filter(move |(_, leaf)| top(leaf) == name)
    }

    /// The leaf at a path below the column, unless it is part of a list.
    fn at(&self, name: &str, path: &[&str]) -> Option<(usize, &'a ColumnDescriptor)> {
        self.below(name).find(|(_, leaf)| leaf.path().parts().iter().skip(1).eq(path) && leaf.max_rep_level() == 0)
    }

    /// The leaves of encoded images and of paths.
    fn images(&self, name: &str) -> Option<(Option<usize>, Option<usize>)> {
        let bytes = |leaf: &(usize, &ColumnDescriptor)| leaf.1.physical_type() == Type::BYTE_ARRAY;
        let index = |(index, _)| index;
        if let Some(leaf) = self.at(name, &[]).filter(bytes) {
            return Some(if is_text(leaf.1) { (None, Some(leaf.0)) } else { (Some(leaf.0), None) });
        }
        let inner = |field| self.at(name, &[field]).filter(bytes).map(index);
        Some((inner("bytes"), inner("path"))).filter(|both| *both != (None, None))
    }

    fn labels(&self, name: &str) -> Option<usize> {
        let (index, leaf) = self.at(name, &[])?;
        let is_whole = matches!(leaf.physical_type(), Type::INT32 | Type::INT64) && is_signed_integer(leaf);
        (is_whole || (leaf.physical_type() == Type::BYTE_ARRAY && is_text(leaf))).then_some(index)
    }
}

/// The name of the column that a leaf belongs to.
fn top(leaf: &ColumnDescriptor) -> &str {
    leaf.path().parts().first().map_or("", String::as_str)
}

/// Whether the numbers of a leaf are integers that fit the type they are stored in, and not dates, times, or decimals.
fn is_signed_integer(leaf: &ColumnDescriptor) -> bool {
    match (leaf.logical_type_ref(), leaf.converted_type()) {
        (Some(LogicalType::Integer(kind)), _) => kind.is_signed || kind.bit_width < 32,
        (Some(_), _) => false,
        (None, ConvertedType::NONE | ConvertedType::INT_8 | ConvertedType::INT_16) => true,
        (None, ConvertedType::INT_32 | ConvertedType::INT_64 | ConvertedType::UINT_8 | ConvertedType::UINT_16) => true,
        (None, _) => false,
    }
}

fn is_text(leaf: &ColumnDescriptor) -> bool {
    leaf.converted_type() == ConvertedType::UTF8 || matches!(leaf.logical_type_ref(), Some(LogicalType::String))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parquet::schema::parser::parse_message_type;

    use super::super::super::fixture::config;
    use super::*;
    use crate::config::Source;

    const SCHEMA: &str = "message schema {
        required binary mask; required binary img;
        required int64 coarse_label; required int64 fine_label; required int64 label;
    }";

    /// The leaves of images and labels by the metadata of the hub, or the reason why there are none.
    fn chosen(schema: &str, features: &str) -> Result<(Option<usize>, usize), String> {
        let schema = SchemaDescriptor::new(Arc::new(parse_message_type(schema).unwrap()));
        let features = Features::parse(&format!("{{\"features\": {{{features}}}}}"));
        let columns = Columns::choose(&schema, &features, &config(Source::Parquet, "x.parquet"));
        columns.map(|columns| (columns.bytes, columns.label)).map_err(|none| format!("{}: {}", none.key, none.cause))
    }

    #[test]
    fn the_described_columns_win_over_those_with_a_usual_name() {
        let image = |name: &str| format!("\"{name}\": {{\"_type\": \"Image\"}}");
        let label = |name: &str| format!("\"{name}\": {{\"_type\": \"ClassLabel\", \"names\": [\"a\"]}}");
        assert_eq!(chosen(SCHEMA, ""), Ok((Some(1), 4)));
        assert_eq!(chosen(SCHEMA, &image("mask")), Ok((Some(0), 4)));
        assert_eq!(chosen(SCHEMA, &label("coarse_label")), Ok((Some(1), 2)));
        // As in CIFAR-100: of several columns, the one with a usual name.
        let both = [label("coarse_label"), label("fine_label")].join(", ");
        assert_eq!(chosen(SCHEMA, &both), Ok((Some(1), 3)));
        assert_eq!(chosen(SCHEMA, &[image("img"), image("mask")].join(", ")), Ok((Some(1), 4)));
    }

    #[test]
    fn labels_are_signed_integers_or_strings() {
        let of = |kind: &str| chosen(&format!("message schema {{ required binary image; required {kind}; }}"), "");
        for kind in [
            "int32 label",
            "int64 label (INTEGER(64,true))",
            "int32 label (INTEGER(8,true))",
            "int32 label (INTEGER(16,false))",
            "int32 label (UINT_8)",
            "binary label (STRING)",
            "binary label (UTF8)",
        ] {
            assert_eq!(of(kind), Ok((Some(0), 1)), "{kind}");
        }
        for kind in [
            "int32 label (INTEGER(32,false))",
            "int64 label (UINT_64)",
            "int32 label (DATE)",
            "int64 label (TIMESTAMP_MILLIS)",
            "int32 label (DECIMAL(5,2))",
            "boolean label",
            "double label",
            "binary label",
        ] {
            assert!(of(kind).unwrap_err().contains("want signed integers or strings"), "{kind}");
        }
    }

    #[test]
    fn columns_that_cannot_be_told_are_listed() {
        let schema = "message schema { required binary left; required binary right; required int64 label; }";
        let message = chosen(schema, "").unwrap_err();
        let listed = "its columns are left, right, label";
        assert_eq!(
            message,
            format!("data.image_column: no column of images found (looked for image, img, images, jpg); {listed}")
        );
        let both = ["left", "right"].map(|name| format!("\"{name}\": {{\"_type\": \"Image\"}}")).join(", ");
        let message = chosen(schema, &both).unwrap_err();
        assert_eq!(message, format!("data.image_column: it has several columns of images (left, right); {listed}"));
    }
}
