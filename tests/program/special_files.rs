//! Links, pipes, and endless files in a run and among the data: no file outside the run is changed, and nothing hangs.
#![cfg(unix)]

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use image::GrayImage;

use crate::harness::{
    Workplace,
    checkpoints::checkpoints,
    event_file,
    hostile::{call, make_pipe, refuses, without_run, workplace},
};

const DATA: i32 = 4;
const MODEL: i32 = 5;
const RUN: i32 = 6;
const CHECKPOINT: i32 = 10;
const UNREADABLE: i32 = 12;

/// Every entry of a run's folder that the program reads or writes.
const ENTRIES: [&str; 14] = [
    "run.lock",
    "train.log",
    "metrics.jsonl",
    "findings.jsonl",
    "config.toml",
    "classes.json",
    "preprocessing.json",
    "report.html",
    "recent_steps.jsonl",
    "checkpoints",
    "weights",
    "explanations",
    "evaluation",
    "events",
];

/// Copies a run and replaces one of its entries.
fn copy_with(workplace: &Workplace, name: &str, put: impl Fn(&Path)) {
    let copy = workplace.path().join("copy");
    let _ = fs::remove_dir_all(&copy);
    assert!(Command::new("cp").arg("-r").arg(workplace.run_folder("run")).arg(&copy).status().unwrap().success());
    let path = if name == "events" { event_file(&copy) } else { copy.join(name) };
    if path.is_dir() {
        fs::remove_dir_all(&path).unwrap()
    } else {
        drop(fs::remove_file(&path))
    }
    put(&path);
}

/// The newest checkpoint, as a path in the run's folder.
fn newest_checkpoint(run: &Path) -> String {
    format!("checkpoints/{}", checkpoints(run).pop().unwrap().file_name().unwrap().to_string_lossy())
}

const RESUME: [&str; 4] = ["resume", "copy", "--set", "run.max_epochs=2"];

#[test]
fn a_run_with_links_in_it_is_not_resumed_and_what_they_lead_to_stays() {
    let (workplace, _) = workplace();
    let [victim, folder, missing] = ["victim", "folder", "missing"].map(|name| workplace.path().join(name));
    fs::create_dir(&folder).unwrap();
    for name in ENTRIES {
        let is_folder = ["checkpoints", "weights", "explanations", "evaluation"].contains(&name);
        for to in [if is_folder { &folder } else { &victim }, &missing] {
            fs::write(&victim, "precious").unwrap();
            copy_with(&workplace, name, |path| symlink(to, path).unwrap());
            refuses(&call(&workplace, &RESUME), RUN, &["copy/", "it is a symbolic link", "cp -rL", "run.logdir"]);
            assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{name}");
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "{name}");
            assert!(!missing.exists(), "{name}");
        }
    }
    // Links inside the run are replaced, not followed.
    for name in ["weights/last.safetensors", "weights/best.safetensors"] {
        copy_with(&workplace, name, |path| symlink(&victim, path).unwrap());
        let outcome = call(&workplace, &RESUME);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{name}");
    }
    // Links in the path to the run belong to the user.
    copy_with(&workplace, "none", |_| {});
    symlink("copy", workplace.path().join("by-link")).unwrap();
    let outcome = call(&workplace, &["resume", "by-link", "--set", "run.max_epochs=2"]);
    assert_eq!(outcome.code, Some(0), "{outcome:#?}");
}

#[test]
fn a_log_that_has_a_second_name_is_not_written() {
    let (workplace, _) = workplace();
    let victim = workplace.path().join("victim");
    for name in ["run.lock", "train.log", "metrics.jsonl", "findings.jsonl"] {
        let _ = fs::remove_file(&victim);
        fs::write(&victim, "precious").unwrap();
        copy_with(&workplace, name, |path| fs::hard_link(&victim, path).unwrap());
        refuses(&call(&workplace, &RESUME), RUN, &[name, "2 hard links", "cp -r"]);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{name}");
    }
}

#[test]
fn links_in_a_run_are_not_read() {
    let (workplace, _) = workplace();
    let real = |name: &str| workplace.run_folder("run").join(name);
    let predict = ["predict", "copy", "images"];
    fs::create_dir(workplace.path().join("images")).unwrap();
    GrayImage::new(8, 8).save(workplace.path().join("images/a.png")).unwrap();
    for (name, arguments) in [
        ("config.toml", &predict[..]),
        ("classes.json", &predict),
        ("preprocessing.json", &predict),
        ("weights", &predict),
        ("weights/best.safetensors", &predict),
        ("config.toml", &["evaluate", "copy"]),
        ("weights/best.safetensors", &["export", "copy", "--format", "safetensors", "--output", "x"]),
    ] {
        copy_with(&workplace, name, |path| symlink(real(name), path).unwrap());
        refuses(&call(&workplace, arguments), RUN, &["it is a symbolic link", "cp -rL"]);
    }
    let diagnose = ["diagnose", "copy"];
    for name in ["metrics.jsonl", "config.toml"] {
        copy_with(&workplace, name, |path| symlink(real(name), path).unwrap());
        let outcome = call(&workplace, &diagnose);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        assert!(outcome.stdout.contains(&format!("{name} is skipped")), "{outcome:#?}");
    }
    let events = event_file(&workplace.run_folder("run"));
    copy_with(&workplace, "events", |path| symlink(&events, path).unwrap());
    let outcome = call(&workplace, &diagnose);
    assert!(outcome.code != Some(0) && outcome.stderr.contains("is a symbolic link"), "{outcome:#?}");
    // Users may collect event files with links.
    fs::create_dir(workplace.path().join("foreign")).unwrap();
    symlink(&events, workplace.path().join("foreign/events.out.tfevents.1.host")).unwrap();
    assert_eq!(call(&workplace, &["diagnose", "foreign"]).code, Some(0));
    for name in ["checkpoints", &newest_checkpoint(&real(""))] {
        copy_with(&workplace, name, |path| symlink(real(name), path).unwrap());
        let outcome = call(&workplace, &["checkpoints", "copy", "--verify"]);
        assert_eq!(outcome.code, Some(CHECKPOINT), "{outcome:#?}");
        assert!(format!("{}{}", outcome.stdout, outcome.stderr).contains("it is a symbolic link"), "{outcome:#?}");
    }
}

#[test]
fn pipes_and_endless_files_in_a_run_are_refused_at_once() {
    let (workplace, run) = workplace();
    let newest = newest_checkpoint(&run);
    let mut names: Vec<String> =
        ENTRIES.iter().filter(|name| **name != "events").map(|name| (*name).to_owned()).collect();
    names.extend(["weights/best.safetensors", "weights/last.safetensors", "events"].map(str::to_owned));
    names.extend(
        ["manifest.json", "model.safetensors", "host.json", "config.toml"].map(|file| format!("{newest}/{file}")),
    );
    for name in &names {
        copy_with(&workplace, name, make_pipe);
        // Commands that read this entry.
        let commands: &[&[&str]] = match name.starts_with("checkpoints") {
            true => &[&["checkpoints", "copy"], &["checkpoints", "copy", "--verify"], &RESUME],
            false => &[&["diagnose", "copy"], &["evaluate", "copy"], &RESUME],
        };
        for command in commands {
            let outcome = call(&workplace, command);
            assert!(outcome.code.is_some_and(|code| code != 1), "{name}, {command:?}: {outcome:#?}");
        }
    }
    copy_with(&workplace, "metrics.jsonl", make_pipe);
    refuses(&call(&workplace, &RESUME), RUN, &["copy/metrics.jsonl: it is a pipe"]);
    copy_with(&workplace, &format!("{newest}/manifest.json"), make_pipe);
    refuses(&call(&workplace, &RESUME), CHECKPOINT, &["manifest.json cannot be read: it is a pipe"]);
}

#[test]
fn pipes_among_the_data_are_refused_at_once() {
    let workplace = without_run();
    let path = |name: &str| workplace.path().join(name);
    fs::create_dir(path("data")).unwrap();
    let data = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "data_batch_1.bin", "train.bin"];
    data.iter().for_each(|name| make_pipe(&path("data").join(name)));
    ["manifest.csv", "net.pt"].iter().for_each(|name| make_pipe(&path(name)));
    for (source, place) in [("idx", "data"), ("cifar10", "data"), ("cifar100", "data"), ("csv", "manifest.csv")] {
        let [source, place] = [format!("data.source={source}"), format!("data.path={place}")];
        let outcome = call(&workplace, &["check", "small.toml", "--set", &source, "--set", &place]);
        refuses(&outcome, DATA, &["it is a pipe, not a regular file"]);
    }
    let model = "model={name=\"torchscript\", path=\"net.pt\"}";
    refuses(&call(&workplace, &["check", "small.toml", "--set", model]), MODEL, &["net.pt", "it is a pipe"]);
    refuses(&call(&workplace, &["evaluate", "net.pt"]), RUN, &["net.pt is not a run folder"]);
    refuses(&call(&workplace, &["diagnose", "net.pt"]), UNREADABLE, &["net.pt"]);
}
