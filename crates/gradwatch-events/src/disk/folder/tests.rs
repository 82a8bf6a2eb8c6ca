//! Tests of the open folder.

use std::{fs, os::unix::fs::symlink, process::Command};

use super::*;

/// Creates a folder `run` next to a file `victim` and a folder `other`. Returns the open `run` folder.
fn workplace() -> (tempfile::TempDir, Folder) {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("run")).unwrap();
    fs::create_dir(place.path().join("other")).unwrap();
    fs::write(place.path().join("victim"), "precious").unwrap();
    let folder = Folder::open(&place.path().join("run")).unwrap();
    (place, folder)
}

fn message<T>(outcome: io::Result<T>) -> String {
    outcome.err().unwrap().to_string()
}

#[test]
fn nothing_is_read_or_written_through_a_link() {
    let (place, folder) = workplace();
    for (name, to) in [("link", "../victim"), ("dangling", "../new"), ("absolute", "/etc/passwd")] {
        symlink(to, folder.path().join(name)).unwrap();
        for refused in [
            message(folder.open_file(name)),
            message(folder.append(name)),
            message(folder.change(name)),
            message(folder.read(name, 100)),
            folder.objection(name, false).unwrap().to_string(),
        ] {
            assert!(refused.starts_with("it is a symbolic link") && refused.contains("cp -rL"), "{refused}");
        }
        assert_eq!(folder.create_new(name).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        // The link itself is replaced, not its target.
        folder.replace(name, b"own").unwrap();
        assert_eq!(folder.read(name, 3).unwrap(), b"own");
    }
    symlink("../other", folder.path().join("folder")).unwrap();
    for refused in [
        message(folder.folder("folder")),
        message(folder.make_folder("folder")),
        message(folder.remove_folder("folder")),
    ] {
        assert!(refused.starts_with("it is a symbolic link"), "{refused}");
    }
    assert!(message(Folder::open_unlinked(&folder.path().join("folder"))).starts_with("it is a symbolic link"));
    assert_eq!(fs::read(place.path().join("victim")).unwrap(), b"precious");
    assert!(!place.path().join("new").exists());
    // Links in the path to the folder itself are allowed.
    symlink("run", place.path().join("by-link")).unwrap();
    assert_eq!(Folder::open(&place.path().join("by-link")).unwrap().read("link", 3).unwrap(), b"own");
}

#[test]
fn pipes_and_folders_are_no_files_and_nothing_waits() {
    let (_place, folder) = workplace();
    assert!(Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap().success());
    folder.new_folder("inner").unwrap();
    for refused in [message(folder.open_file("pipe")), message(folder.append("pipe")), message(folder.change("pipe"))] {
        assert_eq!(refused, "it is a pipe, not a regular file");
    }
    assert_eq!(folder.open_file("inner").unwrap_err().kind(), io::ErrorKind::IsADirectory);
    assert!(folder.objection("inner", true).is_none() && folder.objection("none", true).is_none());
    assert_eq!(folder.open_file("none").unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_file_with_a_second_name_is_read_and_replaced_but_not_written_over() {
    let (place, folder) = workplace();
    fs::hard_link(place.path().join("victim"), folder.path().join("log")).unwrap();
    for refused in [message(folder.append("log")), message(folder.change("log"))] {
        assert!(refused.starts_with("it has 2 hard links") && refused.contains("cp -r"), "{refused}");
    }
    assert!(folder.objection("log", true).is_some() && folder.objection("log", false).is_none());
    assert_eq!(folder.read("log", 8).unwrap(), b"precious");
    folder.replace("log", b"own").unwrap();
    assert_eq!(fs::read(place.path().join("victim")).unwrap(), b"precious");
}

#[test]
fn names_lead_to_no_other_folder() {
    let (_place, folder) = workplace();
    for name in ["../victim", "/etc/passwd", "a/b", "..", ".", ""] {
        assert!(folder.open_file(name).is_err() && folder.create_new(name).is_err(), "{name}");
        assert!(folder.replace(name, b"x").is_err() && folder.remove(name).is_err(), "{name}");
        assert!(folder.folder(name).is_err() && folder.remove_folder(name).is_err(), "{name}");
    }
    assert!(folder.names().unwrap().is_empty());
}

#[test]
fn a_folder_is_removed_with_all_below_it_and_links_in_it_are_not_followed() {
    let (place, folder) = workplace();
    let inner = folder.make_folder("doomed").unwrap().make_folder("inner").unwrap();
    inner.replace("file", b"x").unwrap();
    symlink("../../../other", inner.path().join("link")).unwrap();
    fs::write(place.path().join("other/kept"), "").unwrap();
    folder.remove_folder("doomed").unwrap();
    assert!(folder.names().unwrap().is_empty() && place.path().join("other/kept").exists());
}

#[test]
fn files_of_the_user_are_not_taken_for_temporary_ones() {
    let (_place, folder) = workplace();
    let names = ["log.partial", ".gradwatch", "x.gradwatch-1-0.partial"];
    names.iter().for_each(|name| fs::write(folder.path().join(name), "mine").unwrap());
    let (beside, _) = folder.create_beside().unwrap();
    folder.replace("log", b"whole").unwrap();
    assert!(folder.contains(&beside));
    folder.remove_partial().unwrap();
    assert!(!folder.contains(&beside));
    assert!(names.iter().all(|name| folder.read(name, 4).unwrap() == b"mine"));
}
