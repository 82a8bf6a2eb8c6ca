//! Missing and damaged files of runs that have ended.

use std::fs;

use super::{
    tests::{Run, evaluation, step, text},
    *,
};
use crate::fixture::study;

/// A complete run with two steps and one evaluation.
fn whole(run: &Run) {
    run.metrics(&[step(0), step(1), evaluation(2, ["2.0", "1.5"], ["0.5", "0.25"])]);
    run.lines("findings.jsonl", []);
    run.scalars_at(Some(1), &[("gradients/depth_slope", 0, 0.25), ("gradients/depth_slope", 1, 0.5)]);
}

const EVENTS: &str = "events.out.tfevents.1.host.1.0";

/// The notes, without the path of the run, and the cell of `unread_files`.
fn unread(state: State, damage: impl Fn(&Path)) -> (Vec<String>, Cell) {
    cell("unread_files", state, damage)
}

/// The notes, without the path of the run, and the cell of a column.
fn cell(column: &str, state: State, damage: impl Fn(&Path)) -> (Vec<String>, Cell) {
    let (_folder, study) = study("");
    let (logs, plans) = (tempfile::tempdir().unwrap(), study.plans());
    let run = Run::new(logs.path(), &plans[0].name);
    whole(&run);
    damage(&run.0);
    let state = RunState { state, ending: "run.max_steps reached".into(), seconds: 1.5 };
    let states = BTreeMap::from([(plans[0].name.clone(), state)]);
    let Gathered { results, notes } = Results::gather(&study, &plans, logs.path(), &states);
    let path = format!("{}", logs.path().join(&plans[0].name).display());
    let short = |note: String| note.strip_prefix(&path).unwrap_or_else(|| panic!("{note}")).to_owned();
    let cell = results.rows[0].cells[results.column(column).unwrap()].clone();
    (notes.into_iter().map(short).collect(), cell)
}

fn replace(run: &Path, file: &str, change: impl Fn(Vec<u8>) -> Vec<u8>) {
    let path = run.join(file);
    fs::write(&path, change(fs::read(&path).unwrap())).unwrap();
}

#[test]
fn a_whole_run_has_no_unread_file() {
    assert_eq!(unread(State::Finished, |_| {}), (vec![], text("none")));
}

#[test]
fn metrics_that_end_before_the_event_files_are_named_and_left_out() {
    let evaluated = |run: &Path| {
        Run(run.to_owned()).scalars_at(Some(2), &[("loss/validation", 2, 1.5)]);
    };
    let steps = |state, lines: usize| {
        let damage = |run: &Path| {
            evaluated(run);
            let first =
                |bytes: Vec<u8>| bytes.split_inclusive(|byte| *byte == b'\n').take(lines).flatten().copied().collect();
            replace(run, "metrics.jsonl", first);
        };
        [unread(state, damage).1, cell("steps", state, damage).1]
    };
    let whole = [text("none"), Cell::Number(2.0)];
    assert_eq!(steps(State::Finished, 3), whole);
    // Without the evaluation, without the last step, and empty.
    for lines in 0..3 {
        assert_eq!(steps(State::Finished, lines), [text("metrics.jsonl"), Cell::Missing], "{lines}");
    }
    // It may be writing.
    assert_eq!(steps(State::Stopped, 2), whole);
}

#[test]
fn every_missing_file_of_a_run_that_ended_is_named() {
    for file in ["metrics.jsonl", "findings.jsonl", EVENTS] {
        let remove = |run: &Path| fs::remove_file(run.join(file)).unwrap();
        let name = file.replace(EVENTS, EVENT_FILES);
        let want = (vec![format!("/{name} is missing: its values are left out")], text(&name));
        assert_eq!(unread(State::Finished, remove), want);
        // Successive halving ended it.
        assert_eq!(unread(State::Stopped, remove), want);
        // It may have failed before it wrote the file.
        assert_eq!(unread(State::Failed, remove), (vec![], text("none")));
    }
    let gone = unread(State::Finished, |run| fs::remove_dir_all(run).unwrap());
    assert_eq!(gone, (vec![" is missing: all of its values are left out".into()], text("all")));
}

#[test]
fn a_damaged_line_is_named_and_the_other_lines_are_read() {
    let garbage = |line: usize| {
        move |text: Vec<u8>| {
            let mut lines: Vec<String> = String::from_utf8(text).unwrap().lines().map(str::to_owned).collect();
            lines.insert(line - 1, "\u{0}\u{0}garbage".into());
            (lines.join("\n") + "\n").into_bytes()
        }
    };
    let seen = unread(State::Finished, |run| replace(run, "metrics.jsonl", garbage(2)));
    let note = "/metrics.jsonl has a damaged line, which is left out: line 2";
    assert_eq!(seen, (vec![note.into()], text("metrics.jsonl")));
    let seen = unread(State::Failed, |run| {
        replace(run, "metrics.jsonl", garbage(3));
        replace(run, "metrics.jsonl", garbage(2));
        replace(run, "findings.jsonl", garbage(1));
    });
    let notes = [
        "/metrics.jsonl has 2 damaged lines, which are left out; the first is line 2",
        "/findings.jsonl has a damaged line, which is left out: line 1",
    ];
    assert_eq!(seen, (notes.map(str::to_owned).to_vec(), text("findings.jsonl metrics.jsonl")));
}

#[test]
fn a_run_with_damaged_findings_is_not_called_healthy() {
    assert_eq!(cell("verdict", State::Finished, |_| {}), (vec![], text("healthy")));
    let damage = |run: &Path| fs::write(run.join("findings.jsonl"), "garbage\n").unwrap();
    assert_eq!(cell("verdict", State::Finished, damage).1, Cell::Missing);
}

#[test]
fn a_file_of_a_finished_run_that_ends_too_early_is_named() {
    for file in ["metrics.jsonl", EVENTS] {
        let cut = |run: &Path| replace(run, file, |bytes| bytes[..bytes.len() - 3].to_vec());
        let want = (vec![format!("/{file} ends within an entry: the run wrote more")], text(file));
        assert_eq!(unread(State::Finished, cut), want);
        assert_eq!(unread(State::Stopped, cut), (vec![], text("none")));
    }
    let (notes, _) = unread(State::Finished, |run| fs::write(run.join(EVENTS), "").unwrap());
    assert_eq!(notes, [format!("/{EVENTS} ends within an entry: the run wrote more")]);
}

#[test]
fn a_damaged_event_file_is_named_once() {
    // The first byte of the data of the last two records. A record has its length, a checksum, the data, and a checksum.
    let seen = unread(State::Finished, |run| {
        replace(run, EVENTS, |mut bytes| {
            let (mut start, mut data) = (0, Vec::new());
            while start < bytes.len() {
                data.push(start + 12);
                let length = u64::from_le_bytes(bytes[start..start + 8].try_into().unwrap());
                start += 16 + usize::try_from(length).unwrap();
            }
            data.iter().rev().take(2).for_each(|place| bytes[*place] ^= 1);
            bytes
        });
    });
    assert_eq!((seen.0.len(), &seen.1), (1, &text(EVENTS)), "{:?}", seen.0);
    let start = format!("/{EVENTS} has damaged data in the record at byte ");
    assert!(seen.0[0].starts_with(&start) && seen.0[0].ends_with(" (1 more error of this kind)"), "{:?}", seen.0);
}

#[test]
fn a_page_and_the_notes_of_the_output_name_each_damaged_file_once() {
    let (folder, study) = study("[[charts]]\ntitle = \"Slope\"\nkind = \"curves\"\ny = \"gradients/depth_slope\"");
    let plans = study.plans();
    let run = Run::new(folder.path(), &plans[0].name);
    whole(&run);
    replace(&run.0, EVENTS, |mut bytes| {
        let last = bytes.len() - 5;
        bytes[last] ^= 1;
        bytes
    });
    let gathered = Results::gather(&study, &plans, folder.path(), &BTreeMap::new());
    assert_eq!(gathered.notes.len(), 1, "{:?}", gathered.notes);
    let opened = gradwatch_events::disk::Folder::open(folder.path()).unwrap();
    let notes = crate::write_study(&opened, &study, &gathered, &[]).unwrap();
    // The run has no config and no lock, so it is no run folder for the HParams page.
    assert!(notes.len() == 1 && notes[0].contains("is not on the HParams page: "), "{notes:?}");
    let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
    for note in gathered.notes.iter().chain(&notes) {
        assert_eq!(page.matches(&format!("<li>{note}</li>")).count(), 1, "{note}");
    }
}
