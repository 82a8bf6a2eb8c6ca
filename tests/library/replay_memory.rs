//! Memory for the files of a long run: no more than for a short one.

use std::{iter, path::Path};

use gradwatch::{
    diagnosis::{Diagnosis, Subject},
    events::SummaryWriter,
    replay::{Replay, ReplayEvent},
    report::Course,
};

const LAYERS: [&str; 4] = ["layers.0", "layers.1", "layers.2", "layers.3"];

/// Writes a run with every kind of event: spikes; vanishing, zero, and non-finite gradients; loss jumps and increases;
/// steps out of order; and evaluations by epoch that get worse.
fn write(folder: &Path, steps: u64) {
    let writer = SummaryWriter::create(folder).unwrap();
    for step in 0..steps {
        let phase = step % 512;
        let norm = match phase {
            100..104 => 1e6,
            200..204 => f64::NAN,
            _ => 1.0 + (phase % 7) as f64,
        };
        let loss = if phase > 300 { 40.0 + 30.0 * (phase % 2) as f64 } else { 2.3 };
        let of_model = [("train/loss".to_owned(), loss), ("train/grad_norm".to_owned(), norm), ("lr".to_owned(), 0.1)];
        let of_layers = LAYERS.iter().zip(0..).flat_map(|(layer, depth)| {
            let size = norm * 1e-3f64.powi(3 - depth);
            let weight = if phase < 50 { 0.0 } else { size };
            [(format!("gradients/{layer}.weight"), weight), (format!("gradients/{layer}.bias"), size)]
        });
        writer.scalars(step ^ u64::from(step & 64 != 0), of_model.into_iter().chain(of_layers)).unwrap();
        if step % 16 == 15 {
            let worse = 0.1 + step as f64 / steps as f64;
            writer.scalars(step / 16, [("val/loss", worse), ("train_acc_epoch", 0.99), ("val/acc", 0.1)]).unwrap();
        }
        if step % 64 == 0 {
            writer.scalar(format!("unknown/{}", step / 64), step, 1.0).unwrap();
        }
    }
    writer.close().unwrap();
}

/// The sizes of all data kept about a run, as text, and the number of rules with findings.
fn kept(steps: u64) -> ([usize; 3], usize) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), steps);
    let mut replay = Replay::open(folder.path(), &[]).unwrap();
    let (mut diagnosis, mut course, mut seen) = (Diagnosis::default(), Course::default(), 0);
    let facts = replay.facts.clone();
    let subject = Subject { config: None, facts: &facts };
    let each = |moment| match moment {
        ReplayEvent::Restart => panic!("it begins once"),
        ReplayEvent::Step(sample) => {
            seen += 1;
            diagnosis.judge(&sample.observe(), &subject);
            course.add(&sample.observe());
        }
        ReplayEvent::Evaluation(evaluation) => {
            diagnosis.judge_evaluation(&evaluation, &subject);
            course.add_evaluation(&evaluation);
        }
    };
    replay.play(each).unwrap();
    assert_eq!(seen, steps);
    let text = |value: serde_json::Result<String>| value.unwrap().len();
    let notes = replay.notes.iter().map(String::len).sum();
    let spoken = diagnosis
        .findings()
        .iter()
        .flat_map(|finding| iter::once(finding.rule).chain(finding.symptoms.iter().map(|(rule, _)| *rule)));
    let rules = spoken.collect::<Vec<_>>().len();
    ([text(serde_json::to_string(&diagnosis)), text(serde_json::to_string(&course)), notes], rules)
}

#[test]
fn a_run_eight_times_as_long_leaves_as_much_in_memory() {
    // Series halve at powers of two, of steps and of evaluations: both runs leave them equally full.
    let (short, few) = kept(16_384);
    let (long, rules) = kept(131_072);
    assert!(few >= 5 && rules >= few, "{few} and {rules} rules have spoken");
    for (short, long) in short.into_iter().zip(long) {
        // Later steps have more digits.
        assert!(short > 0 && long * 10 < short * 13, "{short} and {long} bytes");
    }
}
