//! A rank that fails, is killed, or hangs ends all others, with one line each that names it.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use gradwatch::{checkpoint::newest_whole, libtorch::Store};

use super::{
    comparison::{COMMON, IMAGES, assert_equal},
    team::{Ended, Meeting, RANK, Team, succeed},
};
use crate::harness::{Workplace, checkpoints::MicroBatch, write_photos};

const DATA: i32 = 4;
const RUN: i32 = 6;

/// Most time from the end of a rank to that of all others.
const SOON: Duration = Duration::from_secs(10);

/// Endless, so that only the loss of a rank ends it.
const TOML: &str = r#"
run = { max_epochs = 100000, threads = 1 }
model = { name = "mlp", width = 8, depth = 1 }
optimizer = { name = "sgd", learning_rate = 0.001, accumulation_steps = 4 }
distributed = { start_timeout_seconds = 120, hang_timeout_seconds = 5 }
checkpoint = { every_steps = 20, keep_last = 1 }
monitor = { every_steps = 20 }
"#;

const TRAIN: [&str; 4] = ["train", "small.toml", "--run-name", "run"];

fn workplace() -> Workplace {
    Workplace::new(&format!("{TOML}{IMAGES}"))
}

fn has_steps(run: &Path) -> bool {
    fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default().contains("{\"kind\":\"step\",\"step\":2")
}

/// Starts ranks and waits until they train.
fn training(workplace: &Workplace, world: usize) -> Team {
    let mut team = Team::start(workplace, world, &TRAIN);
    let run = workplace.run_folder("run");
    team.wait_until("steps", |_| has_steps(&run));
    team
}

/// Checks that all ranks but one failed soon after `since`, and returns their errors.
fn all_fail_but(ended: &[Ended], lost: usize, since: Instant) -> Vec<&str> {
    let others = ended.iter().enumerate().filter(|(rank, _)| *rank != lost).map(|(_, ended)| ended);
    let error = |other: &'_ Ended| assert!(other.at.duration_since(since) < SOON, "{ended:#?}");
    others.clone().for_each(error);
    others.map(|other| other.fails(RANK)).collect()
}

#[test]
fn a_killed_rank_is_named_by_all_others() {
    for lost in [1, 0] {
        let workplace = workplace();
        let mut team = training(&workplace, 3);
        let since = Instant::now();
        team.signal(lost, "KILL");
        let ended = team.wait();
        assert_eq!(ended[lost].signal, Some(9));
        for error in all_fail_but(&ended, lost, since) {
            let is_named = error.starts_with(&format!("rank {lost} (")) && error.contains(", cpu)");
            let want =
                if lost == 0 { "which serves the store at 127.0.0.1:" } else { "ended without a message: killed" };
            assert!(is_named && error.contains(want), "{error}");
        }
        let checked = workplace.call(&["checkpoints", "logs/run", "--verify"]);
        assert_eq!(checked.code, Some(0), "{checked:?}");
    }
}

#[test]
fn a_stopped_rank_ends_all_others_after_the_limit() {
    for lost in [1, 0] {
        let workplace = workplace();
        let mut team = training(&workplace, 3);
        let since = Instant::now();
        team.signal(lost, "STOP");
        let others: Vec<usize> = (0..3).filter(|rank| *rank != lost).collect();
        team.wait_for_within(&others, Duration::from_secs(5) + SOON);
        assert!(since.elapsed() > Duration::from_secs(4), "{:?}", since.elapsed());
        // It finds out by itself that nobody is left.
        team.signal(lost, "CONT");
        team.wait_for_within(&[lost], 2 * SOON);
        let ended = team.wait();
        ended[lost].fails(RANK);
        for error in all_fail_but(&ended, lost, since + Duration::from_secs(5)) {
            let is_named = error.starts_with(&format!("rank {lost} ("));
            assert!(is_named && error.ends_with(" has given no sign of life for 5 s"), "{error}");
        }
    }
}

#[test]
fn a_pause_shorter_than_the_limit_has_no_effect() {
    let workplace =
        Workplace::new(&format!("{COMMON}{IMAGES}{}", "model = { name = \"mlp\", width = 8, depth = 1 }\n"));
    let settings = ["run.max_epochs=20", "optimizer.accumulation_steps=4", "checkpoint.every_steps=0"];
    let plain = workplace.train("plain", &settings);
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let arguments: Vec<&str> = TRAIN.into_iter().chain(settings).collect();
    let mut team = Team::start(&workplace, 3, &arguments);
    let run = workplace.run_folder("run");
    team.wait_until("steps", |_| has_steps(&run));
    for rank in 0..3 {
        team.signal(rank, "STOP");
        std::thread::sleep(Duration::from_millis(1200));
        team.signal(rank, "CONT");
    }
    succeed(team.wait());
    assert_equal(&run, &plain, "with pauses");
}

#[test]
fn an_image_that_does_not_decode_on_one_rank_ends_all_of_them_with_its_message() {
    let data =
        "data = { source = \"folder\", path = \"photos\", image_size = 12, batch_size = 4, normalize = \"none\" }\n";
    let workplace = Workplace::new(&format!("{}{data}", TOML.replace("100000", "1")));
    let photos = workplace.path().join("photos");
    write_photos(&photos, 30);
    // The first step tells which rank has which images.
    let mut commands = Meeting::of(2).ranks(&workplace, &["train", "small.toml", "--run-name", "good"]);
    commands.iter_mut().for_each(|command| {
        command.env("RUST_LOG", "gradwatch=trace");
    });
    let good = Team::of(&workplace, commands).wait();
    for (rank, ended) in good.iter().enumerate() {
        let first = ended.stderr.lines().find_map(MicroBatch::of).unwrap().images[0] as usize;
        // Ten images per class, in the order of their names.
        let (class, number) = (first / 10, first % 10 * 3 + first / 10);
        let path = photos.join("train").join(["ant", "bee", "cat"][class]).join(format!("{number:03}.png"));
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, "no image").unwrap();
        let name = format!("bad{rank}");
        let ended = Team::start(&workplace, 2, &["train", "small.toml", "--run-name", &name]).wait();
        let own = ended[rank].fails(DATA);
        assert!(own.contains(&format!("{number:03}.png")), "{own}");
        for error in all_fail_but(&ended, rank, ended[rank].at) {
            let want = format!("rank {rank} (");
            assert!(error.starts_with(&want) && error.contains(", cpu) ended: ") && error.contains(own), "{error}");
        }
        fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn an_error_of_rank_0_before_training_ends_all_ranks() {
    let workplace = workplace();
    fs::create_dir_all(workplace.run_folder("run")).unwrap();
    fs::write(workplace.run_folder("run").join("config.toml"), "").unwrap();
    let ended = Team::start(&workplace, 3, &TRAIN).wait();
    let own = ended[0].fails(RUN);
    assert!(own.contains("logs/run"), "{own}");
    for error in all_fail_but(&ended, 0, ended[0].at) {
        assert!(error.starts_with("rank 0 (") && error.contains(", cpu) ended: ") && error.contains(own), "{error}");
    }
}

#[test]
fn a_full_disk_on_rank_0_ends_all_ranks() {
    let workplace = workplace();
    let arguments = [&TRAIN[..], &["--set", "checkpoint.on_error=stop"]].concat();
    let mut commands = Meeting::of(2).ranks(&workplace, &arguments);
    commands[0].env("GRADWATCH_FAULT", "full 60000");
    let ended = Team::of(&workplace, commands).wait();
    let own = ended[0].fails(10);
    let [told] = all_fail_but(&ended, 0, ended[0].at)[..] else { panic!("{ended:#?}") };
    assert!(told.starts_with("rank 0 (") && told.contains(own), "{told}, not {own}");
}

#[test]
fn steps_without_a_finite_gradient_end_all_ranks() {
    let workplace = workplace();
    let arguments = [&TRAIN[..], &["--set", "optimizer.learning_rate=1e15", "--set", "monitor.every_steps=1"]].concat();
    let ended = Team::start(&workplace, 2, &arguments).wait();
    let own = ended[0].fails(16);
    assert!(own.contains("10 consecutive steps had a gradient that is not finite"), "{own}");
    let [told] = all_fail_but(&ended, 0, ended[0].at)[..] else { panic!("{ended:#?}") };
    assert!(told.contains(own), "{told}, not {own}");
}

#[test]
fn a_finding_that_stops_the_run_has_its_exit_code_on_all_ranks() {
    let workplace = workplace();
    let settings = [
        "optimizer.learning_rate=1000",
        "diagnosis.stop_at=critical",
        "diagnosis.confirm_steps=0",
        "monitor.every_steps=1",
    ];
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let ended = Team::start(&workplace, 2, &TRAIN.into_iter().chain(settings).collect::<Vec<_>>()).wait();
    ended.iter().for_each(|rank| rank.ends(11));
}

#[test]
fn a_signal_to_any_rank_ends_all_of_them_after_the_same_step_with_one_checkpoint() {
    for (rank, signal, code) in [(0, "TERM", 143), (2, "USR1", 75), (1, "INT", 130)] {
        let workplace = workplace();
        let arguments = [&TRAIN[..], &["--set", "monitor.every_steps=1", "--set", "checkpoint.every_steps=0"]].concat();
        let mut commands = Meeting::of(3).ranks(&workplace, &arguments);
        commands.iter_mut().for_each(|command| {
            command.env("RUST_LOG", "gradwatch=trace");
        });
        let mut team = Team::of(&workplace, commands);
        let run = workplace.run_folder("run");
        team.wait_until("steps", |_| has_steps(&run));
        team.signal(rank, signal);
        let ended = team.wait();
        ended.iter().for_each(|ended| ended.ends(code));
        let last = |ended: &Ended| ended.stderr.lines().filter_map(MicroBatch::of).next_back().map(|batch| batch.step);
        let last: BTreeSet<_> = ended.iter().map(last).collect();
        let step = newest_whole(&run.join("checkpoints")).unwrap().unwrap().manifest.step;
        // The last batch of an epoch belongs to rank 0 or 1.
        assert!(last.contains(&Some(step - 1)) && last.len() <= 2, "{signal}: {last:?} before step {step}");
        let log = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        assert_eq!(log.lines().filter(|line| line.starts_with("{\"kind\":\"step\"")).count() as u64, step);
    }
}

#[test]
fn a_second_signal_ends_a_rank_at_once_and_the_others_say_so() {
    let workplace = workplace();
    let mut team = training(&workplace, 3);
    // While rank 2 is stopped, rank 1 cannot finish its step.
    team.signal(2, "STOP");
    team.signal(1, "TERM");
    std::thread::sleep(Duration::from_millis(500));
    team.signal(1, "TERM");
    team.wait_for_within(&[1], SOON);
    let since = Instant::now();
    team.signal(2, "CONT");
    let ended = team.wait();
    assert_eq!(ended[1].code, Some(143), "{:?}", ended[1]);
    for error in all_fail_but(&ended, 1, since) {
        assert!(error.starts_with("rank 1 (") && error.contains("ended without a message"), "{error}");
    }
}

/// The environment of ranks whose launcher serves the store, in an attempt.
fn start_under_launcher(workplace: &Workplace, port: u16, attempt: usize, arguments: &[&str]) -> Team {
    let mut commands = Meeting { world: 2, port }.ranks(workplace, arguments);
    for command in &mut commands {
        command.env("TORCHELASTIC_USE_AGENT_STORE", "True").env("TORCHELASTIC_RESTART_COUNT", attempt.to_string());
    }
    Team::of(workplace, commands)
}

#[test]
fn a_launcher_starts_all_ranks_again_with_its_store() {
    let workplace = workplace();
    let store = Store::open("127.0.0.1", 0, true, Duration::from_secs(60)).unwrap();
    let arguments = [&TRAIN[..], &["--resume", "auto"]].concat();
    let run = workplace.run_folder("run");
    let mut first = start_under_launcher(&workplace, store.port(), 0, &arguments);
    first.wait_until("steps", |_| has_steps(&run));
    first.signal(0, "KILL");
    let since = Instant::now();
    let ended = first.wait();
    // Even rank 0 is only one of the ranks.
    let [error] = all_fail_but(&ended, 0, since)[..] else { panic!("{ended:#?}") };
    assert!(error.starts_with("rank 0 (") && error.contains("ended without a message"), "{error}");
    let mut second = start_under_launcher(&workplace, store.port(), 1, &arguments);
    second.wait_until("more steps", |team| team.stderr(0).contains("resuming from"));
    second.wait_until("a checkpoint", |_| newest_whole(&run.join("checkpoints")).unwrap().unwrap().manifest.step > 40);
    // Ranks that are connected need the store only to find out which of them is gone.
    drop(store);
    second.signal(1, "KILL");
    let since = Instant::now();
    let ended = second.wait();
    let [error] = all_fail_but(&ended, 1, since)[..] else { panic!("{ended:#?}") };
    assert!(error.starts_with("the launcher, which serves the store at 127.0.0.1:"), "{error}");
}
