//! The contents of a weights file: one state dict, or several with keys.

use std::collections::HashSet;

use super::{
    Refusal,
    checkpoint::{self, Found},
    choice::{self, is_average},
    state_dict::StateDict,
    torch_file::TorchFile,
};

/// A file that was read, except for the values of its tensors.
#[derive(Debug)]
pub(super) enum Contents<'a> {
    /// A single state dict.
    Flat(StateDict<'a>),
    /// A pickle with any contents.
    Pickled(TorchFile<'a>),
}

/// The chosen state dict.
#[derive(Debug)]
pub(super) struct Chosen<'a> {
    pub dict: StateDict<'a>,
    /// The keys that lead to it; `None` if the choice is obvious.
    pub key: Option<String>,
    /// Keys of the other state dicts.
    pub others: Vec<String>,
}

impl<'a> Contents<'a> {
    /// Returns the state dict at these keys. In a file with a single state dict, returns the part whose names start
    /// with the key. If there is none, returns the available keys.
    ///
    /// # Errors
    /// If a tensor in it is inconsistent with itself or the file.
    pub(super) fn at(self, key: &str) -> Result<Result<Chosen<'a>, Vec<String>>, Refusal> {
        let (dict, others) = match self {
            Self::Flat(dict) => (dict.under(&format!("{key}.")), Vec::new()),
            Self::Pickled(file) => {
                let found = checkpoint::at(&file.objects, key);
                let dict = found.map(|found| StateDict::of_pickle(&file, &found.entries)).transpose()?;
                (dict, keys(&checkpoint::find(&file.objects), key))
            }
        };
        Ok(match dict {
            Some(dict) => Ok(Chosen { dict, key: Some(key.to_owned()), others }),
            None => Err(others),
        })
    }

    /// Returns the state dict that most likely belongs to a model with these names.
    ///
    /// # Errors
    /// If there is none, or if a tensor in it is inconsistent with itself or the file.
    pub(super) fn choose(self, own: &HashSet<&str>) -> Result<Chosen<'a>, Refusal> {
        let file = match self {
            Self::Flat(dict) if dict.tensors.is_empty() && dict.unread.is_empty() => {
                return Err(Refusal::new("a safetensors file without tensors", "one with the weights of a model"));
            }
            Self::Flat(dict) => return Ok(Chosen { dict, key: None, others: Vec::new() }),
            Self::Pickled(file) => file,
        };
        let mut found = checkpoint::find(&file.objects);
        let Some(index) = choice::choose(&found, own) else { return Err(checkpoint::none(&file.objects)) };
        let others = keys(&found, &found[index].path);
        let Found { path, entries } = found.swap_remove(index);
        let dict = StateDict::of_pickle(&file, &entries)?;
        // A single state dict needs no mention, unless it is an average.
        let is_told = !path.is_empty() && (!others.is_empty() || is_average(&path));
        Ok(Chosen { dict, key: is_told.then_some(path), others })
    }
}

/// Keys of all state dicts except one. The root, which has no key, is left out.
fn keys(found: &[Found<'_>], but: &str) -> Vec<String> {
    let paths = found.iter().map(|found| &found.path);
    paths.filter(|path| !path.is_empty() && *path != but).cloned().collect()
}
