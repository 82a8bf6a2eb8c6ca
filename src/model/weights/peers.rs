//! Compares the reader with torch.load on a file from torchvision.

#[path = "../../../tests/harness/limit.rs"]
mod limit;

use std::{collections::HashSet, fs, path::Path, process::Command};

use super::Format;
use crate::disk::TensorFile;

#[test]
#[ignore = "needs PyTorch and MobileNetV2: make test-peers"]
fn a_file_of_torchvision_is_read_as_torch_reads_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let weights = root.join("models/mobilenet_v2-b0353104.pth");
    let bytes = fs::read(&weights).unwrap();
    let format = Format::of(&bytes).unwrap();
    assert_eq!(format, Format::LegacyTorch);
    let stored = format.read(&bytes).unwrap().choose(&HashSet::new()).unwrap().dict.tensors;
    let tensors: Vec<_> = stored.iter().map(|(name, stored)| (name.clone(), stored.read().unwrap())).collect();
    // The number of tensors in torchvision's own model.
    assert_eq!(tensors.len(), 314);
    let mut file = TensorFile::default();
    file.fill(&tensors).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let read = folder.path().join("read.safetensors");
    fs::write(&read, file.bytes().unwrap()).unwrap();
    let mut python = Command::new(root.join(".deps/peers/bin/python"));
    let output = limit::output(python.arg(root.join("tests/peers/compare_weights.py")).args([&weights, &read]));
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
