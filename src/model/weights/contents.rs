//! What a file of weights holds: one state dict, or several by their keys.

use std::collections::HashSet;

use super::{
    Refusal,
    checkpoint::{self, Found},
    choice::{self, is_average},
    state_dict::StateDict,
    torch_file::TorchFile,
};

/// A file that was read, but for the numbers of its tensors.
#[derive(Debug)]
pub enum Contents<'a> {
    /// Names and tensors.
    Flat(StateDict<'a>),
    /// Whatever a script saved.
    Pickled(TorchFile<'a>),
}

/// The state dict that is taken.
#[derive(Debug)]
pub struct Chosen<'a> {
    pub dict: StateDict<'a>,
    /// The keys that lead to it; `None` if the file is nothing else, or what it is goes without saying.
    pub key: Option<String>,
    /// Keys of the others.
    pub others: Vec<String>,
}

impl<'a> Contents<'a> {
    /// The state dict that these keys lead to; in a file that is a single one, the part under names that begin so. The keys that
    /// there are if there is none.
    ///
    /// # Errors
    /// If a tensor in it contradicts itself or the file.
    pub fn at(self, key: &str) -> Result<Result<Chosen<'a>, Vec<String>>, Refusal> {
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

    /// The state dict that is most likely meant for a model with these names.
    ///
    /// # Errors
    /// If there is none, or a tensor in it contradicts itself or the file.
    pub fn choose(self, own: &HashSet<&str>) -> Result<Chosen<'a>, Refusal> {
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
        // A single one goes without saying, unless it is an average.
        let is_told = !path.is_empty() && (!others.is_empty() || is_average(&path));
        Ok(Chosen { dict, key: is_told.then_some(path), others })
    }
}

/// The keys that lead to state dicts, but for one. The root, which has none, is left out.
fn keys(found: &[Found<'_>], but: &str) -> Vec<String> {
    let paths = found.iter().map(|found| &found.path);
    paths.filter(|path| !path.is_empty() && *path != but).cloned().collect()
}
