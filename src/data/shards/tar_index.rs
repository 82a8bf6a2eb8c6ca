//! Lists the samples of a tar file without reading its images.

use std::{
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use serde_json::Value;
use tar::Archive;

use super::super::listing::Kind;
use crate::{config::DataConfig, disk};

/// Longest label to read, in bytes.
const MOST_LABEL_BYTES: u64 = 1 << 20;
/// Fields of a `.json` file that may contain the label.
const FIELDS: [&str; 3] = ["label", "cls", "class"];
/// Size of a header, and of the padding of each file.
const BLOCK: u64 = 512;

/// An image with its label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sample {
    /// Path in the archive.
    pub name: String,
    pub label: String,
    /// Place of the image's bytes.
    pub offset: u64,
    pub length: u64,
}

/// The samples of an archive, and the reason why it is not complete, if so. The samples before a fault are whole.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub samples: Vec<Sample>,
    pub fault: Option<String>,
}

/// Reads the headers and labels of the archive. A sample is an image and a label of the same name up to the first dot
/// of the file name, `.cls` (the label as text) or `.json` (with the label in the field `label`, `cls`, or `class`),
/// next to each other. Other files are ignored.
pub(super) fn index(path: &Path) -> Index {
    let mut index = Index::default();
    if let Err(fault) = read_into(&mut index.samples, path) {
        index.fault = Some(fault);
    }
    index
}

fn read_into(samples: &mut Vec<Sample>, path: &Path) -> Result<(), String> {
    let file = disk::open_regular(path).map_err(|error| error.to_string())?;
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    let mut archive = Archive::new(BufReader::new(file));
    let mut open: Option<Open> = None;
    let mut end = 0;
    for entry in archive.entries_with_seek().map_err(|error| error.to_string())? {
        let mut entry = entry.map_err(|error| format!("at byte {end}: {error}"))?;
        let (offset, size) = (entry.raw_file_position(), entry.size());
        if offset.checked_add(size).is_none_or(|end| end > length) {
            return Err(format!("it ends at byte {length} in the middle of a file"));
        }
        end = offset + size.next_multiple_of(BLOCK);
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let (key, extension) = split(&name);
        if open.as_ref().is_none_or(|open| open.key != key) {
            finish(open.take(), samples)?;
            open = Some(Open { key: key.to_owned(), image: None, label: None });
        }
        let Some(open) = &mut open else { continue };
        match extension {
            "cls" => open.label = Some(text(&mut entry)?.trim().to_owned()),
            "json" if open.label.is_none() => open.label = field(&text(&mut entry)?, &name)?,
            _ if Kind::of(Path::new(&name), DataConfig::EDITION) == Kind::Image => {
                open.image = Some((name, offset, size))
            }
            _ => {}
        }
    }
    finish(open, samples)?;
    has_end(path, end, length)
}

/// A sample whose files are being read.
struct Open {
    key: String,
    image: Option<(String, u64, u64)>,
    label: Option<String>,
}

fn finish(open: Option<Open>, samples: &mut Vec<Sample>) -> Result<(), String> {
    match open {
        Some(Open { image: Some((name, offset, length)), label: Some(label), .. }) => {
            samples.push(Sample { name, label, offset, length });
            Ok(())
        }
        Some(Open { image: Some((name, ..)), label: None, .. }) => {
            Err(format!("{name} has no label next to it; want a .cls file, or a .json file with a field \"label\""))
        }
        _ => Ok(()),
    }
}

/// Key and extension of a file: the parts before and after the first dot of its name, as in WebDataset.
fn split(name: &str) -> (&str, &str) {
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    match name[file..].find('.') {
        Some(dot) => (&name[..file + dot], name[file + dot + 1..].rsplit('.').next().unwrap_or_default()),
        None => (name, ""),
    }
}

fn text(entry: &mut impl Read) -> Result<String, String> {
    let mut text = String::new();
    entry.take(MOST_LABEL_BYTES).read_to_string(&mut text).map_err(|error| format!("a label is no text: {error}"))?;
    Ok(text)
}

fn field(text: &str, name: &str) -> Result<Option<String>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("{name}: {error}"))?;
    Ok(FIELDS.iter().find_map(|field| match value.get(field)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }))
}

/// A tar file ends with a block of zeros. Without it, later files may be missing.
fn has_end(path: &Path, end: u64, length: u64) -> Result<(), String> {
    let cut = || format!("it ends at byte {length} without the end marker of a tar file");
    let mut block = [0; BLOCK as usize];
    let mut file = File::open(path).map_err(|error| error.to_string())?;
    file.seek(SeekFrom::Start(end)).map_err(|error| error.to_string())?;
    file.read_exact(&mut block).map_err(|_| cut())?;
    if block.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(cut()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_ends_at_the_first_dot_of_the_file_name() {
        assert_eq!(split("a.b/c.seg.png"), ("a.b/c", "png"));
        assert_eq!(split("000.cls"), ("000", "cls"));
        assert_eq!(split("a/b"), ("a/b", ""));
    }

    #[test]
    fn a_label_is_text_or_a_number() {
        assert_eq!(field("{\"x\":1,\"label\":7}", "a").unwrap().unwrap(), "7");
        assert_eq!(field("{\"cls\":\"cat\"}", "a").unwrap().unwrap(), "cat");
        assert_eq!(field("{\"label\":[1]}", "a").unwrap(), None);
        assert!(field("{", "a.json").unwrap_err().starts_with("a.json: "));
    }
}
