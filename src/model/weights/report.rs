//! What became of a file's weights, as it is told.

use std::{fmt, path::PathBuf};

use tch::Kind;

use super::{foreign_names::Library, format::Format, refusal::shown};
use crate::disk::list;

/// The last layer of a model, which is not the file's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadLeft {
    /// Its name.
    pub name: String,
    /// Classes in the file.
    pub got: i64,
    /// Classes of the model.
    pub want: i64,
}

/// What was loaded, and what was not.
#[derive(Debug, Clone)]
pub struct LoadReport {
    /// The file.
    pub path: PathBuf,
    /// BLAKE3 of its bytes, in hexadecimal digits.
    pub digest: String,
    /// What it is.
    pub format: Format,
    /// The keys that lead to the state dict; `None` if the file has a single one, and no average of weights.
    pub key: Option<String>,
    /// Keys of other state dicts in the file.
    pub other_keys: Vec<String>,
    /// What stood before the names, such as `module.`; empty where there was nothing.
    pub prefix: String,
    /// Names without that prefix that are none of the model's.
    pub outside: Vec<String>,
    /// Whose names were translated to ours; `None` where they were ours.
    pub names: Option<Library>,
    /// Gains of batch normalizations that were scaled, as that library adds another epsilon to a variance.
    pub rescaled: usize,
    /// Parameters and buffers that were loaded, and how many the model has.
    pub loaded: [usize; 2],
    /// Types of fractional numbers in the file that are not the model's.
    pub converted: Vec<Kind>,
    /// The first filter, where it was summed over its channels for images of one.
    pub summed: Option<String>,
    /// The head, where it has another number of classes and stays as it was drawn.
    pub head: Option<HeadLeft>,
    /// Counters of batches that the file lacks; they begin at 0, as in torch.
    pub uncounted: usize,
    /// Names that the file lacks.
    pub missing: Vec<String>,
    /// Names that the model lacks.
    pub unexpected: Vec<String>,
    /// Names whose shape or type differs, with both.
    pub different: Vec<String>,
    /// Names of which a number is NaN, or infinite in the model's type.
    pub non_finite: Vec<String>,
}

impl LoadReport {
    /// Says it in the log, one line for each thing.
    pub fn tell(&self) {
        tracing::info!("{self}");
        self.remarks().iter().for_each(|remark| tracing::warn!("model.weights: {remark}"));
    }

    /// What may not be as it was meant.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if let Some(HeadLeft { name, got, want }) = &self.head {
            remarks.push(format!("{name} stays as it was drawn: it has {got} classes in the file, and {want} here"));
        }
        if let Some(name) = &self.summed {
            remarks.push(format!("{name} is summed over its 3 channels, for images of one"));
        }
        if !self.outside.is_empty() {
            remarks.push(format!("not behind {}, and left out: {}", shown(&self.prefix), list(&self.outside)));
        }
        let lists = [
            ("not in the file, and left as drawn", &self.missing),
            ("not in the model, and left out", &self.unexpected),
            ("of another shape, and left as drawn", &self.different),
            ("with numbers that are not finite", &self.non_finite),
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
                write!(f, "; the state dict {key}, not {}, which model.weights_key would take", list(&others))?;
            }
        }
        for kind in converted {
            write!(f, "; {} made float32", name(*kind))?;
        }
        if !prefix.is_empty() {
            write!(f, "; without {} before the names", shown(prefix))?;
        }
        if let Some(library) = names {
            write!(f, "; names of {library} translated")?;
        }
        if *rescaled > 0 {
            write!(f, "; {rescaled} gains scaled for our epsilon")?;
        }
        if *uncounted > 0 {
            write!(f, "; {uncounted} counts of batches begin at 0")?;
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
