//! Tests that read different kinds of runs.

use std::{fs, io::Write, path::Path};

use gradwatch_events::{
    EventFile, JsonLines, Numbers, SummaryWriter,
    proto::{Content, Event, Summary, SummaryValue, What},
    tf_record::append_record,
};
use prost::Message;

use super::*;
use crate::{
    diagnosis::ParameterFacts,
    statistics::{
        Distribution, GradientStatistics, LayerStatistics, LogHistogram, ParameterUpdate, RankStatistics, RankStep,
        Slope, TensorStatistics,
    },
    telemetry::{self, write_facts},
};

/// Writes an event file of scalars (step, tag, value), in this order. The name starts with the wall time of all events.
pub(super) fn write(folder: &Path, name: &str, values: &[(i64, &str, f32)]) {
    fs::create_dir_all(folder).unwrap();
    let mut bytes = Vec::new();
    let wall_time = name.split('.').next().unwrap().parse().unwrap();
    for &(step, tag, number) in values {
        let value = SummaryValue { tag: tag.into(), metadata: None, content: Some(Content::SimpleValue(number)) };
        let what = Some(What::Summary(Summary { value: vec![value] }));
        append_record(&mut bytes, &Event { wall_time, step, what }.encode_to_vec());
    }
    fs::write(folder.join(format!("events.out.tfevents.{name}")), bytes).unwrap();
}

/// Summarizes a run: `sSTEP=loss`, `eSTEP=training loss/validation loss`, and `|` for a restart; then returns its
/// notes.
pub(super) fn summary(folder: &Path) -> (String, Vec<String>) {
    let mut replay = Replay::open(folder, &[]).unwrap();
    let mut words = Vec::new();
    let each = |moment| {
        words.push(match moment {
            ReplayEvent::Restart => "|".to_owned(),
            ReplayEvent::Step(sample) => format!("s{}={}", sample.step, sample.loss),
            ReplayEvent::Evaluation(seen) => format!("e{}={}/{}", seen.step, seen.train_loss, seen.validation_loss),
        });
    };
    replay.play(each).unwrap();
    (words.join(" "), replay.notes)
}

#[test]
fn an_evaluation_has_the_mean_of_the_steps_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let values = [(0, "Loss/train", 3.0), (1, "Loss/train", 1.0), (2, "Loss/val", 2.5), (2, "Loss/train", 0.5)];
    write(folder.path(), "1.host", &values);
    assert_eq!(summary(folder.path()), ("s0=3 s1=1 e2=2/2.5 s2=0.5".into(), vec![]));
}

#[test]
fn values_of_a_step_may_come_a_few_steps_late_and_later_ones_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut values: Vec<(i64, &str, f32)> = (0..30).map(|step| (step, "loss", step as f32)).collect();
    values.insert(5, (2, "val_loss", 7.0));
    values.push((3, "loss", 7.0));
    write(folder.path(), "1.host", &values);
    let (said, notes) = summary(folder.path());
    assert!(said.starts_with("s0=0 s1=1 e2=0.5/7 s2=2 s3=3"), "{said}");
    assert_eq!(notes, ["1 value came more than 8 steps late and was skipped"]);
}

#[test]
fn a_second_run_in_the_folder_takes_the_place_of_the_first_and_a_resumed_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "1.host", &[(0, "loss", 9.0), (1, "loss", 8.0)]);
    write(folder.path(), "2.host", &[(0, "loss", 3.0), (1, "loss", 2.0), (2, "loss", 1.0)]);
    let (said, notes) = summary(folder.path());
    assert!(said.ends_with("| s0=3 s1=2 s2=1"), "{said}");
    assert!(notes[0].contains("starts again at step 0: the files before it belong to another run"), "{notes:?}");

    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "1.host", &[(0, "loss", 9.0), (1, "loss", 8.0), (2, "loss", 7.0)]);
    write(folder.path(), "2.host", &[(1, "loss", 3.0), (2, "loss", 2.0), (3, "loss", 1.0)]);
    let (said, notes) = summary(folder.path());
    assert_eq!(said, "s0=9 s1=8 s2=7 s1=3 s2=2 s3=1");
    assert!(notes[0].contains("starts at step 1, but the previous file ends at step 2"), "{notes:?}");

    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "1.host", &[(0, "loss", 9.0), (1, "loss", 8.0)]);
    write(folder.path(), "2.host", &[(2, "loss", 3.0)]);
    assert_eq!(summary(folder.path()), ("s0=9 s1=8 s2=3".into(), vec![]));
}

#[test]
fn what_is_numbered_by_epochs_stands_where_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut values = Vec::new();
    for step in 0..60 {
        values.push((step, "loss", step as f32));
        if step % 20 == 19 {
            let epoch = step / 20;
            values.extend([(epoch, "val_loss", 0.5), (epoch, "train_loss_epoch", 0.25), (epoch, "lr", 0.1)]);
        }
    }
    write(folder.path(), "1.host", &values);
    let (said, notes) = summary(folder.path());
    let evaluations: Vec<&str> = said.split(' ').filter(|word| word.starts_with('e')).collect();
    assert_eq!(evaluations, ["e20=0.25/0.5", "e40=0.25/0.5", "e60=0.25/0.5"]);
    assert!(said.contains("s19=19 e20=0.25/0.5 s20=20") && said.ends_with("s59=59 e60=0.25/0.5"), "{said}");
    let want = "9 values are numbered by epochs or came late, and are placed at the step of their writing";
    assert_eq!(notes, [want]);
}

#[test]
fn a_folder_of_runs_is_no_run_and_the_error_names_one_of_them() {
    let folder = tempfile::tempdir().unwrap();
    for run in ["b", "a"] {
        fs::create_dir(folder.path().join(run)).unwrap();
        write(&folder.path().join(run), "1.host", &[(0, "loss", 1.0)]);
    }
    // A study writes the columns of the HParams page next to its runs.
    write(folder.path(), "0000000000.hparams", &[]);
    assert!(event_files(folder.path()).unwrap().is_empty());
    let error = Replay::open(folder.path(), &[]).unwrap_err().to_string();
    let path = folder.path().display();
    assert_eq!(
        error,
        format!("{path} contains no run itself, but 2 runs in its subfolders; want one of them, such as {path}/a")
    );
}

#[test]
fn two_writers_of_one_run_in_one_folder_are_one_run_and_two_of_the_same_tags_are_two() {
    let folder = tempfile::tempdir().unwrap();
    let losses: Vec<(i64, &str, f32)> = (0..3).map(|step| (step, "loss", 1.0)).collect();
    write(folder.path(), "1.host", &losses);
    write(folder.path(), "1.other", &[(0, "val_loss", 4.0), (2, "val_loss", 3.0)]);
    assert_eq!(summary(folder.path()), ("e0=NaN/4 s0=1 s1=1 e2=1/3 s2=1".into(), vec![]));

    write(folder.path(), "1.other", &[(0, "loss", 4.0), (1, "loss", 3.0)]);
    let (said, notes) = summary(folder.path());
    assert_eq!((said.as_str(), notes.len()), ("| s0=4 s1=3", 1));
}

#[test]
fn steps_that_fall_are_handed_out_in_bounded_memory() {
    let facts = Facts::default();
    for towards in [1i64, -1] {
        let (mut position, mut most) = (Position::new(&facts, false), 0);
        for step in 0..50_000 {
            let step = (25_000 + towards * (step - 25_000)) as u64;
            position.add(step, Role::Loss, 0, Numbers::Scalar(1.0));
            position.add(step / 100, Role::ValidationLoss, 0, Numbers::Scalar(1.0));
            if let Some(before) = position.move_to(step) {
                position.pass_on(before, &facts, &mut |_| ());
            }
            position.make_room(&facts, &mut |_| ());
            most = most.max(position.held());
        }
        // In order, only eight steps and the values written next to them are open.
        assert!(if towards == 1 { most < 50 } else { most <= 1100 }, "{towards}: {most}");
    }
}

#[test]
fn folders_of_training_and_validation_side_by_side_are_one_run() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("train"), "1.host", &[(0, "epoch_loss", 2.0), (1, "epoch_loss", 1.0)]);
    write(&folder.path().join("validation"), "2.host", &[(0, "epoch_loss", 2.5), (1, "epoch_loss", 1.5)]);
    assert_eq!(runs(folder.path()).unwrap(), [folder.path()]);
    assert_eq!(summary(folder.path()), ("e0=2/2.5 e1=1/1.5".into(), vec![]));
}

#[test]
fn a_second_run_in_folders_of_its_parts_takes_the_place_of_the_first_once() {
    let folder = tempfile::tempdir().unwrap();
    for (part, at) in [("train", 0.0), ("val", 0.5)] {
        let path = folder.path().join(part);
        write(&path, "1.host", &[(0, "epoch_loss", 9.0 + at), (1, "epoch_loss", 8.0 + at)]);
        write(&path, "2.host", &[(0, "epoch_loss", 2.0 + at), (1, "epoch_loss", 1.0 + at)]);
    }
    let (said, notes) = summary(folder.path());
    assert_eq!((said.as_str(), notes.len()), ("| e0=2/2.5 e1=1/1.5", 1), "{notes:?}");
}

#[test]
fn a_torn_end_is_said_and_damage_costs_its_own_record() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "1.host", &[(0, "loss", 3.0), (1, "loss", 2.0), (2, "loss", 1.0)]);
    let path = folder.path().join("events.out.tfevents.1.host");
    let mut bytes = fs::read(&path).unwrap();
    let record = bytes.len() / 3;
    bytes[record + 14] ^= 1;
    bytes.truncate(bytes.len() - 3);
    fs::write(&path, bytes).unwrap();
    let (said, notes) = summary(folder.path());
    assert_eq!(said, "s0=3");
    assert!(notes[0].contains("damaged data in the record"), "{notes:?}");
    assert!(notes[1].contains("ends within a record: it is still being written, or was cut off"), "{notes:?}");
}

#[test]
fn much_damage_is_not_much_to_read() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "1.host", &(0..100).map(|step| (step, "loss", 1.0)).collect::<Vec<_>>());
    let path = folder.path().join("events.out.tfevents.1.host");
    let mut bytes = fs::read(&path).unwrap();
    // The records of steps 0 to 99 have the same length, except step 0, which omits its number.
    let (first, each) = (bytes.len() % 99, bytes.len() / 99);
    let first = if first < each / 2 { first + each } else { first };
    let length = (bytes.len() - first) / 99;
    (0..50).for_each(|record| bytes[first + record * length + 14] ^= 1);
    fs::write(&path, bytes).unwrap();
    let (_, notes) = summary(folder.path());
    assert_eq!(notes.len(), Replay::NOTES + 1, "{notes:?}");
    assert_eq!(notes.last().unwrap(), "30 more errors of this kind");
}

#[test]
fn nothing_to_read_is_said_with_what_was_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let error = runs(folder.path()).unwrap_err().to_string();
    assert!(error.contains("contain no event files") && error.contains("logs/NAME"), "{error}");
    let error = runs(&folder.path().join("none")).unwrap_err().to_string();
    assert!(error.contains("want a run folder"), "{error}");
    write(folder.path(), "1.host", &[(0, "temperature", 40.0)]);
    let error = Replay::open(folder.path(), &[]).unwrap().play(|_| ()).unwrap_err().to_string();
    assert!(error.contains("its only tag is not known (temperature)") && error.contains("--tag loss="), "{error}");
    let mut file = fs::File::create(folder.path().join("events.out.tfevents.1.host")).unwrap();
    file.write_all(b"this is no event file, whatever its name says").unwrap();
    assert!(Replay::open(folder.path(), &[]).unwrap().play(|_| ()).is_err());
}

#[test]
fn what_is_not_finite_is_handed_out_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "1.host",
        &[(0, "loss", f32::NAN), (1, "loss", f32::INFINITY), (2, "loss", 1.0), (-1, "loss", 1.0)],
    );
    assert_eq!(summary(folder.path()).0, "s0=NaN s1=inf s2=1");
}

#[test]
fn a_run_of_this_program_reads_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("config.toml"),
        "run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"",
    )
    .unwrap();
    let start = r#"{"kind":"start","classes":3,"class_counts":[1,2,3],"batch_size":8,"steps_per_epoch":5,"channels":[],"parameters":[{"name":"b.weight","shape":[2,3],"mean":0.0,"std":1.0}]}"#;
    fs::write(folder.path().join("metrics.jsonl"), format!("{start}\n")).unwrap();
    let writer = SummaryWriter::create(folder.path()).unwrap();
    writer.scalar("loss/step", 0, 2.0).unwrap();
    writer.scalar("grad_norm/total", 0, 5.0).unwrap();
    writer.scalar("grad_norm/b.weight", 0, 3.0).unwrap();
    writer.scalar("loss/train", 1, 1.5).unwrap();
    writer.scalar("loss/validation", 1, 1.25).unwrap();
    writer.close().unwrap();
    let mut replay = Replay::open(folder.path(), &[]).unwrap();
    let mut moments = Vec::new();
    replay.play(|moment| moments.push(moment)).unwrap();
    assert_eq!((replay.facts.classes, replay.config.is_some(), &replay.notes), (3, true, &vec![]));
    let [ReplayEvent::Step(sample), ReplayEvent::Evaluation(evaluation)] = &moments[..] else { panic!("{moments:?}") };
    assert_eq!((sample.loss, sample.total_norm), (2.0, 5.0));
    let grads = sample.gradients.as_ref().unwrap();
    assert_eq!((grads.parameters[0].elements, grads.missing.len()), (6, 0));
    assert_eq!((evaluation.step, evaluation.train_loss, evaluation.validation_loss), (1, 1.5, 1.25));
}

#[test]
fn a_loop_of_ones_own_is_read_by_the_tags_and_the_facts_that_the_library_writes() {
    let folder = tempfile::tempdir().unwrap();
    let parameter = |name: &str| ParameterFacts { name: name.into(), shape: vec![4], mean: 0.0, std: 1.0 };
    let parameters = ["a.bias", "b.bias", "outside.bias"].map(parameter).to_vec();
    let facts = Facts { classes: 3, parameters, ..Facts::default() };
    write_facts(&mut JsonLines::open(folder.path().join("metrics.jsonl")).unwrap(), &facts).unwrap();
    let values = [
        (0, "gradients/rms_p50", 1.0),
        (0, "grad_norm/a.bias", 2.0),
        (0, "grad_norm/b.bias", 6.0),
        (0, "loss/train", 1.5),
        (0, "accuracy/train", 0.5),
        (0, "update_norm/a.bias", 0.0),
        (0, "update_ratio/a.bias", 0.0),
        (1, "accuracy/validation", 0.25),
    ];
    write(folder.path(), "1.host", &values);
    let mut replay = Replay::open(folder.path(), &[]).unwrap();
    let mut moments = Vec::new();
    replay.play(|moment| moments.push(moment)).unwrap();
    assert_eq!((&replay.facts, replay.config.is_none()), (&facts, true));
    // A scalar is not a histogram.
    assert!(!replay.roles.contains(&Role::GradHistogram));
    let [ReplayEvent::Step(sample), ReplayEvent::Evaluation(evaluation)] = &moments[..] else { panic!("{moments:?}") };
    assert_eq!((sample.loss, sample.updates[0].norm), (1.5, 0.0));
    assert_eq!(sample.gradients.as_ref().unwrap().missing, ["outside.bias".into()]);
    assert_eq!(sample.depth_profile.as_ref().unwrap().layers, [("a".into(), 1.0), ("b".into(), 3.0)]);
    assert_eq!((evaluation.train_loss, evaluation.train_accuracy, evaluation.validation_accuracy), (1.5, 0.5, 0.25));
}

#[test]
fn every_tag_of_the_telemetry_is_read_back_with_its_role() {
    let folder = tempfile::tempdir().unwrap();
    let writer = SummaryWriter::create(folder.path()).unwrap();
    let distribution = Distribution {
        mean: 0.5,
        std: 0.5,
        zeros: 1,
        denormals: 1,
        nans: 1,
        infinities: 1,
        negative_infinities: 1,
        histogram: LogHistogram { top: 0, negative: vec![], positive: vec![2] },
    };
    let tensor = TensorStatistics {
        name: "a.weight".into(),
        elements: 8,
        norm: 2.0,
        max_abs: 1.0,
        distribution: Some(distribution),
    };
    let tensors = vec![tensor];
    let gradients = GradientStatistics {
        parameters: tensors.clone(),
        total_norm: 2.0,
        missing: Vec::new(),
        backward_order: Vec::new(),
    };
    let updates = [ParameterUpdate { name: "a.weight".into(), norm: 0.1, update_ratio: 0.05 }];
    let layers = [LayerStatistics {
        layer: "a".into(),
        mean: 0.1,
        rms: 1.0,
        nonpositive_fraction: 0.5,
        saturated_fraction: 0.0,
        dormant_fraction: Some(0.25),
        gradient_rms: Some(0.1),
    }];
    let rank = RankStep { images: 8, norm: 1.0, loss: 1.0, ..RankStep::default() };
    let ranks = RankStatistics { ranks: vec![rank; 2], cosine: Some(0.5), ..RankStatistics::default() };
    let slope = Slope { log2_per_layer: -1.0, standard_error: 0.1, log2_at_input: 0.0 };
    telemetry::write_gradients(&writer, 0, &gradients).unwrap();
    telemetry::write_weights(&writer, 0, &tensors).unwrap();
    telemetry::write_histograms(&writer, telemetry::tags::GRAD_HISTOGRAM, 0, &tensors).unwrap();
    telemetry::write_histograms(&writer, telemetry::tags::PARAM_HISTOGRAM, 0, &tensors).unwrap();
    telemetry::write_updates(&writer, 0, &updates).unwrap();
    telemetry::write_layers(&writer, 0, &layers).unwrap();
    telemetry::write_slope(&writer, 0, &slope).unwrap();
    telemetry::write_ranks(&writer, 0, &ranks).unwrap();
    writer.close().unwrap();
    let path = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let summaries = EventFile::open(path).unwrap().filter_map(|event| match event.unwrap().what {
        Some(What::Summary(summary)) => Some(summary.value),
        _ => None,
    });
    let tags: BTreeSet<String> = summaries.flatten().map(|value| value.tag).collect();
    let without_role = [
        "grad_infinities/a.weight",
        "grad_nans/a.weight",
        "grad_negative_infinities/a.weight",
        "gradients/depth_slope",
        "gradients/depth_slope_error",
        "gradients/rms_p5",
        "gradients/rms_p50",
        "gradients/rms_p95",
        "param_infinities/a.weight",
        "param_nans/a.weight",
        "param_negative_infinities/a.weight",
        "updates/ratio_p5",
        "updates/ratio_p50",
        "updates/ratio_p95",
    ];
    let own = TagPatterns::own();
    let (known, unknown): (Vec<_>, Vec<_>) = tags.iter().partition(|tag| own.meaning(tag).is_some());
    assert_eq!(unknown, without_role);
    let mut roles = BTreeSet::new();
    for tag in &known {
        let (meaning, (group, name)) = (own.meaning(tag).unwrap(), tag.split_once('/').unwrap());
        let want = match tag.as_str() {
            "grad_norm/total" => ("total_norm", ""),
            "ranks/cosine" => ("rank_cosine", ""),
            _ => (group, name),
        };
        assert_eq!((meaning.role.name(), &*meaning.name), want);
        roles.insert(meaning.role);
    }
    // All roles but the twelve of the whole model, of which the total norm and the cosine of the ranks are written.
    assert_eq!(roles.len(), Role::ALL.len() - 10);
}
