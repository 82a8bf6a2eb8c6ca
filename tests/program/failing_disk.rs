//! Full disks, read-only disks, and clocks that go backward: no complete file is lost.
#![cfg(unix)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::harness::{
    checkpoints::{begin, resume, workplace},
    event_files, last_weights, limit,
};

const RUN: i32 = 6;
const PARTIAL: i32 = 9;
const CHECKPOINT: i32 = 10;

#[test]
fn the_clock_may_go_backwards() {
    let workplace = workplace();
    let run = begin(&workplace, "run", 6);
    let file = event_files(&run).pop().unwrap();
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let secs = name.split('.').nth(3).unwrap();
    fs::rename(&file, run.join(name.replace(secs, "4000000000"))).unwrap();
    // The checkpoint refers to its file by the old name.
    let error = resume(&workplace, "run", &[]);
    assert_eq!(error.code, Some(0), "{error:#?}");
    assert!(error.stderr.contains(&format!("{name} is missing")), "{error:#?}");
    assert_eq!(event_files(&run).len(), 1);
}

#[test]
fn a_disk_that_fills_up_costs_checkpoints_and_not_the_run_unless_it_is_to_stop() {
    let workplace = workplace();
    let whole = workplace.train("whole", &[]);
    // Room for the first few checkpoints; a run of 18 steps writes about 400 kB.
    for (name, on_error, code) in [("goes_on", "continue", PARTIAL), ("stops", "stop", CHECKPOINT)] {
        let setting = format!("checkpoint.on_error={on_error}");
        let arguments = ["train", "small.toml", "--run-name", name, "--set", &setting];
        let output = limit::output(workplace.command(&arguments).env("GRADWATCH_FAULT", "full 150000"));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(
            stderr.contains("cannot be written: ") && stderr.contains("earlier checkpoints are intact"),
            "{stderr}"
        );
        assert_eq!(stderr.contains("epoch 2/2"), on_error == "continue", "{stderr}");
        let run = workplace.run_folder(name);
        let verified = workplace.call(&["checkpoints", &format!("logs/{name}"), "--verify"]);
        assert_eq!(verified.code, Some(0), "{verified:#?}");
        let rest: Vec<_> = fs::read_dir(run.join("checkpoints")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(rest.iter().all(|name| !name.to_string_lossy().ends_with(".partial")), "{rest:?}");
        // With free space again it resumes from there and reaches the same end.
        let outcome = resume(&workplace, name, &["--set", "checkpoint.on_error=continue"]);
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        assert_eq!(last_weights(&run), last_weights(&whole));
    }
}

/// Makes everything under a folder read-only, even for root, and reverses that on drop.
struct Frozen(PathBuf);

impl Frozen {
    /// A small mounted disk if possible, which needs root; otherwise the folder itself.
    fn prepare(folder: &Path) -> (Self, bool) {
        fs::create_dir_all(folder).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(folder).output();
        (Self(folder.to_owned()), mounted.is_ok_and(|output| output.status.success()))
    }

    fn set(&self, is_mounted: bool, mode: &str, permissions: &str) {
        let mut command = if is_mounted {
            let mut command = Command::new("mount");
            command.args(["-o", &format!("remount,{mode}")]);
            command
        } else {
            let mut command = Command::new("chmod");
            command.args(["-R", permissions]);
            command
        };
        assert!(command.arg(&self.0).status().unwrap().success());
    }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout == b"0\n"
}

/// Read-only commands on a run must not write a file in it.
#[test]
fn a_run_on_a_read_only_disk_is_used_by_every_command_that_reads_it() {
    let workplace = workplace();
    let logs = workplace.path().join("logs");
    let (frozen, is_mounted) = Frozen::prepare(&logs);
    if !is_mounted && is_root() {
        println!("not run: root that cannot mount a disk cannot be kept from writing");
        return;
    }
    let run = workplace.train("run", &[]);
    image::GrayImage::new(8, 8).save(workplace.path().join("image.png")).unwrap();
    frozen.set(is_mounted, "ro", "a-w");
    let lock = fs::metadata(run.join("run.lock")).unwrap().modified().unwrap();
    let calls: [(&[&str], i32); 7] = [
        (&["evaluate", "logs/run"], PARTIAL),
        (&["diagnose", "logs/run"], 0),
        (&["predict", "logs/run", "image.png"], 0),
        (&["explain", "logs/run", "image.png"], 0),
        (&["checkpoints", "logs/run", "--verify"], 0),
        (&["checkpoints", "logs/run", "--export", "one.safetensors"], 0),
        (&["export", "logs/run", "--format", "safetensors", "--output", "other.safetensors"], 0),
    ];
    let outcomes = calls.map(|(arguments, code)| (workplace.call(arguments), code));
    let refused = workplace.call(&["evaluate", "logs/run", "--output", "logs/run/figures"]);
    let is_untouched = lock == fs::metadata(run.join("run.lock")).unwrap().modified().unwrap();
    frozen.set(is_mounted, "rw", "u+w");
    if is_mounted {
        assert!(Command::new("umount").arg(&logs).status().unwrap().success());
    }
    for (outcome, code) in &outcomes {
        assert_eq!(outcome.code, Some(*code), "{outcome:#?}");
    }
    let (evaluated, _) = &outcomes[0];
    assert!(
        evaluated.stdout.contains("accuracy") && evaluated.stderr.contains("the results are printed"),
        "{evaluated:#?}"
    );
    // The output path is checked before an hour of evaluation.
    assert_eq!(refused.code, Some(RUN), "{refused:#?}");
    assert!(refused.stdout.is_empty() && is_untouched, "{refused:#?}");
}

#[test]
fn a_folder_that_becomes_read_only_costs_nothing_that_was_whole() {
    let workplace = workplace();
    let logs = workplace.path().join("logs");
    let (frozen, is_mounted) = Frozen::prepare(&logs);
    if !is_mounted && is_root() {
        println!("not run: root that cannot mount a disk cannot be kept from writing");
        return;
    }
    begin(&workplace, "run", 7);
    frozen.set(is_mounted, "ro", "a-w");
    let outcome = resume(&workplace, "run", &[]);
    let listed = workplace.call(&["checkpoints", "logs/run", "--verify"]);
    frozen.set(is_mounted, "rw", "u+w");
    let again = resume(&workplace, "run", &[]);
    let weights = last_weights(&workplace.run_folder("run"));
    if is_mounted {
        assert!(Command::new("umount").arg(&logs).status().unwrap().success());
    }
    assert_eq!(outcome.code, Some(RUN), "{outcome:#?}");
    assert!(outcome.stderr.contains("logs/run/run.lock cannot be created: "), "{outcome:#?}");
    assert_eq!(listed.code, Some(0), "{listed:#?}");
    assert_eq!(again.code, Some(0), "{again:#?}");
    assert_eq!(weights, last_weights(&workplace.train("whole", &[])));
}
