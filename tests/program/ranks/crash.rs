//! Runs whose ranks are killed, stopped, and signaled at random, and resumed on another number of ranks: they must end
//! bit-identical to an undisturbed run of one process.
//!
//! `GRADWATCH_SOAK` is the number of events, `GRADWATCH_SEED` the seed of the random choices.

use std::{
    env, thread,
    time::{Duration, Instant},
};

use super::{
    comparison::assert_same_end,
    team::{Ended, Meeting, RANK, Team},
};
use crate::harness::{Workplace, dice::Dice, write_photos};

const EVENTS: u64 = 25;
/// Most time from the loss of a rank to the end of all others, on a busy machine.
const SOON: Duration = Duration::from_secs(15);
/// `distributed.start_timeout_seconds`.
const START: Duration = Duration::from_secs(10);
/// `distributed.hang_timeout_seconds`.
const HANG: Duration = Duration::from_secs(5);

const COMMON: &str = r#"
run = { max_epochs = 4, threads = 1 }
distributed = { reduction = "exact", start_timeout_seconds = 10, hang_timeout_seconds = 5 }
evaluate = { every_steps = 7, batch_size = 4 }
"#;

/// Each kind of state: moments, averages, dropout, running statistics, statistics of clipping, a plateau, augmentation.
/// Steps of as many micro-batches as there may be ranks, and of fewer and more.
const CASES: [&str; 3] = [
    r#"
data = { source = "synthetic", samples = 60, classes = 4, validation_fraction = 0.33, image_size = 8, channels = 1, batch_size = 3, augment = { hflip = 0.5, random_crop = 1, mixing = { mixup = 0.4 } } }
model = { name = "cnn", width = 4, depth = 2, normalization = "batch", dropout = 0.2 }
optimizer = { name = "sgd", learning_rate = 0.05, momentum = 0.9, accumulation_steps = 4 }
clipping = { mode = "agc" }
checkpoint = { every_steps = 1 }
"#,
    r#"
data = { source = "synthetic", samples = 60, classes = 4, validation_fraction = 0.33, image_size = 8, channels = 1, batch_size = 2 }
model = { name = "mlp", width = 16, depth = 2, dropout = 0.1 }
optimizer = { name = "adamw", learning_rate = 0.01, accumulation_steps = 2 }
ema = { decay = 0.9 }
clipping = { mode = "zclip", zclip = { warmup_steps = 4 } }
schedule = { name = "plateau", patience = 0 }
checkpoint = { every_steps = 2, keep_best = 1, keep_every = 4 }
"#,
    r#"
data = { source = "folder", path = "photos", image_size = 12, batch_size = 2, workers = 2, augment = { hflip = 0.5 } }
model = { name = "resnet8", width = 4 }
optimizer = { name = "sgd", momentum = 0.9, accumulation_steps = 5 }
ema = { decay = 0.9 }
checkpoint = { every_steps = 2, keep_last = 3 }
"#,
];

/// Places of rank 0, and about how often a session visits each. Each rank visits the first one.
const PLACES: [(&str, u64); 8] = [
    ("step", 20),
    ("checkpoint", 40),
    ("manifest", 6),
    ("rename", 6),
    ("retention", 4),
    ("lines", 20),
    ("evaluate", 4),
    ("replace", 7),
];

/// How to disturb a session of several ranks.
#[derive(Debug)]
enum Event {
    /// Kill a rank at the n-th visit of a place in the program.
    Place(usize, &'static str, u64),
    /// Kill a rank some time after the start of the processes.
    KillEarly(usize, Duration),
    /// Kill a rank some time after the first step.
    Kill(usize, Duration),
    /// Kill all ranks some time after the first step.
    KillAll(Duration),
    /// Stop a rank some time after the first step.
    Stop(usize, Duration),
    /// Send a signal to a rank some time after the first step; it has this exit code.
    Signal(usize, &'static str, i32, Duration),
}

impl Event {
    fn any(dice: &mut Dice, world: usize) -> Self {
        let rank = dice.below(world as u64) as usize;
        let (early, time) = (Duration::from_millis(dice.below(1500)), Duration::from_millis(dice.below(300)));
        match dice.below(12) {
            0..=3 => Self::Place(rank, "step", 1 + dice.below(PLACES[0].1)),
            4 => Self::KillEarly(rank, early),
            5 => Self::Kill(rank, time),
            6 => Self::KillAll(time),
            7 if world > 1 => Self::Stop(rank, time),
            8 => Self::Signal(rank, "TERM", 143, time),
            9 => Self::Signal(rank, "USR1", 75, time),
            _ => {
                let (name, visits) = PLACES[dice.below(PLACES.len() as u64) as usize];
                Self::Place(0, name, 1 + dice.below(visits))
            }
        }
    }

    /// Runs a session until it ends or is disturbed, and returns whether the run is complete.
    fn befall(&self, workplace: &Workplace, name: &str, world: usize) -> bool {
        let arguments = ["train", "small.toml", "--run-name", name, "--resume", "auto"];
        let mut commands = match world {
            1 => vec![workplace.command(&arguments)],
            _ => Meeting::of(world).ranks(workplace, &arguments),
        };
        commands.iter_mut().for_each(|command| {
            command.env("RUST_LOG", "gradwatch=trace");
        });
        if let Self::Place(rank, place, visit) = self {
            commands[*rank].env("GRADWATCH_FAULT", format!("kill {place} {visit}"));
        }
        let started = Instant::now();
        let mut team = Team::of(workplace, commands);
        // Rank 0 has images in every step, and the first one shows that all ranks train.
        let is_early = matches!(self, Self::Place(..) | Self::KillEarly(..));
        if !is_early && !team.comes("a step", |team| team.stderr(0).contains("micro-batch step=")) {
            return completes(&team.wait());
        }
        match self {
            Self::Place(..) => {}
            Self::KillEarly(rank, time) | Self::Kill(rank, time) => {
                thread::sleep(*time);
                team.signal(*rank, "KILL");
            }
            Self::KillAll(time) => {
                thread::sleep(*time);
                (0..world).for_each(|rank| team.signal(rank, "KILL"));
            }
            Self::Stop(rank, time) => {
                thread::sleep(*time);
                team.signal(*rank, "STOP");
                let others: Vec<usize> = (0..world).filter(|other| other != rank).collect();
                team.wait_for_within(&others, HANG + SOON);
                team.signal(*rank, "KILL");
            }
            Self::Signal(rank, signal, _, time) => {
                thread::sleep(*time);
                team.signal(*rank, signal);
            }
        }
        let ended = team.wait();
        self.check(&ended, started);
        completes(&ended)
    }

    /// Checks how the ranks of a session ended.
    fn check(&self, ended: &[Ended], started: Instant) {
        if let Self::Signal(_, _, code, _) = self {
            let codes: Vec<_> = ended.iter().map(|ended| ended.code).collect();
            let agree = |code: i32| codes.iter().all(|other| *other == Some(code));
            assert!(agree(*code) || agree(0), "{self:?}: {ended:#?}");
            ended.iter().for_each(|ended| ended.ends(codes[0].unwrap()));
            return;
        }
        let killed: Vec<usize> = (0..ended.len()).filter(|rank| ended[*rank].signal == Some(9)).collect();
        let lost = killed.iter().map(|rank| ended[*rank].at).max().unwrap_or(started);
        for other in ended.iter().filter(|ended| ended.signal != Some(9)) {
            match other.code {
                // The rank was killed after its work.
                Some(0) => other.ends(0),
                _ => {
                    let error = other.fails(RANK);
                    // Before they have joined, ranks wait for one another, and know each other by number only.
                    let is_early = matches!(self, Self::KillEarly(..));
                    let is_named = |rank: &usize| match is_early {
                        true => error.contains("rank "),
                        false => error.contains(&format!("rank {rank} (")),
                    };
                    assert!(killed.iter().any(is_named), "{self:?}: {ended:#?}");
                    let limit = if is_early { START + SOON } else { SOON };
                    assert!(other.at.saturating_duration_since(lost) < limit, "{self:?}: {ended:#?}");
                }
            }
        }
    }
}

/// Whether the run has ended as a whole.
fn completes(ended: &[Ended]) -> bool {
    ended[0].code == Some(0)
}

/// Disturbs runs of one experiment `events` times in total, and lets each run finish. Returns what happened.
fn torment(case: usize, events: usize, mut dice: Dice) -> Vec<String> {
    let workplace = Workplace::new(&format!("{COMMON}{}", CASES[case]));
    write_photos(&workplace.path().join("photos"), 30);
    let plain = workplace.train("plain", &[]);
    let (mut happened, mut runs) = (Vec::new(), 0);
    while happened.len() < events {
        runs += 1;
        let name = format!("run{runs}");
        let mut sessions = Vec::new();
        loop {
            assert!(sessions.len() < 1000, "case {case}, {name}: no end after {sessions:#?}");
            let world = 1 + dice.below(4) as usize;
            // The last session of the last run is not disturbed.
            let event = match happened.len() < events {
                true => Event::any(&mut dice, world),
                false => Event::Place(0, "nowhere", 1),
            };
            sessions.push(format!("{event:?} of {world}"));
            println!("case {case}, {name}: {event:?} of {world}");
            if event.befall(&workplace, &name, world) {
                break;
            }
            happened.push(format!("{event:?} of {world}"));
        }
        let what = format!("case {case}, {name} after {sessions:#?}");
        assert_same_end(&workplace.run_folder(&name), &plain, &what);
        let checked = workplace.call(&["checkpoints", &format!("logs/{name}"), "--verify"]);
        assert_eq!(checked.code, Some(0), "{what}: {checked:#?}");
    }
    happened
}

#[test]
fn ranks_that_are_killed_stopped_and_signaled_end_as_one_process_would_have() {
    let number = |name: &str, default: u64| env::var(name).map_or(default, |text| text.parse().unwrap());
    let (events, seed) = (number("GRADWATCH_SOAK", EVENTS), number("GRADWATCH_SEED", 1));
    println!("{events} events from seed {seed}");
    let cases = CASES.len() as u64;
    let happened = thread::scope(|scope| {
        let start = |case: u64| {
            let share = events / cases + u64::from(case < events % cases);
            scope.spawn(move || torment(case as usize, share as usize, Dice(seed + case)))
        };
        let cases: Vec<_> = (0..cases).map(start).collect();
        cases.into_iter().flat_map(|case| case.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(happened.len() as u64 >= events, "{happened:#?}");
}
