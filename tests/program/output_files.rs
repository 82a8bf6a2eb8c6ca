//! User-specified output files, and files that a run leaves: nothing of the user's is replaced without a request, and
//! nothing hangs.
#![cfg(unix)]

use std::{
    fs::{self, File},
    io::Read,
    os::unix::{
        fs::{FileTypeExt, symlink},
        process::ExitStatusExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use image::GrayImage;
use serde_json::Value;

use crate::harness::{
    background::wait_for,
    event_files,
    hostile::{call, make_pipe, refuses, without_run, workplace},
    limit::Running,
};

const MODEL: i32 = 5;
const RUN: i32 = 6;
const PARTIAL: i32 = 9;

/// A substitute for /dev/null: a device node, or a link if this user cannot create one and therefore cannot replace
/// /dev/null either.
fn make_null(path: &Path) {
    let made = Command::new("mknod").arg(path).args(["c", "1", "3"]).stderr(Stdio::null()).status();
    if !made.is_ok_and(|status| status.success()) {
        symlink("/dev/null", path).unwrap();
    }
}

fn is_special(path: &Path) -> bool {
    let kind = fs::metadata(path).unwrap().file_type();
    kind.is_char_device() || kind.is_fifo()
}

/// Each command that writes a user-specified file, up to the file name.
const WRITERS: [&[&str]; 4] = [
    &["diagnose", "logs/run", "--format", "json", "--output"],
    &["export", "logs/run", "--format", "safetensors", "--output"],
    &["export", "logs/run", "--format", "torchscript", "--output"],
    &["checkpoints", "logs/run", "--export"],
];

#[test]
fn devices_and_pipes_are_written_and_stay_and_links_are_followed() {
    let (workplace, _) = workplace();
    let path = |name: &str| workplace.path().join(name);
    for (number, writer) in WRITERS.iter().enumerate() {
        let call = |name: &str, more: &[&str]| call(&workplace, &[writer, &[name][..], more].concat());
        let [null, pipe, file, link] = ["null", "pipe", "file", "link"].map(|name| format!("{name}-{number}"));
        make_null(&path(&null));
        assert_eq!(call(&null, &[]).code, Some(0), "{writer:?}");
        assert!(is_special(&path(&null)));

        fs::write(path(&file), "precious").unwrap();
        refuses(
            &call(&file, &[]),
            RUN,
            &[&format!("{file} already exists; choose another name, or replace it with --force")],
        );
        symlink(&file, path(&link)).unwrap();
        refuses(&call(&link, &[]), RUN, &[&format!("{link} already exists")]);
        assert_eq!(fs::read_to_string(path(&file)).unwrap(), "precious");
        fs::write(path(&format!("{file}.partial")), "of the user").unwrap();
        let forced = call(&link, &["--force"]);
        assert_eq!(forced.code, Some(0), "{forced:#?}");
        assert!(path(&link).is_symlink());
        let bytes = fs::read(path(&file)).unwrap();
        assert!(bytes.len() > 100);
        assert_eq!(fs::read_to_string(path(&format!("{file}.partial"))).unwrap(), "of the user");

        make_pipe(&path(&pipe));
        let reader = path(&pipe);
        let reader = thread::spawn(move || {
            let mut bytes = Vec::new();
            File::open(reader).unwrap().read_to_end(&mut bytes).unwrap();
            bytes
        });
        assert_eq!(call(&pipe, &[]).code, Some(0), "{writer:?}");
        let read = reader.join().unwrap();
        // A trace generates new names each time.
        let is_same = if writer.contains(&"torchscript") {
            read.len().abs_diff(bytes.len()) < 500
        } else {
            read.trim_ascii_end() == bytes
        };
        assert!(is_same && is_special(&path(&pipe)), "{writer:?}: {} and {} bytes", read.len(), bytes.len());

        refuses(&call("none/file", &[]), RUN, &["none/file cannot be written: its folder does not exist"]);
        refuses(&call(".", &[]), RUN, &["it is a folder"]);
    }
    // No temporary file is left.
    let names = fs::read_dir(workplace.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().starts_with(".gradwatch-")));
}

#[test]
fn a_pipe_without_a_reader_is_waited_for_until_sigterm() {
    let (workplace, _) = workplace();
    let pipe = workplace.path().join("pipe");
    make_pipe(&pipe);
    for writer in WRITERS {
        let mut command = workplace.command(&[writer, &["pipe"][..]].concat());
        let mut child = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
        // Most processes reach this point in time; those that did not must end too.
        thread::sleep(Duration::from_millis(1500));
        assert!(child.try_wait().unwrap().is_none(), "{writer:?}");
        assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
        let status = child.wait().unwrap();
        assert!(status.signal() == Some(15) || status.code() == Some(143), "{writer:?}: {status:?}");
        assert!(is_special(&pipe));
    }
}

#[test]
fn stdout_takes_what_a_file_would_hold() {
    let (workplace, _) = workplace();
    for name in ["-", "/dev/stdout"] {
        let outcome = call(&workplace, &["diagnose", "logs/run", "--format", "json", "--output", name]);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        assert_eq!(serde_json::from_str::<Value>(&outcome.stdout).unwrap()["steps"], 3);
        let output = workplace.command(&["checkpoints", "logs/run", "--export", name]).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(safetensors::SafeTensors::deserialize(&output.stdout).is_ok(), "a message is among the tensors");
    }
    assert!(!workplace.path().join("-").exists());
}

#[test]
fn pictures_and_results_that_are_there_are_kept_unless_forced() {
    let (workplace, run) = workplace();
    let images = workplace.path().join("images");
    fs::create_dir(&images).unwrap();
    GrayImage::new(8, 8).save(images.join("a.png")).unwrap();
    workplace.train("cnn", &["model={name=\"cnn\", width=4, depth=2}"]);
    let explain = ["explain", "logs/cnn", "images", "--output", "why"];
    assert_eq!(call(&workplace, &explain).code, Some(0));
    fs::write(workplace.path().join("why/a.png"), "precious").unwrap();
    refuses(
        &call(&workplace, &explain),
        RUN,
        &["why/a.png already exists; choose another name, or replace it with --force"],
    );
    assert_eq!(fs::read_to_string(workplace.path().join("why/a.png")).unwrap(), "precious");
    assert_eq!(call(&workplace, &[&explain[..], &["--force"]].concat()).code, Some(0));

    // Evaluation results in a run's folder leave its event files unchanged.
    let events = event_files(&run);
    let evaluate = ["evaluate", "logs/run", "--output", "logs/run"];
    assert_eq!(call(&workplace, &evaluate).code, Some(0));
    fs::write(run.join("metrics.json"), "precious").unwrap();
    refuses(&call(&workplace, &evaluate), RUN, &["logs/run/metrics.json already exists"]);
    assert_eq!(fs::read_to_string(run.join("metrics.json")).unwrap(), "precious");
    assert_eq!(call(&workplace, &[&evaluate[..], &["--force"]].concat()).code, Some(0));
    let now = event_files(&run);
    assert!(events.iter().all(|file| now.contains(file)), "{now:?}");
    assert_eq!(now.len(), events.len() + 1);
    fs::write(workplace.path().join("file"), "").unwrap();
    refuses(&call(&workplace, &["evaluate", "logs/run", "--output", "file"]), RUN, &["file cannot be written"]);
}

#[test]
fn runs_without_a_name_that_start_together_have_folders_of_their_own() {
    let workplace = without_run();
    let arguments = ["train", "small.toml", "--max-steps", "1"];
    let start = || Running::start(workplace.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()));
    let mut children: Vec<Running> = (0..6).map(|_| start()).collect();
    for child in &mut children {
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    let runs: Vec<PathBuf> = fs::read_dir(workplace.path().join("logs")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(runs.len(), 6, "{runs:?}");
    for run in runs {
        assert_eq!(event_files(&run).len(), 1);
        assert!(run.join("weights/last.safetensors").is_file());
    }
    // A run name given on the command line is never replaced by another name.
    workplace.train("named", &[]);
    refuses(&call(&workplace, &["train", "small.toml", "--run-name", "named"]), RUN, &["logs/named is already used"]);
}

#[test]
fn results_that_cannot_be_written_are_printed_and_told() {
    let (workplace, run) = workplace();
    fs::write(run.join("evaluation"), "in the way").unwrap();
    for format in ["text", "json"] {
        let outcome = call(&workplace, &["evaluate", "logs/run", "--format", format]);
        assert_eq!(outcome.code, Some(PARTIAL), "{outcome:#?}");
        assert!(outcome.stdout.contains("accuracy"), "{outcome:#?}");
        assert!(outcome.stderr.contains("the results are printed, but their files are missing"), "{outcome:#?}");
        assert!(!outcome.stdout.contains("metrics.json"), "{outcome:#?}");
    }
}

#[test]
fn weights_that_cannot_be_saved_at_the_end_are_in_the_checkpoint_or_the_run_fails() {
    let (workplace, run) = workplace();
    let last = run.join("weights/last.safetensors");
    fs::remove_file(&last).unwrap();
    fs::create_dir(&last).unwrap();
    let outcome = call(&workplace, &["resume", "logs/run", "--set", "run.max_epochs=2"]);
    assert_eq!(outcome.code, Some(PARTIAL), "{outcome:#?}");
    assert!(outcome.stderr.contains("gradwatch checkpoints logs/run --export FILE"), "{outcome:#?}");
    assert!(outcome.stdout.contains("ended       run.max_epochs reached"), "{outcome:#?}");
    let exported = call(&workplace, &["checkpoints", "logs/run", "--export", "last.safetensors"]);
    assert!(exported.code == Some(0) && exported.stdout.contains("at step 6"), "{exported:#?}");

    // Without checkpoints they are lost.
    let off = "checkpoint={every_epochs=0, every_steps=0, every_minutes=0}";
    let arguments = ["train", "small.toml", "--run-name", "off", "--set", off, "--set", "run.max_epochs=100000"];
    let mut child = workplace.start(&arguments);
    let weights = workplace.run_folder("off").join("weights");
    wait_for("the start of the run", || weights.is_dir());
    fs::create_dir(weights.join("last.safetensors")).unwrap();
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(MODEL));
    assert!(said.contains("ended       SIGTERM"), "{said}");
}
