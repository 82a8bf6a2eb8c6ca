//! Tests that read data-parallel runs.

use std::{fs, io::Write, path::Path};

use gradwatch_events::{JsonLines, SummaryWriter};

use super::*;
use crate::{
    Assessment, assess,
    diagnosis::{Diagnosis, Finding, Observation, RankFacts, RuleName, Subject},
    report,
    statistics::{RankPlace, RankStatistics, RankStep, WeightMismatch},
    telemetry::{write_facts, write_ranks},
};

const STEPS: u64 = 450;

fn facts(world: usize) -> Facts {
    let place = |rank: usize| RankFacts { host: format!("node-{}", rank / 8), device: format!("cuda:{}", rank % 8) };
    Facts { classes: 10, ranks: (0..world).map(place).collect(), ..Facts::default() }
}

/// A step of a run in which the last rank but one is slow, has spikes from step 100 on, and a NaN gradient at step 30; the
/// gradients contradict each other; and the weights differ at steps 120 and 440. Rank 0 has no images at every tenth step.
fn statistics(world: usize, step: u64) -> RankStatistics {
    let odd = world - 2;
    let rank = |rank: usize| {
        let images = if rank == 0 && step % 10 == 9 { 0 } else { 8 };
        let is_nan = rank == odd && step == 30;
        let factor = if rank == odd && step >= 100 { 30.0 } else { 1.0 };
        let noise = 1.0 + 0.1 * ((step as usize * 7 + rank * 3) % 11) as f64 / 11.0;
        RankStep {
            images,
            norm: if images == 0 || is_nan { f64::NAN } else { factor * noise },
            loss: if images == 0 { f64::NAN } else { 2.25 * noise },
            busy_secs: if rank == odd { 0.375 } else { 0.25 },
            loading_secs: if rank == odd { 0.125 } else { 0.0 },
            wait_secs: if rank == odd { 0.0 } else { 0.125 },
        }
    };
    let place =
        || RankPlace { rank: odd, parameter: "fc.weight".into(), micro_batches: vec![1], images: vec![3, 70_000] };
    let mismatch = || WeightMismatch { parameter: "fc.bias".into(), ranks: vec![odd], is_certain: true, parameters: 2 };
    RankStatistics {
        ranks: (0..world).map(rank).collect(),
        cosine: Some(-0.5 / (world - 1) as f64),
        non_finite: (step == 30).then(place),
        mismatch: matches!(step, 120 | 440).then(mismatch),
    }
}

/// A line of metrics.jsonl. The kind comes first.
#[derive(serde::Serialize)]
struct Line<'a, P> {
    kind: &'static str,
    step: u64,
    #[serde(flatten)]
    place: &'a P,
}

/// Writes the run as the trainer does. Returns the findings of the run itself.
fn write(folder: &Path, world: usize) -> Vec<Finding> {
    let (facts, mut diagnosis) = (facts(world), Diagnosis::default());
    let subject = Subject { config: None, facts: &facts };
    let mut metrics = JsonLines::open(folder.join("metrics.jsonl")).unwrap();
    write_facts(&mut metrics, &facts).unwrap();
    let writer = SummaryWriter::create(folder).unwrap();
    for step in 0..STEPS {
        let ranks = statistics(world, step);
        let (loss, total_norm) = (2.25, if step == 30 { f64::NAN } else { 1.0 });
        writer.scalars(step, [("loss", loss), ("grad_norm/total", total_norm)]).unwrap();
        write_ranks(&writer, step, &ranks).unwrap();
        if let Some(place) = &ranks.non_finite {
            metrics.write(&Line { kind: "rank_non_finite", step, place }).unwrap();
        }
        if let Some(place) = &ranks.mismatch {
            metrics.write(&Line { kind: "weight_mismatch", step, place }).unwrap();
        }
        let seen = Observation {
            step,
            loss,
            total_norm,
            learning_rate: f64::NAN,
            skipped_in_a_row: u64::from(step == 30),
            ranks: Some(&ranks),
            ..Observation::default()
        };
        diagnosis.judge(&seen, &subject);
    }
    writer.close().unwrap();
    diagnosis.findings().to_vec()
}

/// The findings of the rules on the files of a run, and its steps.
fn read(folder: &Path) -> (Vec<Finding>, Vec<Sample>) {
    let mut replay = Replay::open(folder, &[]).unwrap();
    let (facts, mut diagnosis, mut samples) = (replay.facts.clone(), Diagnosis::default(), Vec::new());
    let subject = Subject { config: None, facts: &facts };
    let each = |event| {
        let ReplayEvent::Step(sample) = event else { panic!("{event:?}") };
        diagnosis.judge(&sample.observe(), &subject);
        samples.push(*sample);
    };
    replay.play(each).unwrap();
    assert_eq!(replay.notes, Vec::<String>::new());
    (diagnosis.findings().to_vec(), samples)
}

#[test]
fn the_findings_of_the_files_are_those_of_the_run_with_few_ranks_and_with_many() {
    for world in [4, 64, 65, 300] {
        let folder = tempfile::tempdir().unwrap();
        let (live, (replayed, _)) = (write(folder.path(), world), read(folder.path()));
        let rules: Vec<RuleName> = live.iter().map(|finding| finding.rule).collect();
        use RuleName::{NonFinite, RankDisagreement, RankSpike, Straggler, WeightMismatch};
        // The spike that was found before is a consequence of the weights that differ.
        assert_eq!(rules, [NonFinite, Straggler, WeightMismatch], "{world} ranks");
        assert_eq!(live[2].symptoms.iter().map(|(rule, _)| *rule).collect::<Vec<_>>(), [RankSpike, RankDisagreement]);
        let odd = world - 2;
        assert!(live.iter().all(|finding| finding.ranks == [odd]), "{live:?}");
        assert_eq!(replayed.len(), live.len(), "{world} ranks: {replayed:?}");
        for (one, other) in live.iter().zip(&replayed) {
            let told = |finding: &Finding| {
                let Finding { rule, severity, layers, ranks, first_step, last_step, cause, symptoms, .. } =
                    finding.clone();
                (rule, severity, layers, ranks, first_step, last_step, cause, symptoms)
            };
            assert_eq!(told(one), told(other), "{world} ranks");
        }
    }
}

#[test]
fn the_report_of_a_run_has_its_ranks_and_a_run_without_their_series_says_so() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 4);
    let Assessment { report, .. } = assess(folder.path()).unwrap();
    let is_about_ranks = |line: &String| line.contains("straggler");
    assert_eq!((report.ranks.len(), report.not_judged.iter().any(is_about_ranks)), (4, false));
    assert!(report::html(&report).contains("<td>node-0</td><td>cuda:2</td><td>8</td><td>0.375</td>"));
    let folder = tempfile::tempdir().unwrap();
    write_facts(&mut JsonLines::open(folder.path().join("metrics.jsonl")).unwrap(), &facts(4)).unwrap();
    let writer = SummaryWriter::create(folder.path()).unwrap();
    writer.scalar("loss", 0, 1.0).unwrap();
    writer.close().unwrap();
    let want = "weight_mismatch, rank_disagreement, rank_spike, straggler: the files lack the statistics of each rank";
    assert!(assess(folder.path()).unwrap().report.not_judged.contains(&want.to_owned()));
}

#[test]
fn statistics_of_ranks_are_read_back_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 3);
    let (_, samples) = read(folder.path());
    assert_eq!(samples.len() as u64, STEPS);
    for (step, sample) in samples.iter().enumerate() {
        // Event files store f32.
        let mut want = statistics(3, step as u64);
        want.cosine = want.cosine.map(|cosine| f64::from(cosine as f32));
        let read = sample.ranks.as_ref().unwrap();
        assert_eq!(read.ranks.len(), 3);
        for (read, want) in read.ranks.iter().zip(&want.ranks) {
            let bits = |rank: &RankStep| {
                let RankStep { images, norm, loss, busy_secs, loading_secs, wait_secs } = *rank;
                (images, [norm, loss, busy_secs, loading_secs, wait_secs].map(|value| (value as f32).to_bits()))
            };
            assert_eq!(bits(read), bits(want), "step {step}");
        }
        assert_eq!((read.cosine, &read.non_finite, &read.mismatch), (want.cosine, &want.non_finite, &want.mismatch));
    }
}

#[test]
fn a_run_with_one_rank_has_no_series_of_ranks_and_an_unknown_name_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let writer = SummaryWriter::create(folder.path()).unwrap();
    let one = RankStatistics { ranks: vec![RankStep::default()], cosine: Some(1.0), ..RankStatistics::default() };
    write_ranks(&writer, 0, &one).unwrap();
    // A ranking loss of another program.
    writer.scalars(0, [("loss", 1.0), ("rank_loss/listwise", 1.0)]).unwrap();
    writer.close().unwrap();
    let (findings, samples) = read(folder.path());
    assert_eq!((findings.len(), samples.len(), samples[0].ranks.as_ref()), (0, 1, None));
}

#[test]
fn lines_about_ranks_that_are_damaged_or_too_many_are_skipped() {
    let mut places = RankPlaces::default();
    let place = statistics(4, 120).mismatch.unwrap();
    let whole = |step: u64| serde_json::to_string(&Line { kind: "weight_mismatch", step, place: &place }).unwrap();
    places.add_line(&whole(0).as_bytes()[..50]);
    places.add_line(b"{\"kind\":\"weight_mismatch\",\"step\":-1}");
    places.add_line(b"{\"kind\":\"rank_non_finite\",\"step\":1}");
    assert_eq!(places, RankPlaces::default());
    (0..2000).for_each(|step| places.add_line(whole(step).as_bytes()));
    let event = |step: u64| {
        let folder = tempfile::tempdir().unwrap();
        let writer = SummaryWriter::create(folder.path()).unwrap();
        writer.scalar("loss", step, 1.0).unwrap();
        writer.close().unwrap();
        let mut file = fs::File::create(folder.path().join("metrics.jsonl")).unwrap();
        (0..2000).for_each(|step| writeln!(file, "{}", whole(step)).unwrap());
        read(folder.path()).1.remove(0).ranks.and_then(|ranks| ranks.mismatch).is_some()
    };
    assert_eq!((event(999), event(1000)), (true, false));
}
