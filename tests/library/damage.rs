//! Damaged files: no panic, no more memory than their size justifies, and no damaged file accepted as valid.

use std::{
    fs,
    path::{Path, PathBuf},
};

use gradwatch::{
    checkpoint::{
        CheckpointError, CheckpointName, CheckpointWriter, Contents, Loaded, Manifest, Retention, newest_whole,
    },
    disk::{NamedTensors, TensorFile, read_tensors, write_into},
    events::{EventFile, Histogram, SummaryWriter},
};
use proptest::prelude::*;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

fn weights(value: f64) -> NamedTensors {
    let tensor = |shape: &[i64]| Tensor::full(shape, value, (Kind::Float, Device::Cpu));
    vec![("conv.weight".into(), tensor(&[2, 1, 3, 3])), ("fc.bias".into(), tensor(&[4]))]
}

/// A folder with checkpoints of steps 1 to `count`.
fn checkpoints(count: u64) -> (tempfile::TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let mut writer =
        CheckpointWriter::start(folder.path(), Retention { keep_last: 9, ..Retention::default() }).unwrap();
    let names: Vec<CheckpointName> =
        (1..=count).map(|step| CheckpointName { step, epoch: 0, is_settled: true }).collect();
    for &name in &names {
        let host = json!({ "step": name.step });
        let config = "seed = 1".to_owned();
        let model = weights(name.step as f64);
        writer.save(Contents { name, model, host, config, ..Contents::default() }).unwrap();
    }
    writer.finish().into_iter().for_each(|outcome| _ = outcome.unwrap());
    drop(writer);
    let paths = names.iter().map(|name| folder.path().join(name.to_string())).collect();
    (folder, paths)
}

fn files(checkpoint: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(checkpoint).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_flipped_byte_of_every_file_and_every_cut_is_found() {
    let (_folder, paths) = checkpoints(1);
    let found = files(&paths[0]);
    assert_eq!(found.len(), 7);
    Loaded::read(&paths[0]).unwrap();
    for file in found {
        let whole = fs::read(&file).unwrap();
        let refuse = |bytes: &[u8], what: String| {
            fs::write(&file, bytes).unwrap();
            let read = Loaded::read(&paths[0]);
            assert!(matches!(read, Err(CheckpointError::Damaged { .. })), "{} {what}", file.display());
        };
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            refuse(&bytes, format!("byte {at}"));
        }
        for end in (0..whole.len()).step_by(7) {
            refuse(&whole[..end], format!("cut at {end}"));
        }
        refuse(&[&whole[..], b"x"].concat(), "one byte more".into());
        fs::write(&file, whole).unwrap();
    }
    Loaded::read(&paths[0]).unwrap();
}

#[test]
fn the_newest_whole_one_is_found_behind_damaged_ones_which_are_put_aside() {
    let (folder, paths) = checkpoints(3);
    fs::remove_file(paths[2].join("model.safetensors")).unwrap();
    fs::write(paths[1].join("config.toml"), "seed = 2").unwrap();
    let loaded = newest_whole(folder.path()).unwrap().unwrap();
    assert_eq!(loaded.manifest.step, 1);
    let into = weights(0.0);
    loaded.model_into(&into).unwrap();
    assert_eq!(into[0].1.double_value(&[0, 0, 0, 0]), 1.0);
    assert!(folder.path().join("damaged-epoch-0000-step-00000003").exists());
    fs::write(paths[0].join("host.json"), "").unwrap();
    let error = newest_whole(folder.path()).unwrap_err();
    assert!(matches!(error, CheckpointError::NoneWhole { count: 1, .. }), "{error}");
    // No valid checkpoint is left, and the damaged ones must stay in place.
    assert!(newest_whole(folder.path()).unwrap().is_none());
    assert!(newest_whole(&folder.path().join("none")).unwrap().is_none());
}

/// A manifest with a valid seal over any content.
fn sealed(manifest: &Value) -> String {
    let text = manifest.to_string();
    format!("{{\"blake3\":\"{}\",\"manifest\":{text}}}", blake3::hash(text.as_bytes()).to_hex())
}

#[test]
fn sizes_that_a_manifest_claims_take_no_memory() {
    let (_folder, paths) = checkpoints(1);
    let text = fs::read(paths[0].join("manifest.json")).unwrap();
    let manifest = &serde_json::from_slice::<Value>(&text).unwrap()["manifest"];
    for claim in [u64::MAX, 1 << 60, 0] {
        let mut claimed = manifest.clone();
        claimed["files"][0]["bytes"] = claim.into();
        fs::write(paths[0].join("manifest.json"), sealed(&claimed)).unwrap();
        let error = Loaded::read(&paths[0]).unwrap_err().to_string();
        assert!(error.contains(&format!("bytes, want {claim}")), "{error}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,8}", inner, 0..6).prop_map(|map| json!(map)),
        ]
    })
}

const FIELDS: [&str; 11] = [
    "format",
    "gradwatch",
    "libtorch",
    "number",
    "step",
    "epoch",
    "elapsed_secs",
    "saved_at",
    "metrics",
    "logs",
    "files",
];

proptest! {
    #[test]
    fn a_manifest_of_anything_is_refused_or_read(field in 0..FIELDS.len(), value in any_json(), bytes in any::<Vec<u8>>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.json");
        let mut manifest = json!({
            "format": 1, "gradwatch": "0", "libtorch": "2", "number": 1, "step": 1, "epoch": 0, "elapsed_secs": 0.5,
            "saved_at": "", "metrics": {}, "logs": [], "files": [],
        });
        manifest[FIELDS[field]] = value;
        for text in [sealed(&manifest).into_bytes(), manifest.to_string().into_bytes(), bytes] {
            fs::write(&path, text).unwrap();
            let _ = Manifest::read(folder.path());
            // The files it lists do not exist.
            prop_assert!(Loaded::read(folder.path()).is_err());
        }
    }

    #[test]
    fn a_tensor_file_with_any_bytes_in_its_header_is_refused_or_read(
        changes in prop::collection::vec((0usize..200, any::<u8>()), 1..6), end in 0usize..400,
    ) {
        let mut file = TensorFile::default();
        file.fill(&weights(1.0)).unwrap();
        let mut bytes = file.bytes().unwrap().to_vec();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        let _ = (read_tensors(&bytes), write_into(&weights(0.0), &bytes));
        let _ = read_tensors(&bytes[..end.min(bytes.len())]);
    }

    #[test]
    fn an_event_file_with_any_bytes_ends_and_reads_no_more_events_than_it_has_bytes(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        end in any::<prop::sample::Index>(),
    ) {
        let mut bytes = events();
        for (at, byte) in changes {
            let length = bytes.len();
            bytes[at.index(length)] = byte;
        }
        bytes.truncate(end.index(bytes.len() + 1));
        let events = EventFile::new("events", &bytes[..]).count();
        prop_assert!(events <= 1 + bytes.len() / 16);
    }
}

/// A small event file with every kind of event.
fn events() -> Vec<u8> {
    use std::sync::OnceLock;
    static EVENTS: OnceLock<Vec<u8>> = OnceLock::new();
    let make = || {
        let folder = tempfile::tempdir().unwrap();
        let writer = SummaryWriter::create(folder.path()).unwrap();
        writer.scalar("loss", 1u64, 0.5).unwrap();
        writer.text("config", 1u64, "text").unwrap();
        writer.histogram("weights", 1u64, Histogram::of(&[1.0, 2.0], 30)).unwrap();
        let path = writer.path().to_owned();
        writer.close().unwrap();
        fs::read(path).unwrap()
    };
    EVENTS.get_or_init(make).clone()
}

#[test]
fn headers_that_claim_the_impossible_are_refused() {
    let claims = [
        r#"{"w":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4611686018427387904]}}"#,
        r#"{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#,
        r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#,
        r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}"#,
        r#"{"w":{"dtype":"X9","shape":[1],"data_offsets":[0,4]}}"#,
        r#"{"w":{"dtype":"F32","shape":[0,9223372036854775807,9223372036854775807],"data_offsets":[0,0]}}"#,
        "[",
    ];
    for header in claims {
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat();
        assert!(read_tensors(&bytes).is_err(), "{header}");
    }
    for length in [u64::MAX, 1 << 60, 101 << 20] {
        assert!(read_tensors(&[&length.to_le_bytes()[..], b"{}"].concat()).is_err());
    }
}
