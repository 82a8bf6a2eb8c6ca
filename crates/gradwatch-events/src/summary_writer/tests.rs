use std::{
    collections::HashMap,
    os::unix::fs::FileTypeExt,
    panic::{self, AssertUnwindSafe},
    time::{Duration, Instant},
};

use super::*;
use crate::{
    EventFile,
    proto::{Content, Event, Summary, What},
};

/// (wall time, tag, step, value) of each scalar in a file whose first entry is the version.
fn scalars(path: &Path) -> Vec<(f64, String, i64, f32)> {
    let mut events = EventFile::open(path).unwrap().map(Result::unwrap);
    assert_eq!(events.next().unwrap().what, Some(What::FileVersion("brain.Event:2".into())));
    let scalar = |event: Event| match event.what {
        Some(What::Summary(Summary { mut value })) => match value.pop().map(|value| (value.tag, value.content)) {
            Some((tag, Some(Content::SimpleValue(number)))) => (event.wall_time, tag, event.step, number),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    events.map(scalar).collect()
}

fn full_disk() -> SummaryWriter {
    // If the device were missing, opening it would create a regular file, which never fills up.
    let is_device = std::fs::metadata("/dev/full").is_ok_and(|found| found.file_type().is_char_device());
    assert!(is_device, "/dev/full is no device here, want the one that is always full (mknod /dev/full c 1 7)");
    let file = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    SummaryWriter::over("/dev/full".into(), file).unwrap()
}

#[test]
fn a_file_is_named_as_tensorboard_wants_it() {
    let logdir = tempfile::tempdir().unwrap();
    let before = WallTime::now().as_secs() as u64;
    let first = SummaryWriter::create(logdir.path().join("a/b")).unwrap();
    let second = SummaryWriter::create(logdir.path().join("a/b")).unwrap();
    assert_ne!(first.path(), second.path());
    let name = first.path().file_name().unwrap().to_str().unwrap();
    let secs = name.strip_prefix("events.out.tfevents.").unwrap().split('.').next().unwrap();
    assert_eq!(secs.len(), 10);
    assert!((before..=WallTime::now().as_secs() as u64).contains(&secs.parse().unwrap()));
    assert_eq!(name.rsplit('.').nth(1), Some(std::process::id().to_string().as_str()));
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let error = SummaryWriter::create("/proc/gradwatch").unwrap_err().to_string();
    assert!(error.starts_with("/proc/gradwatch cannot be created: "), "{error}");
}

#[test]
fn flush_puts_everything_on_the_disk_and_writing_goes_on() {
    let logdir = tempfile::tempdir().unwrap();
    let writer = SummaryWriter::create(logdir.path()).unwrap();
    for step in 0..3u64 {
        writer.scalar("a", step, step as f64).unwrap();
        writer.flush().unwrap();
        assert_eq!(scalars(writer.path()).len() as u64, step + 1);
    }
}

#[test]
fn what_is_queued_reaches_the_file_by_itself() {
    let logdir = tempfile::tempdir().unwrap();
    let writer = SummaryWriter::create(logdir.path()).unwrap();
    writer.scalar("a", 1, 1.0).unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    // The first entry is the version.
    while EventFile::open(writer.path()).unwrap().map_while(Result::ok).count() < 2 {
        assert!(Instant::now() < deadline, "the entry is not in the file after two minutes");
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(scalars(writer.path()).len(), 1);
}

#[test]
fn entries_carry_the_time_at_which_they_were_queued() {
    let logdir = tempfile::tempdir().unwrap();
    let writer = SummaryWriter::create(logdir.path()).unwrap();
    let before = WallTime::now().as_secs();
    writer.scalar("now", 1, 1.0).unwrap();
    let after = WallTime::now().as_secs();
    writer.value_at(WallTime::from_secs(12.5).unwrap(), "then", 2, Value::Scalar(1.0)).unwrap();
    writer.flush().unwrap();
    let scalars = scalars(writer.path());
    assert!((before..=after).contains(&scalars[0].0));
    assert_eq!(scalars[1].0, 12.5);
}

#[test]
fn threads_that_share_a_writer_lose_nothing_and_keep_their_order() {
    const THREADS: u64 = 4;
    const STEPS: u64 = 10_000;
    let logdir = tempfile::tempdir().unwrap();
    let writer = SummaryWriter::create(logdir.path()).unwrap();
    let path = writer.path().to_owned();
    thread::scope(|scope| {
        for index in 0..THREADS {
            let writer = &writer;
            scope.spawn(move || {
                let tag = Tag::from(format!("thread/{index}"));
                (0..STEPS).for_each(|step| writer.scalar(&tag, step, (step * THREADS + index) as f64).unwrap());
            });
        }
    });
    writer.close().unwrap();
    let mut steps: HashMap<String, Vec<i64>> = HashMap::new();
    for (_, tag, step, number) in scalars(&path) {
        assert_eq!(format!("thread/{}", number as u64 % THREADS), tag);
        steps.entry(tag).or_default().push(step);
    }
    let want: Vec<i64> = (0..STEPS as i64).collect();
    assert_eq!(steps.len(), THREADS as usize);
    assert!(steps.values().all(|steps| *steps == want));
}

#[test]
fn a_panic_loses_nothing() {
    let logdir = tempfile::tempdir().unwrap();
    let writer = SummaryWriter::create(logdir.path()).unwrap();
    let path = writer.path().to_owned();
    let unwound = panic::catch_unwind(AssertUnwindSafe(move || {
        (0..5000u64).for_each(|step| writer.scalar("a", step, 0.0).unwrap());
        panic!("a panic on purpose");
    }));
    assert!(unwound.is_err());
    assert_eq!(scalars(&path).len(), 5000);
}

#[test]
fn a_full_disk_is_told_once_and_again_by_close_and_blocks_nobody() {
    let writer = full_disk();
    let entries = 4 * QUEUE_LENGTH as u64;
    let mut told = Vec::new();
    for step in 0..entries {
        told.extend(writer.scalar("a", step, 0.0).err());
    }
    let flushed = writer.flush().unwrap_err();
    assert!(writer.scalar("a", entries, 0.0).is_ok());
    let closed = writer.close().unwrap_err();
    let refused = told.len() as u64;
    assert!(refused <= 1, "{told:?}");
    assert!(told.iter().all(|error| matches!(error, EventsError::Write { .. })), "{told:?}");
    assert!(matches!(flushed, EventsError::Incomplete { lost, .. } if lost == entries - refused), "{flushed}");
    assert!(matches!(closed, EventsError::Incomplete { lost, .. } if lost == entries - refused + 1), "{closed}");
    assert!(closed.to_string().contains("No space left on device"), "{closed}");
}

#[test]
fn a_full_disk_is_told_by_the_next_call() {
    let writer = full_disk();
    writer.scalar("a", 1, 0.0).unwrap();
    // When this returns, the write has failed, but nothing has reported it yet.
    let _ = writer.position().wait();
    let error = writer.scalar("a", 2, 0.0).unwrap_err().to_string();
    assert!(error.starts_with("/dev/full cannot be written: No space left on device"), "{error}");
    assert!(writer.scalar("a", 3, 0.0).is_ok());
}
