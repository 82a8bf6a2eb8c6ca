//! Reports how a file's weights were loaded.

use std::{fmt, path::PathBuf};

use tch::Kind;

use super::{foreign_names::Library, format::Format, refusal::shown};
use crate::disk::list;

/// The last layer of a model, if the file's does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadLeft {
    /// Name of the layer.
    pub name: String,
    /// Number of classes in the file.
    pub got: i64,
    /// Number of classes of the model.
    pub want: i64,
}

/// The loaded and the skipped tensors.
#[derive(Debug, Clone)]
pub struct LoadReport {
    /// The file.
    pub path: PathBuf,
    /// BLAKE3 hash of the file, in hexadecimal digits.
    pub digest: String,
    /// Format of the file.
    pub format: Format,
    /// The keys that lead to the state dict; `None` if the file has only one, and it is not an average of weights.
    pub key: Option<String>,
    /// Keys of other state dicts in the file.
    pub other_keys: Vec<String>,
    /// Prefix of the names, such as `module.`; empty if there was none.
    pub prefix: String,
    /// Names without the prefix that are not names of the model.
    pub outside: Vec<String>,
    /// Library whose names were translated; `None` if no translation was needed.
    pub names: Option<Library>,
    /// Number of batch normalization gains that were rescaled, because the library uses another epsilon.
    pub rescaled: usize,
    /// Number of loaded parameters and buffers, and total number in the model.
    pub loaded: [usize; 2],
    /// Floating-point types in the file that differ from the model's.
    pub converted: Vec<Kind>,
    /// The first filter, if it was summed over its channels for single-channel images.
    pub summed: Option<String>,
    /// The head, if it has another number of classes and keeps its random initialization.
    pub head: Option<HeadLeft>,
    /// Number of batch counters that are missing in the file. They start at 0, as in torch.
    pub uncounted: usize,
    /// Names that are missing in the file.
    pub missing: Vec<String>,
    /// Names that are not in the model.
    pub unexpected: Vec<String>,
    /// Names with a different shape or type, with both of them.
    pub different: Vec<String>,
    /// Names of tensors with a value that is NaN, or infinite in the model's type.
    pub non_finite: Vec<String>,
}

impl LoadReport {
    /// Logs the report, one line per fact.
    pub fn tell(&self) {
        tracing::info!("{self}");
        self.remarks().iter().for_each(|remark| tracing::warn!("model.weights: {remark}"));
    }

    /// Facts that the user may not expect.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if let Some(HeadLeft { name, got, want }) = &self.head {
            remarks.push(format!(
                "{name} keeps its random initialization: it has {got} classes in the file and {want} in the model"
            ));
        }
        if let Some(name) = &self.summed {
            remarks.push(format!("{name} is summed over its 3 channels for single-channel images"));
        }
        if !self.outside.is_empty() {
            remarks.push(format!("not under the prefix {}, skipped: {}", shown(&self.prefix), list(&self.outside)));
        }
        let lists = [
            ("not in the file, keeps its random initialization", &self.missing),
            ("not in the model, skipped", &self.unexpected),
            ("with another shape, keeps its random initialization", &self.different),
            ("with non-finite values", &self.non_finite),
        ];
        let told = lists.iter().filter(|(_, names)| !names.is_empty());
        remarks.extend(told.map(|(what, names)| format!("{what}: {}", list(names))));
        remarks
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, format, key, other_keys, prefix, names, loaded: [loaded, all], converted, .. } = self;
        let Self { rescaled, uncounted, .. } = self;
        write!(f, "model.weights: {}: {loaded} of {all} tensors loaded ({format}", path.display())?;
        match (key, &other_keys[..]) {
            (None, []) => {}
            (Some(key), []) => write!(f, "; the state dict {}", shown(key))?,
            (key, others) => {
                let key = key.as_ref().map_or_else(|| "at its root".to_owned(), |key| shown(key));
                let others: Vec<String> = others.iter().map(|key| shown(key)).collect();
                write!(f, "; the state dict {key}; model.weights_key can select another one: {}", list(&others))?;
            }
        }
        for kind in converted {
            write!(f, "; {} converted to float32", name(*kind))?;
        }
        if !prefix.is_empty() {
            write!(f, "; prefix {} removed from the names", shown(prefix))?;
        }
        if let Some(library) = names {
            write!(f, "; names of {library} translated")?;
        }
        if *rescaled > 0 {
            write!(f, "; {rescaled} gains rescaled for the epsilon of gradwatch")?;
        }
        if *uncounted > 0 {
            write!(f, "; {uncounted} batch counters start at 0")?;
        }
        f.write_str(")")
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Double => "float64",
        Kind::Half => "float16",
        Kind::BFloat16 => "bfloat16",
        _ => "another type",
    }
}
