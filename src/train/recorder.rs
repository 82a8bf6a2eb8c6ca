//! The files of a run: TensorBoard events, metrics.jsonl, weights.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use serde::Serialize;

use super::{
    Metrics, Reading, Resume, TrainError,
    confusion_table::confusion_table,
    dashboard,
    explanations::{self, NamedPicture},
    metrics_json::Abridged,
    pictures::Pictures,
    step_events,
};
use crate::{
    config::{ClippingMode, Config},
    diagnosis::{Alarm, Facts, Finding, LostImages},
    events::{EventsError, JsonLines, LogPosition, PendingPosition, RunFolder, Session, SummaryWriter, write_facts},
    gradient::{Due, Origin},
    model::{Network, weights},
    optim::Rates,
    picture::Picture,
};

/// Folder of a run with the images of its last evaluation, and what speaks for the model's guesses.
pub const EXPLANATIONS: &str = "explanations";

const WEIGHTS: &str = "weights";
/// Classes up to which each has series of its own in TensorBoard.
const MOST_SERIES: usize = 100;

/// Writes what a run says of itself.
///
/// A file that cannot be written any further costs its own entries, not the run: it is reported once, in the log, and by
/// [`close`](Self::close).
pub struct Recorder {
    folder: RunFolder,
    events: SummaryWriter,
    metrics: JsonLines,
    findings: JsonLines,
    /// The event files of earlier sessions.
    finished_logs: Vec<LogPosition>,
    /// `None` where none are asked for.
    pictures: Option<Pictures>,
    clips: bool,
    has_failed: bool,
    failed_files: BTreeSet<PathBuf>,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line<'a> {
    Step {
        step: u64,
        epoch: u64,
        loss: f64,
        learning_rate: f64,
        grad_norm: f64,
        clip_coef: f64,
        skipped_steps: u64,
    },
    NonFinite {
        step: u64,
        origin: &'a Origin,
    },
    LostImages {
        step: u64,
        classes: &'a [LostImages],
    },
    Evaluation {
        step: u64,
        epoch: u64,
        elapsed_secs: f64,
        train: Abridged<'a>,
        validation: Abridged<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        ema: Option<Abridged<'a>>,
    },
}

impl Recorder {
    /// Opens the files of a fresh run and writes its resolved config.
    ///
    /// # Errors
    /// Where a file cannot be made.
    pub fn create(folder: RunFolder, config: &Config, facts: Option<&Facts>) -> Result<Self, TrainError> {
        // A process that died before the run's first checkpoint may have left some.
        folder.cut_back(&[])?;
        let mut recorder = Self::open(folder, config, 0, 0)?;
        recorder.start(facts)?;
        Ok(recorder)
    }

    /// Takes the files of a run back to a checkpoint and opens them to go on from there.
    ///
    /// # Errors
    /// Where a file cannot be cut or made.
    pub fn resume(folder: RunFolder, config: &Config, from: &mut Resume) -> Result<Self, TrainError> {
        // Before the first step there is nothing worth keeping.
        let logs = if from.host.step == 0 { &[] } else { &from.loaded().manifest.logs[..] };
        folder.cut_back(logs)?;
        let (step, is_evaluated) = (from.host.step, from.host.evaluated_at == Some(from.host.step));
        // Steps are written under their number and evaluations under that of the next, which TensorBoard is not to void.
        let mut recorder = Self::open(folder, config, step, step + u64::from(is_evaluated))?;
        if step == 0 && config.diagnosis.enabled {
            recorder.start(Some(&from.host.facts))?;
        }
        if let (Some(pictures), Some(earlier)) = (&mut recorder.pictures, from.host.pictures.take()) {
            *pictures = earlier;
        }
        let is_incomplete = from.loaded().manifest.logs.iter().any(|log| log.is_incomplete);
        recorder.has_failed = from.host.is_incomplete || is_incomplete;
        Ok(recorder)
    }

    /// `first_step` is that of the first entry.
    fn open(folder: RunFolder, config: &Config, step: u64, first_step: u64) -> Result<Self, TrainError> {
        let toml = config.to_toml();
        folder.write("config.toml", &toml)?;
        let finished_logs = folder.earlier_sessions()?;
        let session = Session { number: folder.next_session()?, step: first_step.into() };
        let events = SummaryWriter::create_session(folder.path(), session)?;
        events.text("config", step, format!("```toml\n{toml}\n```"))?;
        if step == 0 {
            events.layout(&dashboard::layout())?;
        }
        let metrics = folder.json_lines("metrics.jsonl")?;
        let findings = folder.json_lines("findings.jsonl")?;
        // A checkpoint counts on these files.
        let path = folder.path();
        folder.folder().sync().map_err(|cause| EventsError::Create { path: path.to_owned(), cause })?;
        let clips = config.clipping.mode != ClippingMode::None;
        let pictures = (config.monitor.pictures_every_steps > 0).then(Pictures::default);
        Ok(Self {
            folder,
            events,
            metrics,
            findings,
            finished_logs,
            pictures,
            clips,
            has_failed: false,
            failed_files: BTreeSet::new(),
        })
    }

    /// What is known before the first step: the first line of metrics.jsonl.
    fn start(&mut self, facts: Option<&Facts>) -> Result<(), EventsError> {
        facts.map_or(Ok(()), |facts| write_facts(&mut self.metrics, facts))
    }

    /// The event files of earlier sessions.
    pub(super) fn finished_logs(&self) -> &[LogPosition] {
        &self.finished_logs
    }

    /// How far the logs of this session are.
    pub(super) fn positions(&self) -> Result<Vec<PendingPosition>, EventsError> {
        Ok(vec![self.events.position(), self.metrics.position()?, self.findings.position()?])
    }

    /// What the pictures are drawn from, where they are.
    pub(super) fn pictures(&self) -> Option<&Pictures> {
        self.pictures.as_ref()
    }

    /// Explained images, for TensorBoard and as files, of which those of the last evaluation stay.
    pub(super) fn explanations(&mut self, step: u64, pictures: Vec<NamedPicture>) {
        let folder = match self.folder.folder().make_folder(EXPLANATIONS) {
            Ok(folder) => folder,
            Err(cause) => {
                let path = self.folder.path().join(EXPLANATIONS);
                return self.failed(&EventsError::Create { path, cause });
            }
        };
        explanations::keep_only(&folder, &pictures);
        for (name, Picture { png, width, height }) in pictures {
            let file = format!("{name}.png");
            if let Err(cause) = folder.replace(&file, &png) {
                self.failed(&EventsError::Create { path: folder.path().join(file), cause });
            }
            let written = self.events.image(format!("explanations/{name}"), step, png, width, height);
            self.note(written);
        }
    }

    /// Whether anything of the run could not be written so far.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Says that something of the run could not be written, which goes on without it.
    pub fn failed(&mut self, error: &dyn std::error::Error) {
        tracing::error!("{error}");
        self.has_failed = true;
    }

    /// The run's folder.
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// A tracked step.
    pub(super) fn step(&mut self, rates: Rates, reading: &Reading, due: Due) {
        self.pictures.iter_mut().for_each(|pictures| pictures.add(reading));
        let events = step_events::write(&self.events, rates, reading, due, self.clips);
        self.note(events);
        if due.pictures {
            self.draw();
        }
        let &Reading { step, epoch, loss, total_norm, clip_coef, skipped_steps, .. } = reading;
        let learning_rate = rates.learning_rate;
        let line = Line::Step { step, epoch, loss, learning_rate, grad_norm: total_norm, clip_coef, skipped_steps };
        let line = self.metrics.write(&line);
        self.note(line);
    }

    /// Draws the course of the run so far, unless that is drawn.
    fn draw(&mut self) {
        let Some(pictures) = &mut self.pictures else { return };
        let Some(step) = pictures.undrawn.take() else { return };
        let pictures = pictures.draw().unwrap_or_else(|error| {
            self.failed(&error);
            Vec::new()
        });
        for (tag, picture) in pictures {
            let Picture { png, width, height } = picture;
            let written = self.events.image(tag, step, png, width, height);
            self.note(written);
        }
    }

    /// What a rule says of the run, at the step at which it is new or worse than before.
    pub(super) fn finding(&mut self, step: u64, finding: &Finding) {
        #[derive(Serialize)]
        struct Line<'a> {
            step: u64,
            #[serde(flatten)]
            finding: &'a Finding,
        }
        let line = self.findings.write(&Line { step, finding });
        self.note(line);
        let text = self.events.text(format!("findings/{}", finding.rule), step, finding.to_string());
        self.note(text);
    }

    /// What another tool would say of the run.
    pub(super) fn alarm(&mut self, alarm: &Alarm) {
        let line = self.findings.write(&serde_json::json!({ "step": alarm.step, "alarm": alarm }));
        self.note(line);
        let text = self.events.text(format!("alarms/{}/{}", alarm.set, alarm.rule), alarm.step, alarm.to_string());
        self.note(text);
    }

    /// The classes of which images do not decode, where they are others than before.
    pub(super) fn lost_images(&mut self, step: u64, classes: &[LostImages]) {
        let written = self.metrics.write(&Line::LostImages { step, classes });
        self.note(written);
    }

    /// Where a skipped step first went wrong.
    pub(super) fn origin(&mut self, step: u64, origin: &Origin) {
        let text = self.events.text("non_finite/origin", step, origin.to_string());
        self.note(text);
        let line = self.metrics.write(&Line::NonFinite { step, origin });
        self.note(line);
    }

    /// An evaluation: the training images since the last one, the validation images, and these with averaged weights.
    pub(super) fn evaluation(
        &mut self,
        step: u64,
        epoch: u64,
        elapsed: Duration,
        train: &Metrics,
        validation: &Metrics,
        ema: Option<&Metrics>,
    ) {
        let events = self.write_evaluation(step, train, validation, ema);
        self.note(events);
        let elapsed_secs = elapsed.as_secs_f64();
        let (train, validation, ema) = (Abridged(train), Abridged(validation), ema.map(Abridged));
        let line = self.metrics.write(&Line::Evaluation { step, epoch, elapsed_secs, train, validation, ema });
        self.note(line);
    }

    fn write_evaluation(
        &self,
        step: u64,
        train: &Metrics,
        validation: &Metrics,
        ema: Option<&Metrics>,
    ) -> Result<(), EventsError> {
        let ema = ema.map(|metrics| ("ema", metrics));
        for (split, metrics) in [("train", train), ("validation", validation)].into_iter().chain(ema) {
            for (name, value) in metrics.figures() {
                self.events.scalar(format!("{name}/{split}"), step, value)?;
            }
        }
        let classes = if validation.per_class.len() <= MOST_SERIES { &validation.per_class[..] } else { &[] };
        for class in classes {
            for (name, value) in [("precision", class.precision), ("recall", class.recall), ("f1", class.f1)] {
                self.events.scalar(format!("{name}_per_class/{}", class.class), step, value)?;
            }
        }
        self.events.text("confusion/validation", step, confusion_table(validation))
    }

    /// Saves the weights of the best evaluation so far. A disk that is full costs them, not the run.
    pub(super) fn save_best(&mut self, network: &Network) {
        if let Err(error) = self.save(network, "best") {
            self.failed(&error);
        }
    }

    /// Saves the weights as `weights/<name>.safetensors`, whole or not at all.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn save(&self, network: &Network, name: &str) -> Result<(), TrainError> {
        let refuse = |cause| EventsError::Create { path: self.folder.path().join(WEIGHTS), cause };
        let folder = self.folder.folder().make_folder(WEIGHTS).map_err(refuse)?;
        Ok(weights::save_in(&network.parameters, &folder, &format!("{name}.safetensors"))?)
    }

    /// Draws the whole run and waits until all events are on the disk. Whether anything of the run could not be written.
    pub fn close(mut self) -> bool {
        self.draw();
        let flushed = self.events.flush();
        self.note(flushed);
        self.has_failed
    }

    /// Logs the failure of a file the first time; the others are like it.
    fn note(&mut self, outcome: Result<(), EventsError>) {
        let Err(error) = outcome else { return };
        self.has_failed = true;
        let path = match &error {
            EventsError::Write { path, .. } | EventsError::Incomplete { path, .. } => path.clone(),
            _ => PathBuf::new(),
        };
        if self.failed_files.insert(path) {
            tracing::error!("{error}");
        }
    }
}
