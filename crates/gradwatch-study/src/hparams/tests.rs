use std::{collections::BTreeMap, fs};

use gradwatch_events::{
    Session, SummaryWriter,
    proto::{
        Content, What,
        hparams::{DomainProto, ExperimentProto, HparamsContent, HparamsData, SessionStartProto, ValueKind},
    },
};
use prost::Message;

use super::*;
use crate::{Column, Row};

const PAGE: HparamsPage<'_> =
    HparamsPage { description: "Why?", columns: &["best", "last"], tags: &["accuracy/validation"] };

/// A study of one axis whose runs have an event file, one per (name, axis, state, cells of `best` and `last`).
fn study(folder: &Path, runs: &[(&str, Cell, &str, [Cell; 2])]) -> Results {
    let column = |name: &str, kind| Column { name: name.into(), kind };
    let measures = ["state", "steps", "best", "last", "seconds"].map(|name| column(name, ColumnKind::Measure));
    let mut columns = vec![column("depth", ColumnKind::Axis), column("seed", ColumnKind::Seed)];
    columns.extend(measures);
    let row = |(index, (name, axis, state, [best, last])): (usize, &(&str, Cell, &str, [Cell; 2]))| {
        let path = folder.join(name);
        drop(RunFolder::create(folder, name).unwrap());
        write_run(&path, 1);
        let seed = Cell::Number(index as f64);
        let state = Cell::Text((*state).into());
        let cells = vec![axis.clone(), seed, state, Cell::Number(20.0), best.clone(), last.clone(), Cell::Number(1.5)];
        Row { run: (*name).into(), folder: path, cells }
    };
    let rows = runs.iter().enumerate().map(row).collect();
    Results { columns, rows }
}

fn write_run(folder: &Path, number: u32) {
    let writer = SummaryWriter::create_session(folder, Session { number, step: 0u64.into() }).unwrap();
    writer.scalar("accuracy/validation", 20, 0.5).unwrap();
    writer.close().unwrap();
}

fn number(number: f64) -> Cell {
    Cell::Number(number)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Messages and scalars in the only event file with hyperparameters of a folder.
fn read(folder: &Path) -> (Vec<HparamsContent>, BTreeMap<String, (i64, f32)>) {
    let (mut messages, mut scalars) = (Vec::new(), BTreeMap::new());
    let names: Vec<_> = names(folder).into_iter().filter(|name| is_hparams(name)).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    for event in EventFile::open(folder.join(&names[0])).unwrap().skip(1).map(Result::unwrap) {
        let Some(What::Summary(summary)) = event.what else { panic!("{event:?}") };
        for value in summary.value {
            match value.content {
                Some(Content::SimpleValue(number)) => _ = scalars.insert(value.tag, (event.step, number)),
                _ => {
                    let content = value.metadata.unwrap().plugin_data.unwrap().content;
                    messages.extend(HparamsData::decode(&content[..]).unwrap().data);
                }
            }
        }
    }
    (messages, scalars)
}

fn experiment(folder: &Path) -> ExperimentProto {
    match read(folder).0.remove(0) {
        HparamsContent::Experiment(experiment) => experiment,
        other => panic!("{other:?}"),
    }
}

/// Values of the only axis in the experiment.
fn domain(folder: &Path) -> Vec<ValueKind> {
    match experiment(folder).hparam_infos.remove(0).domain {
        Some(DomainProto::Discrete(list)) => list.values.into_iter().filter_map(|value| value.kind).collect(),
        other => panic!("{other:?}"),
    }
}

fn start(folder: &Path) -> SessionStartProto {
    match read(folder).0.remove(0) {
        HparamsContent::SessionStart(start) => start,
        other => panic!("{other:?}"),
    }
}

#[test]
fn sessions_have_the_axes_the_results_and_the_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let runs = [
        ("a", number(4.0), "finished", [number(0.75), Cell::Missing]),
        ("b", number(8.0), "failed", [number(f64::NAN), number(0.25)]),
        ("c", number(4.0), "stopped", [Cell::Missing, Cell::Missing]),
    ];
    let results = study(path, &runs);
    assert_eq!(write_hparams(path, &results, PAGE).unwrap(), Vec::<String>::new());

    assert_eq!(domain(path), [ValueKind::Number(4.0), ValueKind::Number(8.0)]);
    let experiment = experiment(path);
    assert_eq!((experiment.description.as_str(), experiment.hparam_infos[0].name.as_str()), ("Why?", "depth"));
    let tags: Vec<_> =
        experiment.metric_infos.iter().map(|metric| metric.name.as_ref().unwrap().tag.as_str()).collect();
    assert_eq!(tags, ["study/best", "study/last", "accuracy/validation"]);

    let starts = ["a", "b", "c"].map(|run| start(&path.join(run)));
    assert_eq!(starts.each_ref().map(|start| start.group_name.as_str()), ["depth=4", "depth=8", "depth=4"]);
    assert_eq!(starts[1].hparams["depth"].kind, Some(ValueKind::Number(8.0)));
    assert_eq!(
        experiment.time_created_secs,
        starts.each_ref().map(|start| start.start_time_secs).into_iter().reduce(f64::min).unwrap()
    );
    for (index, (run, status)) in
        [("a", Status::Success), ("b", Status::Failure), ("c", Status::Unknown)].into_iter().enumerate()
    {
        let HparamsContent::SessionEnd(end) = read(&path.join(run)).0.remove(1) else { panic!("{run}") };
        assert_eq!((end.status(), end.end_time_secs), (status, starts[index].start_time_secs + 1.5), "{run}");
    }
    assert_eq!(read(&path.join("a")).1, BTreeMap::from([("study/best".into(), (20, 0.75))]));
    let b = read(&path.join("b")).1;
    assert!(b["study/best"].1.is_nan() && b["study/last"] == (20, 0.25), "{b:?}");
    assert_eq!(read(&path.join("c")).1, BTreeMap::new());
}

#[test]
fn numbers_next_to_text_are_text() {
    let folder = tempfile::tempdir().unwrap();
    let runs = [number(4.0), Cell::Text("deep".into()), Cell::Missing].map(|axis| axis);
    let runs: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .zip(runs)
        .map(|(run, axis)| (run, axis, "finished", [Cell::Missing, Cell::Missing]))
        .collect();
    write_hparams(folder.path(), &study(folder.path(), &runs), PAGE).unwrap();
    assert_eq!(domain(folder.path()), [ValueKind::Text("4".into()), ValueKind::Text("deep".into())]);
    assert_eq!(start(&folder.path().join("a")).hparams["depth"].kind, Some(ValueKind::Text("4".into())));
    assert_eq!(start(&folder.path().join("c")).hparams.len(), 0);
}

#[test]
fn writing_again_replaces_the_files_and_a_resumed_run_has_one_too() {
    let folder = tempfile::tempdir().unwrap();
    let (path, run) = (folder.path(), folder.path().join("a"));
    let mut results = study(path, &[("a", number(4.0), "stopped", [number(0.5), Cell::Missing])]);
    let files = || {
        [path, &run].map(|folder| {
            names(folder).iter().map(|name| (name.clone(), fs::read(folder.join(name)).ok())).collect::<Vec<_>>()
        })
    };
    write_hparams(path, &results, PAGE).unwrap();
    let once = files();
    write_hparams(path, &results, PAGE).unwrap();
    assert_eq!(files(), once);

    write_run(&run, 2);
    results.rows[0].cells[4] = number(0.625);
    write_hparams(path, &results, PAGE).unwrap();
    assert_eq!(read(&run).1["study/best"], (20, 0.625));
    let names = names(&run);
    let events: Vec<_> = names.iter().filter(|name| name.contains("tfevents")).collect();
    // TensorBoard reads files in the order of their names.
    assert!(events.len() == 3 && is_session(events[1]) && is_hparams(events[2]), "{events:?}");
}

#[test]
fn a_run_without_events_and_a_run_in_use_are_left_out_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let runs = ["none", "empty", "held", "good"].map(|run| (run, number(4.0), "failed", [number(0.5), Cell::Missing]));
    let results = study(path, &runs);
    fs::remove_dir_all(path.join("none")).unwrap();
    names(&path.join("empty"))
        .iter()
        .filter(|name| is_session(name))
        .for_each(|name| fs::remove_file(path.join("empty").join(name)).unwrap());
    let held = RunFolder::open(&path.join("held")).unwrap();
    let left_out = write_hparams(path, &results, PAGE).unwrap();
    drop(held);
    let starts = left_out.iter().map(|line| line.split(':').next().unwrap()).collect::<Vec<_>>();
    // A run that has not started is not worth a word.
    assert_eq!(starts, ["empty", "held"].map(|run| format!("{run} is not on the HParams page")));
    assert!(left_out[0].contains("its event file is missing"), "{left_out:?}");
    assert!(left_out[1].contains("is in use by process"), "{left_out:?}");
    assert_eq!(read(&path.join("good")).1["study/best"], (20, 0.5));
}
