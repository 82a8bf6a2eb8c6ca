//! Tests of user-given output files.

use std::{
    io::Read,
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::UnixListener,
    },
    process::Command,
    thread,
};

use super::*;

fn write(path: &Path, may_replace: bool, bytes: &[u8]) -> Result<(), OutputError> {
    Output::choose(path, may_replace)?.write(bytes)
}

#[test]
fn a_file_that_is_there_is_replaced_only_where_that_is_asked_for_and_keeps_its_mode() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    write(&path, false, b"first").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = write(&path, false, b"second").unwrap_err().to_string();
    assert_eq!(error, format!("{} already exists; choose another name, or replace it with --force", path.display()));
    write(&path, true, b"third").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"third");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_comes_meanwhile_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let mut output = Output::choose(&path, false).unwrap();
    fs::write(&path, "of another").unwrap();
    assert!(matches!(output.write(b"mine"), Err(OutputError::Exists { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"of another");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn links_stay_and_what_they_lead_to_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("inner")).unwrap();
    fs::write(path("inner/real"), "old").unwrap();
    symlink("inner/real", path("link")).unwrap();
    symlink("link", path("link-to-link")).unwrap();
    symlink("inner/new", path("dangling")).unwrap();
    assert!(matches!(write(&path("link-to-link"), false, b"new"), Err(OutputError::Exists { .. })));
    write(&path("link-to-link"), true, b"new").unwrap();
    write(&path("dangling"), false, b"made").unwrap();
    assert_eq!(
        (fs::read(path("inner/real")).unwrap(), fs::read(path("inner/new")).unwrap()),
        (b"new".into(), b"made".into())
    );
    assert!(["link", "link-to-link", "dangling"].iter().all(|name| path(name).is_symlink()));
    symlink("circle", path("circle")).unwrap();
    assert!(write(&path("circle"), true, b"x").is_err());
}

#[test]
fn pipes_and_devices_are_written_and_stay() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (reader, path) = (pipe.clone(), pipe.clone());
    let reader = thread::spawn(move || {
        let mut text = String::new();
        File::open(reader).unwrap().read_to_string(&mut text).unwrap();
        text
    });
    let mut output = Output::choose(&path, false).unwrap();
    assert!(output.is_stream());
    output.write(b"one, ").unwrap();
    output.write(b"two").unwrap();
    drop(output);
    assert_eq!(reader.join().unwrap(), "one, two");
    assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
    // A link to a device is written through to the device.
    let link = folder.path().join("full");
    symlink("/dev/full", &link).unwrap();
    let error = write(&link, false, b"x").unwrap_err().to_string();
    assert!(error.contains("No space left on device"), "{error}");
    replace(&folder.path().join("pipe-free"), b"x").unwrap();
    assert!(link.is_symlink());
}

#[test]
fn what_cannot_be_a_file_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let _listener = UnixListener::bind(folder.path().join("socket")).unwrap();
    let refused = |path: &Path| Output::choose(path, true).unwrap_err().to_string();
    assert!(refused(folder.path()).contains("it is a folder; give a file name"));
    assert!(refused(&folder.path().join("socket")).contains("it is a socket"));
    assert!(refused(&folder.path().join("none/file")).contains("its folder does not exist"));
    assert!(refused(Path::new("/proc/version/file")).contains("cannot be written: "));
    assert!(refused(Path::new("")).contains("cannot be written: "));
    assert!(Output::choose(Path::new("-"), false).unwrap().is_stdout());
}
