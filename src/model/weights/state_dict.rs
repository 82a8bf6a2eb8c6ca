//! A state dict in a file: its tensors by name, and its other values.

use std::collections::HashMap;

use super::{
    Refusal,
    pickle::{Id, Object, Storage, View},
    refusal::shown,
    stored::{MOST_SIDES, StoredTensor},
    torch_file::TorchFile,
};

/// The values of a state dict that can be weights.
#[derive(Debug, Default)]
pub(super) struct StateDict<'a> {
    /// Tensors, in the order of the state dict.
    pub tensors: Vec<(String, StoredTensor<'a>)>,
    /// Values that are not readable tensors.
    pub unread: Vec<Unread>,
}

/// A value that is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unread {
    /// Name of the value.
    pub name: String,
    /// Description for messages.
    pub what: String,
    /// Whether it is a tensor, with a type that libtorch cannot read.
    pub is_tensor: bool,
}

impl<'a> StateDict<'a> {
    /// Builds a state dict from names and values of a pickle. Only reads storages that are needed.
    ///
    /// # Errors
    /// If a tensor is inconsistent with itself or the file.
    pub(super) fn of_pickle(file: &TorchFile<'a>, entries: &[(&'a str, Id)]) -> Result<Self, Refusal> {
        let mut storages = HashMap::new();
        let (mut tensors, mut unread) = (Vec::new(), Vec::new());
        for &(name, value) in entries {
            let (what, is_tensor) = match file.objects.get(value) {
                Object::Tensor(view) => match tensor(file, &mut storages, view) {
                    Ok(Ok(tensor)) => {
                        tensors.push((name.to_owned(), tensor));
                        continue;
                    }
                    Ok(Err(what)) => (what, true),
                    Err(refusal) => {
                        return Err(Refusal { got: format!("{} as {}", shown(name), refusal.got), ..refusal });
                    }
                },
                other => (what_is(other), false),
            };
            unread.push(Unread { name: name.to_owned(), what, is_tensor });
        }
        Ok(Self { tensors, unread })
    }

    /// Returns the part with names that start with `prefix`, which is removed; `None` if there are no such tensors.
    pub(super) fn under(self, prefix: &str) -> Option<Self> {
        let inside = |name: String| name.strip_prefix(prefix).map(str::to_owned);
        let tensors: Vec<_> =
            self.tensors.into_iter().filter_map(|(name, tensor)| Some((inside(name)?, tensor))).collect();
        let unread = self.unread.into_iter().filter_map(|unread| Some(Unread { name: inside(unread.name)?, ..unread }));
        (!tensors.is_empty()).then(|| Self { tensors, unread: unread.collect() })
    }
}

/// Describes an object that was not built, for messages.
pub(super) fn object_of(class: &str) -> String {
    format!("an object of {class}, which is not loaded")
}

/// Describes a value that is not a tensor, for messages.
fn what_is(object: &Object<'_>) -> String {
    let what = match object {
        Object::Foreign { class, .. } => return object_of(&class.shown()),
        Object::Global(class) => return format!("{} itself", class.shown()),
        Object::Int(_) | Object::Long(_) | Object::Decimal(_) | Object::Float => "a number",
        Object::Text(_) => "a text",
        Object::Tuple(_) | Object::List(_) => "a list",
        Object::Dict(_) => "a dict",
        Object::Other | Object::Storage(_) | Object::Tensor(_) => "an object that is not a tensor",
    };
    what.to_owned()
}

/// Returns the tensor, or its description if it cannot be read.
fn tensor<'a>(
    file: &TorchFile<'a>,
    storages: &mut HashMap<&'a str, &'a [u8]>,
    view: &View,
) -> Result<Result<StoredTensor<'a>, String>, Refusal> {
    let storage = match file.objects.get(view.storage) {
        Object::Storage(storage) => storage,
        Object::Foreign { class, .. } => return Ok(Err(format!("a tensor over {}", object_of(&class.shown())))),
        _ => return Err(Refusal::damaged("a tensor without data")),
    };
    let Storage { numbers, key, numel, part: (first, count) } = **storage;
    let seen = view.numbers.unwrap_or(numbers);
    let Some(kind) = seen.kind() else { return Ok(Err(format!("a tensor of {}", seen.name()))) };
    let bytes = match storages.get(key) {
        Some(bytes) => *bytes,
        None => {
            let bytes = file.storages.bytes(key)?;
            let bytes =
                bytes.ok_or_else(|| Refusal::damaged(format!("storage {} that is not in the file", shown(key))))?;
            storages.insert(key, bytes);
            bytes
        }
    };
    let width = numbers.bytes();
    if bytes.len() / width != numel {
        let got = format!("{numel} elements of {width} bytes in storage {} of {} bytes", shown(key), bytes.len());
        return Err(Refusal::damaged(got));
    }
    // The persistent ID was checked, so both are at most `numel`.
    let part = &bytes[first * width..(first + count) * width];
    let sides = |id: Id| file.objects.integers(id, MOST_SIDES);
    match (sides(view.size), sides(view.stride)) {
        (Some(size), Some(stride)) => StoredTensor::new(part, kind, view.offset, size, stride).map(Ok),
        _ => Err(Refusal::damaged(format!("a tensor whose shape does not have at most {MOST_SIDES} dimensions"))),
    }
}
