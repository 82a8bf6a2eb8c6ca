//! Tests with files that are not weights, including malicious ones, and their error messages.

use std::{fs, path::Path};

use super::{
    WeightsError,
    golden::{net, path},
    load_into,
};

/// Returns the error message for a file of these bytes, after its path.
fn refusal(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("w.pth");
    fs::write(&file, bytes).unwrap();
    let error = load_into(&net(3), &file, false).unwrap_err();
    assert!(matches!(error, WeightsError::File { .. }), "{error}");
    let message = error.to_string();
    assert_eq!(message.lines().count(), 1, "{message}");
    message.strip_prefix(&format!("model.weights: {}: got ", file.display())).unwrap().to_owned()
}

/// A pickle that calls `os.system("touch FILE")`, as written by `pickle.dumps` for a class with such a `__reduce__`.
fn touch(file: &Path) -> Vec<u8> {
    let command = format!("touch {}", file.display());
    let length = (command.len() as u32).to_le_bytes();
    [b"\x80\x02cposix\nsystem\nq\0X", &length[..], command.as_bytes(), b"q\x01\x85q\x02Rq\x03."].concat()
}

/// Builds a zip archive with stored entries, as described in APPNOTE.
pub(super) fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let at = file.len() as u32;
        let length = (data.len() as u32).to_le_bytes();
        let common =
            [&[0; 10][..], &crc32fast::hash(data).to_le_bytes(), &length, &length, &(name.len() as u16).to_le_bytes()]
                .concat();
        file.extend([b"PK\x03\x04", &common[..], &[0, 0], name.as_bytes(), data].concat());
        directory.extend([b"PK\x01\x02\0\0", &common[..], &[0; 12], &at.to_le_bytes(), name.as_bytes()].concat());
    }
    let count = (entries.len() as u16).to_le_bytes();
    let (start, length) = ((file.len() as u32).to_le_bytes(), (directory.len() as u32).to_le_bytes());
    [&file[..], &directory, b"PK\x05\x06\0\0\0\0", &count, &count, &length, &start, &[0, 0]].concat()
}

#[test]
fn a_pickle_that_calls_the_shell_is_refused_by_name_and_does_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    let pickle = touch(&made);
    // Magic number, protocol, and system of the legacy format, followed by the pickle.
    let header = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}q\0.";
    let legacy = [&header[..], &pickle].concat();
    let zipped = zip(&[("archive/data.pkl", &pickle)]);
    for bytes in [pickle, legacy, zipped] {
        let message = refusal(&bytes);
        assert!(message.starts_with("a pickle that references posix.system, want a state dict"), "{message}");
        assert!(message.ends_with("gradwatch ran none of its code"), "{message}");
        assert!(!made.exists());
    }
}

#[test]
fn a_checkpoint_with_whole_weights_is_refused_if_it_asks_for_what_runs_code() {
    let load = |pickle: &[u8]| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("w.pth");
        fs::write(&file, zip(&[("a/data.pkl", pickle), ("a/data/0", &[0; 8])])).unwrap();
        load_into(&net(3), &file, false).map_err(|error| error.to_string())
    };
    // {"x": OBJECT, "w": a tensor}
    let tensor = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x02tQK\0K\x02\x85K\x01\x85\x89NtR";
    let with = |object: &[u8]| {
        load(&[b"\x80\x02}(X\x01\0\0\0x", object, b"X\x01\0\0\0w", tensor, b"u."].concat()).unwrap_err()
    };
    for (object, name) in [
        (&b"cos\nsystem\nX\x01\0\0\0x\x85R"[..], "os.system"),
        (b"\x8c\x02nt\x8c\x06system\x93", "nt.system"),
        (b"c__builtin__\neval\n", "__builtin__.eval"),
        (b"\x8c\x08builtins\x8c\x04exec\x93X\x01\0\0\0x\x85R", "builtins.exec"),
        (b"(X\x01\0\0\0xisubprocess\nPopen\n", "subprocess.Popen"),
        (b"(csubprocess\ncheck_output\nX\x01\0\0\0xo", "subprocess.check_output"),
        (b"cimportlib\nimport_module\n", "importlib.import_module"),
        (b"ctorch.hub\nload\n)\x81", "torch.hub.load"),
    ] {
        assert!(with(object).contains(&format!("got a pickle that references {name}, want")), "{}", with(object));
    }
    // An unknown function is only a name, so the error is that the weights belong to another model.
    for object in
        [&b"cproject\nrun\nX\x01\0\0\0x\x85R"[..], b"cbuiltins\ngetattr\ncproject\nNet\nX\x03\0\0\0run\x86R)R"]
    {
        assert!(with(object).contains("the weights belong to another model"), "{}", with(object));
    }
}

#[test]
fn what_else_lies_under_such_names_is_told_for_what_it_is() {
    for (bytes, want) in [
        (&b""[..], "an empty file, want a .safetensors file"),
        (b"\n<!DOCTYPE html>\n<html>Sign in</html>", "an HTML page, want the actual file; download it again"),
        (b"\x89HDF\r\n\x1a\n\0\0\0\0", "an HDF5 file, as Keras and TensorFlow write them, want PyTorch weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer instead of the file"),
        (b"\x1f\x8b\x08\0", "a gzip archive, want its contents"),
        (b"just text", "neither a safetensors file nor a torch.save file, want a .safetensors file"),
        (b"\x80\x02K\x01.", "a pickle that torch.save did not write"),
        (b"\x80\x02}", "a pickle that is truncated or damaged, with 3 bytes"),
        (b"\0\0\0\0\0\0\0\x10{\"a\":", "a safetensors file of 13 bytes whose header claims 1152921504606846976"),
        (b"\0\0\0", "neither a safetensors file"),
        (b"PK\x03\x04\0\0", "a zip archive that is truncated or damaged, with 6 bytes"),
    ] {
        let message = refusal(bytes);
        assert!(message.starts_with(want), "{message}\n{want}");
    }
    let tar = [&[0; 257][..], b"ustar\0", &[0; 512]].concat();
    assert!(refusal(&tar).starts_with("a tar archive"));
}

#[test]
fn archives_of_other_things_are_told_for_what_they_are() {
    let torchscript = fs::read(path("../torchscript_cnn.pt")).unwrap();
    let message = refusal(&torchscript);
    assert!(
        message
            .starts_with("a TorchScript file, which is a program, want a state dict; or model.name = \"torchscript\"")
    );
    let module = fs::read(path("module.pth")).unwrap();
    let message = refusal(&module);
    assert!(
        message.starts_with(
            "a pickle that references torch.nn.modules.container.Sequential, want a state dict: torch.save"
        )
    );
    assert!(refusal(&zip(&[("model.weights.h5", b"")])).starts_with("a Keras archive"));
    assert!(refusal(&zip(&[("arr_0.npy", b"")])).starts_with("a zip archive without weights (first entry: arr_0.npy)"));
    let twice = zip(&[("a/data.pkl", b"\x80\x02}."), ("a/data.pkl", b"\x80\x02}.")]);
    assert!(refusal(&twice).starts_with("a zip archive with two entries of the same name"));
    let big = zip(&[("a/data.pkl", b"\x80\x02}."), ("a/byteorder", b"big")]);
    assert!(refusal(&big).starts_with("big-endian data"));
    // d = {}; d["model"] = d
    let circle = zip(&[("a/data.pkl", b"\x80\x02}q\0X\x05\0\0\0modelh\0s.")]);
    assert!(refusal(&circle).starts_with("a dict without tensors (its first keys: model)"));
    // {"epoch": 1}
    let none = zip(&[("a/data.pkl", b"\x80\x02}X\x05\0\0\0epochK\x01s.")]);
    assert!(refusal(&none).starts_with("a dict without tensors (its first keys: epoch), want a state dict"));
}

/// A zip archive with one tensor `w` over storage 0 with two float32 values, of which the pickle claims `numel`.
fn one_tensor(numel: u8, offset: &[u8], size: &[u8], stride: &[u8]) -> Vec<u8> {
    let pickle = [
        &b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n"[..],
        &[b'X', 1, 0, 0, 0, b'0', b'X', 3, 0, 0, 0, b'c', b'p', b'u', b'K', numel, b't', b'Q'],
        offset,
        size,
        stride,
        b"\x89NtRs.",
    ]
    .concat();
    zip(&[("a/data.pkl", &pickle), ("a/data/0", &[0; 8])])
}

#[test]
fn shapes_strides_and_offsets_that_reach_out_of_the_storage_are_refused() {
    let (zero, two, one) = (b"K\0", &b"K\x02\x85"[..], &b"K\x01\x85"[..]);
    // This file is valid, so the error is only that it belongs to another model.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("w.pth");
    fs::write(&file, one_tensor(2, zero, two, one)).unwrap();
    assert!(matches!(load_into(&net(3), &file, false), Err(WeightsError::Mismatch { .. })));
    for (bytes, want) in [
        (one_tensor(3, zero, two, one), "w as 3 elements of 4 bytes in storage 0 of 8 bytes"),
        (one_tensor(2, b"K\x01", two, one), "w as a tensor of size [2], stride [1] at offset 1 of 2 elements"),
        (one_tensor(2, zero, b"K\x03\x85", one), "w as a tensor of size [3]"),
        (one_tensor(2, zero, two, b"K\x02\x85"), "w as a tensor of size [2], stride [2]"),
        (one_tensor(2, zero, b"J\xff\xff\xff\xff\x85", one), "w as a tensor of size [-1]"),
        (one_tensor(2, zero, two, b")"), "w as a tensor of size [2], stride []"),
        (one_tensor(2, zero, b"(K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01t", one), "w as a tensor whose shape"),
    ] {
        let message = refusal(&bytes);
        assert!(message.starts_with(want), "{message}\n{want}");
    }
    // A shape of 2^60 with stride 0: its shape differs from the model's, so it is never allocated.
    let wide = one_tensor(2, zero, b"\x8a\x08\0\0\0\0\0\0\0\x10\x85", b"K\0\x85");
    fs::write(&file, wide).unwrap();
    assert!(matches!(load_into(&net(3), &file, false), Err(WeightsError::Mismatch { .. })));
}
