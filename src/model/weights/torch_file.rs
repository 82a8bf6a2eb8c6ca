//! Reads files of torch.save: a pickle and storages in a zip archive or, before torch 1.6, pickles followed by the
//! storages.

use std::collections::HashMap;

use super::{
    Refusal,
    archive::{self, Entry},
    bytes::Bytes,
    pickle::{Object, Objects},
    refusal::{STATE_DICT, shown},
};

/// Values of the first two pickles in the legacy format: `torch.serialization.MAGIC_NUMBER`, 0x1950a86a20f9469cfc6c,
/// and `PROTOCOL_VERSION`.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
const PROTOCOL: i64 = 1001;

/// First bytes of a file saved with `pickle_protocol=0` or 1, which have no opcode for the protocol.
pub(super) const LEGACY_BEFORE_PROTOCOL_2: &[u8] = b"L119547037146038801333356L\n";

/// The objects of a file, and its storages.
#[derive(Debug)]
pub(super) struct TorchFile<'a> {
    pub objects: Objects<'a>,
    pub storages: Storages<'a>,
}

/// The bytes of each storage.
#[derive(Debug)]
pub(super) enum Storages<'a> {
    /// Entries of an archive by name, and the folder that contains them.
    Zipped { root: &'a str, entries: HashMap<&'a str, Entry<'a>> },
    /// Bytes by key.
    Legacy(HashMap<&'a str, &'a [u8]>),
}

impl<'a> Storages<'a> {
    /// Returns the bytes of a storage after verifying their checksum, if there is one; `None` if the storage is not in
    /// the file.
    pub(super) fn bytes(&self, key: &str) -> Result<Option<&'a [u8]>, Refusal> {
        match self {
            Self::Zipped { root, entries } => entries.get(&*format!("{root}/data/{key}")).map(Entry::data).transpose(),
            Self::Legacy(storages) => Ok(storages.get(key).copied()),
        }
    }
}

/// Reads a file from torch 1.6 or newer.
pub(super) fn read_zipped(file: &[u8]) -> Result<TorchFile<'_>, Refusal> {
    let entries = archive::entries(file)?;
    let named: HashMap<&str, Entry<'_>> = entries.iter().map(|entry| (entry.name, *entry)).collect();
    if named.len() != entries.len() {
        return Err(Refusal::damaged("a zip archive with two entries of the same name"));
    }
    let root = root(&entries)?;
    let entry = |name: &str| named.get(&*format!("{root}/{name}")).copied();
    if entry("byteorder").is_some_and(|order| order.data().is_ok_and(|order| order != b"little")) {
        return Err(big_endian());
    }
    let Some(pickle) = entry("data.pkl") else { return Err(no_weights(&entries)) };
    let (objects, _) = Objects::read(pickle.data()?)?;
    Ok(TorchFile { objects, storages: Storages::Zipped { root, entries: named } })
}

/// Returns the folder that contains all entries.
fn root<'a>(entries: &[Entry<'a>]) -> Result<&'a str, Refusal> {
    let is_program = |entry: &Entry<'_>| entry.name.ends_with("/constants.pkl") || entry.name.contains("/code/");
    if entries.iter().any(is_program) {
        let want =
            "a state dict; or model.name = \"torchscript\" with model.path = this file, which has its own layers";
        return Err(Refusal::new("a TorchScript file, which is a program", want));
    }
    let pickle = entries.iter().find_map(|entry| entry.name.strip_suffix("/data.pkl"));
    pickle.ok_or_else(|| no_weights(entries))
}

fn no_weights(entries: &[Entry<'_>]) -> Refusal {
    if entries.iter().any(|entry| entry.name.ends_with(".weights.h5")) {
        return super::refusal::keras("a Keras archive");
    }
    let first = entries.first().map_or("nothing".into(), |entry| shown(entry.name));
    Refusal::new(format!("a zip archive without weights (first entry: {first})"), STATE_DICT)
}

fn big_endian() -> Refusal {
    Refusal::new("big-endian data", "little-endian data; load and save it again on a little-endian machine")
}

/// Reads a file from before torch 1.6, or one saved with `_use_new_zipfile_serialization=False`.
pub(super) fn read_legacy(file: &[u8]) -> Result<TorchFile<'_>, Refusal> {
    let mut bytes = Bytes::new(file);
    let mut next = || {
        let (objects, length) = Objects::read(bytes.rest())?;
        let _ = bytes.take(length);
        Ok::<_, Refusal>(objects)
    };
    if !matches!(next()?.root(), Object::Long(magic) if *magic == MAGIC) && !file.starts_with(LEGACY_BEFORE_PROTOCOL_2)
    {
        return Err(Refusal::new("a pickle that torch.save did not write", STATE_DICT));
    }
    let protocol = next()?;
    if *protocol.root() != Object::Int(PROTOCOL) {
        return Err(Refusal::new("a torch.save file with another protocol than 1001", STATE_DICT));
    }
    if is_big_endian(&next()?) {
        return Err(big_endian());
    }
    let (objects, keys) = (next()?, next()?);
    let storages = storages(&objects, &keys, bytes)?;
    Ok(TorchFile { objects, storages: Storages::Legacy(storages) })
}

/// Checks the dict `{"protocol_version": 1001, "little_endian": True, "type_sizes": {..}}`.
fn is_big_endian(system: &Objects<'_>) -> bool {
    let Object::Dict(entries) = system.root() else { return false };
    let is_order = |(key, value): &(_, _)| {
        *system.get(*key) == Object::Text("little_endian") && *system.get(*value) == Object::Int(0)
    };
    entries.iter().any(is_order)
}

/// Reads the storages after the pickles: for each key, a 64-bit number of elements, followed by the elements.
fn storages<'a>(
    objects: &Objects<'a>,
    keys: &Objects<'a>,
    mut bytes: Bytes<'a>,
) -> Result<HashMap<&'a str, &'a [u8]>, Refusal> {
    let total = bytes.rest().len();
    let mut widths: HashMap<&str, usize> = HashMap::new();
    for object in objects.iter() {
        let Object::Storage(storage) = object else { continue };
        let width = storage.numbers.bytes();
        if *widths.entry(storage.key).or_insert(width) != width {
            return Err(Refusal::damaged(format!("storage {} with elements of two sizes", shown(storage.key))));
        }
    }
    let Object::List(list) = keys.root() else { return Err(Refusal::damaged("no list of storages after the pickle")) };
    let mut storages = HashMap::new();
    for key in list {
        let Object::Text(key) = keys.get(*key) else { return Err(Refusal::damaged("a storage without a name")) };
        let Some(width) = widths.get(key) else {
            return Err(Refusal::damaged(format!("storage {} of an unknown type", shown(key))));
        };
        let mut numbers = || {
            let count = usize::try_from(bytes.u64()?).ok()?;
            bytes.take(count.checked_mul(*width)?)
        };
        let numbers = numbers().ok_or_else(|| Refusal::cut("a torch.save file", total))?;
        storages.insert(*key, numbers);
    }
    Ok(storages)
}
