//! Synthetic runs with fixed times, for tests, pictures in the documentation, and measurements.

#![allow(dead_code, reason = "each test and example uses a part")]

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use gradwatch_doctor::{
    config::Config,
    diagnosis::{Facts, ParameterFacts, RankFacts},
    telemetry::{tags, write_facts},
    watch::{self, Colors, Gpus, Model, RunState, Scene, Theme, ViewState},
};
use gradwatch_events::{
    JsonLines,
    proto::{Content, Event, Summary, SummaryValue, What},
    tf_record::append_record,
};
use prost::Message;
use ratatui::buffer::Buffer;

/// Time of the first step, in seconds since 1970: 2026-01-02 15:04:05 UTC.
pub(crate) const START: f64 = 1_767_366_245.0;
/// Steps per second.
const RATE: f64 = 16.0;
/// Layers of the network.
pub(crate) const LAYERS: usize = 8;
/// Steps per epoch; each ends with an evaluation.
const EPOCH: u64 = 50;

/// A kind of run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Healthy,
    Vanishing,
    Diverging,
    Ranks,
    /// PyTorch's SummaryWriter in a tutorial's loop.
    Foreign,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [Self::Healthy, Self::Vanishing, Self::Diverging, Self::Ranks, Self::Foreign];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Vanishing => "vanishing",
            Self::Diverging => "diverging",
            Self::Ranks => "ranks",
            Self::Foreign => "foreign",
        }
    }

    /// Factor of the gradient per layer on the way back.
    fn factor(self) -> f64 {
        if self == Self::Vanishing { 0.18 } else { 0.93 }
    }

    fn config(self) -> String {
        let (activation, rate) = match self {
            Self::Vanishing => ("sigmoid", 0.05),
            Self::Diverging => ("relu", 2.0),
            _ => ("relu", 0.05),
        };
        format!(
            "[run]\nmax_epochs = 12\n[data]\nsource = \"idx\"\npath = \"data/fashion-mnist\"\n[model]\nname = \"mlp\"\n\
             depth = {LAYERS}\nwidth = 128\nactivation = \"{activation}\"\n[optimizer]\nlearning_rate = {rate}\n"
        )
    }
}

/// A value between -1 and 1 that depends on its arguments alone (splitmix64).
pub(crate) fn noise(step: u64, salt: u64) -> f64 {
    let mut bits = step.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(salt.wrapping_mul(0xd1b5_4a32_d192_ed03));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// Appends events to a file.
pub(crate) struct EventWriter {
    pub(crate) path: PathBuf,
    file: File,
}

impl EventWriter {
    pub(crate) fn create(folder: &Path, name: &str) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = folder.join(format!("events.out.tfevents.{name}"));
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        Ok(Self { path, file })
    }

    /// Appends the values of a step as one event.
    pub(crate) fn add(&mut self, secs: f64, step: u64, values: &[(String, f64)]) -> io::Result<()> {
        self.file.write_all(&record(secs, step, values))
    }
}

/// An event as bytes of an event file.
pub(crate) fn record(secs: f64, step: u64, values: &[(String, f64)]) -> Vec<u8> {
    let value = |(tag, number): &(String, f64)| SummaryValue {
        tag: tag.clone(),
        metadata: None,
        content: Some(Content::SimpleValue(*number as f32)),
    };
    let what = Some(What::Summary(Summary { value: values.iter().map(value).collect() }));
    let mut bytes = Vec::new();
    append_record(&mut bytes, &Event { wall_time: secs, step: step as i64, what }.encode_to_vec());
    bytes
}

/// Writes the first `steps` steps of a run to a folder.
pub(crate) fn write(kind: Kind, folder: &Path, steps: u64) {
    fs::create_dir_all(folder).unwrap();
    if kind == Kind::Foreign {
        return write_foreign(folder, steps);
    }
    let config = Config::parse_with(&kind.config(), "demo", &[]).unwrap();
    fs::write(folder.join("config.toml"), config.to_toml()).unwrap();
    write_facts(&mut JsonLines::open(folder.join("metrics.jsonl")).unwrap(), &facts(kind)).unwrap();
    let mut writer = EventWriter::create(folder, "1767366245.host.1.0.session-001").unwrap();
    for step in 0..steps {
        let secs = START + step as f64 / RATE;
        writer.add(secs, step, &step_values(kind, step)).unwrap();
        if (step + 1) % EPOCH == 0 {
            writer.add(secs, step + 1, &evaluation(kind, step + 1)).unwrap();
        }
    }
}

fn facts(kind: Kind) -> Facts {
    let parameter = |layer: usize| {
        let shape = shape(layer).to_vec();
        let std = (2.0 / shape[1] as f64).sqrt();
        let bias = ParameterFacts { name: bias(layer).into(), shape: vec![shape[0]], mean: 0.0, std: 0.0 };
        [ParameterFacts { name: weight(layer).into(), shape, mean: 0.0, std }, bias]
    };
    let rank = |rank: usize| RankFacts { host: format!("node-{}", rank / 2), device: format!("cuda:{}", rank % 2) };
    Facts {
        classes: 10,
        class_counts: vec![6000; 10],
        batch_size: 128,
        steps_per_epoch: EPOCH,
        image_side: 28,
        validation_images: 10_000,
        parameters: (0..=LAYERS).flat_map(parameter).collect(),
        ranks: if kind == Kind::Ranks { (0..4).map(rank).collect() } else { Vec::new() },
        ..Facts::default()
    }
}

/// Outputs and inputs of a layer.
fn shape(layer: usize) -> [i64; 2] {
    [if layer == LAYERS { 10 } else { 128 }, if layer == 0 { 784 } else { 128 }]
}

fn layer(index: usize) -> String {
    if index == LAYERS { "classifier".into() } else { format!("layers.{index}.linear") }
}

fn weight(index: usize) -> String {
    format!("{}.weight", layer(index))
}

fn bias(index: usize) -> String {
    format!("{}.bias", layer(index))
}

/// Training loss without noise.
fn loss_at(kind: Kind, step: u64) -> f64 {
    let at = step as f64;
    match kind {
        Kind::Vanishing => 2.303,
        // Falls, then grows without end.
        Kind::Diverging if step < 60 => 2.4 - 0.01 * at,
        Kind::Diverging if step < 150 => 1.8 * (0.12 * (at - 60.0)).exp(),
        Kind::Diverging => f64::NAN,
        _ => 0.35 + 1.95 * (-at / 90.0).exp(),
    }
}

fn accuracy_at(kind: Kind, step: u64) -> f64 {
    match kind {
        Kind::Vanishing => 0.1,
        Kind::Diverging if step < 100 => 0.3,
        Kind::Diverging => 0.1,
        _ => 0.9 - 0.8 * (-(step as f64) / 90.0).exp(),
    }
}

/// Gradient RMS of dLoss/dz at a layer.
fn gradient_at(kind: Kind, step: u64, index: usize) -> f64 {
    let growth = match kind {
        Kind::Diverging if step >= 150 => f64::NAN,
        Kind::Diverging if step >= 60 => (0.2 * (step as f64 - 60.0)).exp(),
        _ => 1.0,
    };
    let depth = (LAYERS - index) as i32;
    0.02 * growth * kind.factor().powi(depth) * (1.0 + 0.2 * noise(step, index as u64))
}

fn step_values(kind: Kind, step: u64) -> Vec<(String, f64)> {
    let loss = loss_at(kind, step) * (1.0 + 0.03 * noise(step, 99));
    let rate = if kind == Kind::Diverging { 2.0 } else { 0.05 };
    let mut values = vec![(tags::LOSS.to_string(), loss), (tags::LEARNING_RATE.to_string(), rate)];
    let mut squares = 0.0;
    for index in 0..=LAYERS {
        let rms = gradient_at(kind, step, index);
        let [outputs, inputs] = shape(index).map(|side| side as f64);
        for (name, elements) in [(weight(index), outputs * inputs), (bias(index), outputs)] {
            squares += rms * rms * elements;
            values.push((tags::GRAD_NORM.of(&name), rms * elements.sqrt()));
            values.push((tags::GRAD_RMS.of(&name), rms));
            values.push((tags::UPDATE_RATIO.of(&name), 0.003 * rms / 0.02));
        }
        let nonpositive = if kind == Kind::Vanishing { 0.0 } else { 0.5 + 0.05 * noise(step, 50 + index as u64) };
        let name = layer(index);
        if index < LAYERS {
            values.extend([
                (tags::ACTIVATION_MEAN.of(&name), 0.4),
                (tags::ACTIVATION_RMS.of(&name), 0.8),
                (tags::ACTIVATION_NONPOSITIVE.of(&name), nonpositive),
                (tags::ACTIVATION_SATURATED.of(&name), nonpositive.max(0.02)),
                (tags::LAYER_GRAD_RMS.of(&name), rms),
            ]);
        }
    }
    values.push((tags::TOTAL_NORM.to_string(), squares.sqrt()));
    if kind == Kind::Ranks {
        values.extend(rank_values(step));
    }
    values
}

/// Rank 2 is slower, because it waits for its images.
fn rank_values(step: u64) -> Vec<(String, f64)> {
    let of_rank = |rank: u64| {
        let loading = if rank == 2 { 0.035 } else { 0.002 } * (1.0 + 0.1 * noise(step, 200 + rank));
        let busy = 0.045 + loading;
        [
            (tags::RANK_IMAGES.of(rank), 32.0),
            (tags::RANK_GRAD_NORM.of(rank), 0.5 + 0.05 * noise(step, 300 + rank)),
            (tags::RANK_LOSS.of(rank), loss_at(Kind::Ranks, step) * (1.0 + 0.05 * noise(step, 400 + rank))),
            (tags::RANK_BUSY_SECS.of(rank), busy),
            (tags::RANK_LOADING_SECS.of(rank), loading),
            (tags::RANK_WAIT_SECS.of(rank), 0.085 - busy),
        ]
    };
    (0..4).flat_map(of_rank).collect()
}

fn evaluation(kind: Kind, step: u64) -> Vec<(String, f64)> {
    let (loss, accuracy) = (loss_at(kind, step), accuracy_at(kind, step));
    vec![
        (tags::TRAIN_LOSS.to_string(), loss * 1.05),
        (tags::VALIDATION_LOSS.to_string(), loss * 1.1),
        (tags::TRAIN_ACCURACY.to_string(), accuracy),
        (tags::VALIDATION_ACCURACY.to_string(), accuracy - 0.02),
    ]
}

fn write_foreign(folder: &Path, steps: u64) {
    let mut writer = EventWriter::create(folder, "1767366245.host.1.0").unwrap();
    for step in 0..steps {
        let secs = START + step as f64 / RATE;
        let loss = loss_at(Kind::Healthy, step) * (1.0 + 0.03 * noise(step, 99));
        let mut values = vec![("Loss/train".to_owned(), loss)];
        for index in 0..=LAYERS {
            let rms = gradient_at(Kind::Healthy, step, index);
            values.push((format!("grad_norm/{}", weight(index)), rms * 128.0));
            values.push((format!("grad_norm/{}", bias(index)), rms * 128f64.sqrt()));
        }
        writer.add(secs, step, &values).unwrap();
        if (step + 1) % EPOCH == 0 {
            let loss = loss_at(Kind::Healthy, step) * 1.1;
            let accuracy = accuracy_at(Kind::Healthy, step) - 0.02;
            writer.add(secs, step, &[("Loss/val".to_owned(), loss), ("Accuracy/val".to_owned(), accuracy)]).unwrap();
        }
    }
}

/// Steps of the demo runs, and the sizes of the frames in the documentation.
pub(crate) const STEPS: u64 = 200;
pub(crate) const SIZES: [[u16; 2]; 2] = [[80, 24], [200, 60]];

/// Writes a demo run below `folder` and reads it. Name, state, and age are those of a run that trains.
pub(crate) fn model(kind: Kind, folder: &Path) -> Model {
    let path = folder.join(kind.name());
    write(kind, &path, STEPS);
    let Model::Run(run) = watch::read(&path, &[]) else { panic!("{} is not one run", path.display()) };
    let mut run = Arc::unwrap_or_clone(run);
    (run.name, run.path) = (format!("logs/{}", kind.name()), format!("logs/{}", kind.name()).into());
    (run.state, run.written) = (RunState::Training, Some(NOW - 2.0));
    Model::Run(Arc::new(run))
}

/// Time of the frames, in seconds since 1970.
pub(crate) const NOW: f64 = START + STEPS as f64 / RATE + 2.0;

/// The frame of a model.
pub(crate) fn rendered(model: &Model, state: &ViewState, size: [u16; 2], colors: Colors) -> Buffer {
    drawn(model, state, size, Theme::new(colors))
}

/// The frame of a model for a terminal without Unicode.
pub(crate) fn ascii(model: &Model, state: &ViewState, size: [u16; 2]) -> Buffer {
    drawn(model, state, size, Theme::default().with_ascii(true))
}

fn drawn(model: &Model, state: &ViewState, size: [u16; 2], theme: Theme) -> Buffer {
    let gpus = Gpus::default();
    watch::rendered(&Scene { model: Some(model), gpus: &gpus, now: NOW, theme }, state, size)
}

/// The run and the size of the frame in ASCII in the documentation.
pub(crate) const ASCII: (Kind, [u16; 2], &str) = (Kind::Diverging, [80, 24], "diverging-80x24-ascii.txt");
