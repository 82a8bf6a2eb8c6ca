//! Runs that are killed at critical places and resumed: they must end bit-identical to an uninterrupted run.
//!
//! The places are those at which the program can be told to kill itself (in a step, in the middle of a write, before
//! and after a rename, between two deletions), and any others by time. `GRADWATCH_SOAK` is the number of kills,
//! `GRADWATCH_SEED` the seed of the random choices.
#![cfg(unix)]

use std::{
    env,
    os::unix::process::ExitStatusExt,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use crate::harness::{
    Workplace,
    checkpoints::{assert_same, images_by_epoch},
    dice::Dice,
    limit::{self, Running},
    write_images, write_parquet, write_photos, write_shapes, write_shards,
};

const KILLS: u64 = 35;
const IMAGES: usize = 150;

/// Settings of all cases: 10 steps per epoch, evaluations and checkpoints in the middle of epochs, all retention rules.
const COMMON: &str = r#"
run.max_epochs = 2
run.threads = 1
evaluate = { every_steps = 7 }
checkpoint = { every_steps = 3, keep_last = 2, keep_best = 1, keep_every = 4 }
"#;

/// Each kind of state at least once: accumulation, bf16, EMA, stateful clipping, every kind of moment, dropout,
/// augmentation, mixtures, batch normalization, a plateau schedule, findings, 0 to 4 loader threads, image files,
/// shards, Parquet files, images of several classes.
const CASES: [&str; 9] = [
    r#"
data = { source = "idx", path = "images", batch_size = 8, workers = 1, augment = { hflip = 0.5, random_crop = 2 } }
model = { name = "cnn", width = 4, depth = 2, normalization = "batch", dropout = 0.2 }
optimizer = { name = "sgd", learning_rate = 0.05, momentum = 0.9, accumulation_steps = 2 }
clipping = { mode = "agc" }
ema = { decay = 0.9 }
monitor = { first_steps = 1, parameters_every_steps = 2, pictures_every_steps = 5 }
"#,
    r#"
run.precision = "bf16"
data = { source = "idx", path = "images", batch_size = 16, workers = 2, label_shuffle_epochs = [1], augment = { cutout = 4 } }
model = { name = "cnn", width = 4, depth = 2, normalization = "batch", dropout = 0.2 }
optimizer = { name = "adamw" }
schedule = { name = "one_cycle" }
clipping = { mode = "zclip", zclip = { warmup_steps = 4 } }
monitor = { noise_scale_every_steps = 2, previous_cosine = true }
"#,
    r#"
run.precision = "bf16"
run.channels_last = true
data = { source = "idx", path = "images", batch_size = 5, workers = 4 }
model = { name = "cnn", width = 4, depth = 2, dropout = 0.1 }
optimizer = { name = "nadam", accumulation_steps = 3 }
clipping = { mode = "zclip", zclip = { warmup_steps = 4 } }
ema = { decay = 0.99 }
monitor = { noise_scale_every_steps = 3, previous_cosine = true }
"#,
    r#"
data = { source = "idx", path = "images", batch_size = 16, workers = 0, augment = { hflip = 0.5 } }
model = { name = "mlp", width = 16, depth = 7, activation = "sigmoid", initialization = "xavier_normal", dropout = 0.1 }
monitor = { layers_every_steps = 2, weights_every_steps = 2 }
optimizer = { name = "rmsprop", centered = true, learning_rate = 0.001 }
schedule = { name = "plateau", patience = 0 }
clipping = { mode = "autoclip" }
early_stopping = { patience = 3 }
"#,
    r#"
run.precision = "fp16"
data = { source = "idx", path = "images", batch_size = 8, workers = 1 }
model = { name = "mlp", width = 16, depth = 2, normalization = "batch" }
optimizer = { name = "lamb", accumulation_steps = 2 }
clipping = { mode = "adagc", adagc = { warmup_steps = 4 } }
monitor = { preset = "light" }
"#,
    r#"
loss = { name = "bce", label_smoothing = 0.1 }
model = { name = "cnn", width = 4, depth = 2 }
optimizer = { name = "lion", learning_rate = 0.001 }

[data]
source = "folder"
path = "photos"
image_size = [12, 10]
batch_size = 15
workers = 3

[data.augment]
random_resized_crop = true
hflip = 0.5
vflip = 0.5
affine = { degrees = 20.0, translate = [0.1, 0.1], scale = [0.9, 1.1], shear = 5.0 }
auto = "timm_randaugment"
color_jitter = { brightness = 0.4, contrast = 0.4, saturation = 0.4, hue = 0.1 }
grayscale = 0.1
gaussian_blur = { probability = 0.3, kernel_size = 3 }
solarize = { probability = 0.2 }
cutout = 2
random_erasing = { probability = 0.5, fill = "pixel", count = 2 }
mixing = { mixup = 0.2, cutmix = 1.0, mode = "image" }
"#,
    r#"
model = { name = "cnn", width = 4, depth = 2 }
optimizer = { name = "sgd", learning_rate = 0.05, momentum = 0.9 }
data.source = "webdataset"
data.path = "shards/train-{0..4}.tar"
data.validation_path = "shards/val.tar"
data.shuffle_buffer = 20
data.image_size = 12
data.batch_size = 15
data.workers = 2
data.augment = { hflip = 0.5, mixing = { cutmix = 1.0 } }
"#,
    r#"
model = { name = "cnn", width = 4, depth = 2 }
optimizer = { name = "sgd", learning_rate = 0.05, momentum = 0.9 }
data.source = "parquet"
data.path = "rows/train-{0..1}.parquet"
data.validation_path = "rows/val.parquet"
data.shuffle_buffer = 20
data.image_size = 12
data.batch_size = 15
data.workers = 3
data.augment = { hflip = 0.5 }
"#,
    r#"
loss = { name = "bce" }
model = { name = "cnn", width = 4, depth = 2, normalization = "batch" }
optimizer = { name = "adam" }
schedule = { name = "plateau", patience = 0 }
ema = { decay = 0.9 }
data.source = "csv"
data.path = "shapes/labels.csv"
data.multi_label = true
data.image_size = 12
data.batch_size = 15
data.workers = 2
data.augment = { hflip = 0.5, mixing = { mixup = 0.4, cutmix = 1.0 } }
"#,
];

/// How to interrupt a session.
#[derive(Debug)]
pub(super) enum Blow {
    /// Kill at the n-th visit of a place in the program.
    Place(&'static str, u64),
    /// Kill after some time.
    Time(Duration),
    /// Send a signal after some time.
    Signal(&'static str, Duration),
}

/// Places, and about how often a session visits each.
const PLACES: [(&str, u64); 11] = [
    ("step", 20),
    ("checkpoint", 40),
    ("manifest", 6),
    ("rename", 6),
    ("renamed", 6),
    ("retention", 4),
    ("events", 20),
    ("lines", 20),
    ("evaluate", 3),
    ("replace", 7),
    ("cut", 2),
];

impl Blow {
    /// A blow at one of `places`, each with the number of its visits, or at any time.
    pub(super) fn any(places: &[(&'static str, u64)], dice: &mut Dice) -> Self {
        let time = Duration::from_millis(dice.below(300));
        match dice.below(places.len() as u64 + 4) {
            0 | 1 => Self::Time(time),
            2 => Self::Signal("TERM", time),
            3 => Self::Signal("USR1", time),
            place => {
                let (name, passes) = places[place as usize - 4];
                Self::Place(name, 1 + dice.below(passes))
            }
        }
    }

    /// Runs a session until it ends or is interrupted.
    pub(super) fn fall(&self, mut session: Command) -> ExitStatus {
        if let Self::Place(name, pass) = self {
            session.env("GRADWATCH_FAULT", format!("kill {name} {pass}"));
        }
        let mut child = Running::start(session.stdout(Stdio::null()).stderr(Stdio::null()));
        match self {
            Self::Place(..) => {}
            Self::Time(time) => {
                std::thread::sleep(*time);
                child.kill().unwrap();
            }
            Self::Signal(signal, time) => {
                std::thread::sleep(*time);
                Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap();
            }
        }
        child.wait().unwrap()
    }
}

fn session(workplace: &Workplace, name: &str) -> Command {
    let mut command = workplace.command(&["train", "small.toml", "--run-name", name, "--resume", "auto"]);
    command.env("RUST_LOG", "gradwatch=trace");
    command
}

/// Starts sessions of a run until one ends with exit code `code`, and interrupts them at `places` until `killed` has `kills`
/// places. Returns the blows.
pub(super) fn run_to_its_end(
    places: &[(&'static str, u64)],
    killed: &mut Vec<&'static str>,
    kills: u64,
    dice: &mut Dice,
    code: i32,
    what: &str,
    session: impl Fn() -> Command,
) -> Vec<String> {
    let mut blows = Vec::new();
    loop {
        assert!(blows.len() < 1000, "{what}: no end after {blows:#?}");
        // The last session of the last run is not interrupted.
        let blow = if (killed.len() as u64) < kills { Blow::any(places, dice) } else { Blow::Place("nowhere", 1) };
        let status = blow.fall(session());
        blows.push(format!("{blow:?} {status}"));
        match (status.signal(), status.code()) {
            (Some(9), _) => killed.push(match blow {
                Blow::Place(name, _) => name,
                _ => "any",
            }),
            // A signal before it listened, or during training.
            (Some(10 | 15), _) | (_, Some(75 | 143)) => {}
            (_, Some(ended)) if ended == code => return blows,
            other => panic!("{what}: {other:?} after {blows:#?}"),
        }
    }
}

/// Kills runs of all cases with `torment`, `GRADWATCH_SOAK` times in total, and returns the places.
pub(super) fn kill_all(
    cases: usize,
    default: u64,
    mut torment: impl FnMut(usize, u64, &mut Dice) -> Vec<&'static str>,
) -> Vec<&'static str> {
    let number = |name: &str, default: u64| env::var(name).map_or(default, |text| text.parse().unwrap());
    let (kills, seed) = (number("GRADWATCH_SOAK", default), number("GRADWATCH_SEED", 1));
    let (mut dice, mut places) = (Dice(seed), Vec::new());
    for case in 0..cases as u64 {
        let kills = kills / cases as u64 + u64::from(case < kills % cases as u64);
        places.extend(torment(case as usize, kills, &mut dice));
    }
    assert_eq!(places.len() as u64, kills);
    println!("killed {kills} times from seed {seed}, in {places:?}");
    places
}

/// Kills runs of one experiment `kills` times in total, and lets each run finish. Returns the places of the kills.
fn torment(case: usize, kills: u64, dice: &mut Dice) -> Vec<&'static str> {
    let workplace = Workplace::new(&format!("{COMMON}{}", CASES[case]));
    write_images(&workplace.path().join("images"), IMAGES);
    write_photos(&workplace.path().join("photos"), IMAGES);
    write_shards(&workplace.path().join("shards"), IMAGES);
    write_shapes(&workplace.path().join("shapes"), IMAGES as u32, 15);
    write_parquet(&workplace.path().join("rows"), IMAGES);
    let outcome = limit::output(&mut session(&workplace, "whole"));
    assert!(outcome.status.success(), "case {case}: {}", String::from_utf8_lossy(&outcome.stderr));
    let whole = workplace.run_folder("whole");
    let (mut killed, mut runs) = (Vec::new(), 0);
    while (killed.len() as u64) < kills {
        runs += 1;
        let name = format!("run{runs}");
        let what = format!("case {case}, {name}");
        let blows = run_to_its_end(&PLACES, &mut killed, kills, dice, 0, &what, || session(&workplace, &name));
        let run = workplace.run_folder(&name);
        let what = format!("{what} after {blows:#?}");
        assert_same(&run, &whole, &what);
        let epochs = images_by_epoch(&run);
        assert_eq!(epochs.len(), 2, "{what}");
        for (epoch, mut images) in epochs {
            images.sort_unstable();
            assert!(images.iter().copied().eq(0..IMAGES as u32), "{what}: epoch {epoch} shows {images:?}");
        }
        let checked = workplace.call(&["checkpoints", &format!("logs/{name}"), "--verify"]);
        assert_eq!(checked.code, Some(0), "{what}: {checked:#?}");
    }
    killed
}

#[test]
fn a_run_that_is_killed_anywhere_ends_as_if_it_had_not_been() {
    let places = kill_all(CASES.len(), KILLS, torment);
    // Enough kills to have visited every place.
    if places.len() >= 200 {
        assert!(PLACES.iter().all(|(place, _)| places.contains(place)), "{places:?}");
    }
}
