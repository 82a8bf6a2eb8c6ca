//! Event files that are empty, truncated, damaged, or of another format: one clear line, and a diagnosis of all
//! readable records.

use std::{fs, path::Path};

use gradwatch::events::SummaryWriter;

use crate::harness::{Outcome, SMALL, Workplace, event_file};

const PARTIAL: i32 = 9;
const FINDING: i32 = 11;
const UNREADABLE: i32 = 12;

/// Writes losses: (step, loss).
fn write(folder: &Path, losses: impl IntoIterator<Item = (u64, f64)>) {
    let writer = SummaryWriter::create(folder).unwrap();
    losses.into_iter().for_each(|(step, loss)| writer.scalar("loss", step, loss).unwrap());
    writer.close().unwrap();
}

/// A workplace with a run of 100 steps with falling loss, in the folder `run`.
fn healthy() -> Workplace {
    let workplace = Workplace::new(SMALL);
    write(&workplace.path().join("run"), falling());
    workplace
}

fn falling() -> impl Iterator<Item = (u64, f64)> {
    (0..100).map(|step| (step, 2.0 - step as f64 / 100.0))
}

fn diagnose(workplace: &Workplace, more: &[&str]) -> Outcome {
    workplace.call(&[&["diagnose", "run"], more].concat())
}

/// Checks the exit code, one line on stderr that contains all of `want`, and an empty stdout.
fn refuses(outcome: &Outcome, code: i32, want: &[&str]) {
    assert_eq!((outcome.code, &*outcome.stdout), (Some(code), ""), "{outcome:#?}");
    assert!(outcome.stderr.starts_with("gradwatch: ") && outcome.stderr.lines().count() == 1, "{outcome:#?}");
    for want in want {
        assert!(outcome.stderr.contains(want), "{want:?} is not in {:?}", outcome.stderr);
    }
}

/// Checks the exit code, a report over this many steps, and the note.
fn judges(outcome: &Outcome, code: i32, steps: u64, note: &str) {
    assert_eq!((outcome.code, &*outcome.stderr), (Some(code), ""), "{outcome:#?}");
    assert!(outcome.stdout.contains(&format!("No problems found in {steps} steps, but ")), "{outcome:#?}");
    let notes = outcome.stdout.lines().filter(|line| line.starts_with("notes ") && line.contains(note)).count();
    assert_eq!(notes, 1, "{note:?} is not in {}", outcome.stdout);
}

/// Changes the bytes of the run's event file.
fn change(workplace: &Workplace, change: impl FnOnce(&mut Vec<u8>)) {
    let path = event_file(&workplace.path().join("run"));
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Start of each record of an event file.
fn records(bytes: &[u8]) -> Vec<usize> {
    let mut starts = vec![0];
    while let Some(length) = bytes.get(starts[starts.len() - 1]..).and_then(|rest| rest.first_chunk::<8>()) {
        starts.push(starts[starts.len() - 1] + u64::from_le_bytes(*length) as usize + 16);
    }
    starts
}

#[test]
fn folders_without_event_files_are_refused_with_what_was_wanted() {
    let workplace = Workplace::new(SMALL);
    let want = [
        "run and its subfolders contain no event files (events.out.tfevents.*)",
        "want a run folder, such as logs/NAME",
    ];
    fs::create_dir_all(workplace.path().join("run/events.out.tfevents.folder")).unwrap();
    refuses(&diagnose(&workplace, &[]), UNREADABLE, &want);
    fs::write(workplace.path().join("run/metrics.jsonl"), "{}").unwrap();
    fs::write(workplace.path().join("run/model.pt"), [0; 100]).unwrap();
    refuses(&diagnose(&workplace, &[]), UNREADABLE, &want);
    refuses(&workplace.call(&["diagnose", "gone"]), UNREADABLE, &["gone: No such file", "or an event file"]);
}

#[test]
fn files_without_values_are_refused_with_what_was_seen() {
    let workplace = Workplace::new(SMALL);
    let file = workplace.path().join("run/events.out.tfevents.1.host");
    fs::create_dir(workplace.path().join("run")).unwrap();
    fs::write(&file, "").unwrap();
    refuses(&diagnose(&workplace, &[]), UNREADABLE, &["run: no value could be read from its 1 event file;"]);
    fs::write(&file, "this is no event file, whatever its name says\n").unwrap();
    refuses(&diagnose(&workplace, &[]), UNREADABLE, &["its 1 event file (", "damaged length in the record at byte 0"]);
    refuses(&workplace.call(&["diagnose", "small.toml"]), UNREADABLE, &["small.toml: no value could be read"]);
    fs::write(&file, [3, 0, 0]).unwrap();
    refuses(&diagnose(&workplace, &[]), UNREADABLE, &["ends within a record"]);
    // Writers write only this record first.
    fs::remove_file(&file).unwrap();
    write(&workplace.path().join("run"), []);
    refuses(&diagnose(&workplace, &[]), UNREADABLE, &["no value could be read from its 1 event file;"]);
}

#[test]
fn a_file_that_is_still_written_or_was_cut_off_is_judged_up_to_there() {
    let workplace = healthy();
    change(&workplace, |bytes| bytes.truncate(bytes.len() - 5));
    judges(&diagnose(&workplace, &[]), 0, 99, "ends within a record: it is still being written, or was cut off");
    change(&workplace, |bytes| bytes.truncate(records(bytes)[51] + 7));
    judges(&diagnose(&workplace, &[]), 0, 50, "ends within a record: it is still being written, or was cut off");
}

#[test]
fn damage_costs_its_record_or_the_rest_of_its_file_and_is_said_aloud() {
    let workplace = healthy();
    change(&workplace, |bytes| {
        let at = records(bytes)[51] + 14;
        bytes[at] ^= 1;
    });
    judges(&diagnose(&workplace, &[]), PARTIAL, 100, "damaged data in the record at byte ");
    // A damaged length makes the rest of the file unreadable; the next file continues.
    change(&workplace, |bytes| {
        let at = records(bytes)[51];
        bytes[at] ^= 1;
    });
    judges(&diagnose(&workplace, &[]), PARTIAL, 50, "later records cannot be read");
    let first = event_file(&workplace.path().join("run"));
    fs::rename(&first, first.with_file_name("events.out.tfevents.0000000001.host")).unwrap();
    write(&workplace.path().join("run"), (60..80).map(|step| (step, 1.0)));
    judges(&diagnose(&workplace, &[]), PARTIAL, 80, "later records cannot be read");
}

#[test]
fn numbers_that_are_not_finite_are_a_finding_and_json_all_the_same() {
    let workplace = Workplace::new(SMALL);
    let losses = falling()
        .map(|(step, loss)| (step, if step >= 50 { [f64::NAN, f64::INFINITY][step as usize % 2] } else { loss }));
    write(&workplace.path().join("run"), losses);
    let outcome = diagnose(&workplace, &["--format", "json", "--fail-at", "critical"]);
    assert_eq!((outcome.code, &*outcome.stderr), (Some(FINDING), ""), "{outcome:#?}");
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(
        (&report["findings"][0]["rule"], &report["findings"][0]["first_step"]),
        (&"non_finite".into(), &50.into())
    );
    assert_eq!(report["curves"]["loss"][60]["not_finite"], 1);
}

#[test]
fn steps_out_of_order_are_put_in_order_or_left_out() {
    let workplace = Workplace::new(SMALL);
    let swapped = falling().map(|(step, loss)| (step ^ 1, loss));
    write(&workplace.path().join("run"), swapped.chain([(3, 9.0)]));
    judges(&diagnose(&workplace, &[]), 0, 100, "1 value came more than 8 steps late and was skipped");
}

#[test]
fn of_two_runs_in_one_folder_the_later_is_judged_and_one_that_cannot_be_hides_no_other() {
    let workplace = healthy();
    let first = event_file(&workplace.path().join("run"));
    fs::rename(&first, first.with_file_name("events.out.tfevents.0000000001.host")).unwrap();
    write(&workplace.path().join("run"), falling().take(30));
    judges(&diagnose(&workplace, &[]), 0, 30, "starts again at step 0: the files before it belong to another run");

    let workplace = Workplace::new(SMALL);
    write(&workplace.path().join("run/one"), falling());
    write(&workplace.path().join("run/three"), falling());
    fs::create_dir(workplace.path().join("run/two")).unwrap();
    fs::write(workplace.path().join("run/two/events.out.tfevents.1.host"), "").unwrap();
    let outcome = diagnose(&workplace, &[]);
    assert_eq!((outcome.code, outcome.stderr.lines().count()), (Some(UNREADABLE), 1), "{outcome:#?}");
    assert!(outcome.stderr.starts_with("gradwatch: run/two: no value could be read"), "{outcome:#?}");
    assert_eq!(outcome.stdout.matches("No problems found in 100 steps, but ").count(), 2, "{outcome:#?}");
}

#[test]
fn a_tag_pattern_that_fits_nothing_is_told_and_one_that_says_nothing_is_refused() {
    let workplace = healthy();
    let outcome = diagnose(&workplace, &["--tag", "accuracy=hits", "--tag", "grad_norm=norms/*"]);
    let note = "--tag accuracy=hits does not match the only tag (loss); --tag grad_norm=norms/* does not match";
    judges(&outcome, 0, 100, note);
    for (pattern, want) in
        [("speed=x", "the roles are loss, "), ("loss", "want ROLE=PATTERN"), ("grad_norm=n", "want a *")]
    {
        let outcome = diagnose(&workplace, &["--tag", pattern]);
        assert_eq!((outcome.code, &*outcome.stdout), (Some(2), ""), "{outcome:#?}");
        assert!(outcome.stderr.contains(want), "{outcome:#?}");
    }
}
