//! Writes the files of a run: TensorBoard events, metrics.jsonl, findings.jsonl, weights.

use std::{collections::BTreeSet, error::Error, iter, path::PathBuf, time::Duration};

use serde::Serialize;

use super::{
    Reading, RecordingError, dashboard,
    explanations::{self, NamedPicture},
    metrics_line::Line,
    pictures::Pictures,
    step_events,
};
use crate::{
    EXPLANATIONS,
    config::{ClippingMode, Config},
    diagnosis::{Alarm, Facts, Finding, LostImages},
    evaluation::{Abridged, Metrics, confusion_table},
    events::{
        EventsError, JsonLines, LogPosition, PendingPosition, RunFolder, Session, SummaryWriter, tags, write_facts,
    },
    gradient::{Due, Origin},
    model::{Network, weights},
    optim::Rates,
    picture::Picture,
    repair::RepairHistory,
};

const WEIGHTS: &str = "weights";
/// Most classes for which TensorBoard gets series per class.
const MOST_SERIES: usize = 100;

/// Writes the files of a run.
///
/// If a file can no longer be written, only its own entries are lost. The error is logged once, and
/// [`close`](Self::close) reports it.
pub struct Recorder {
    folder: RunFolder,
    events: SummaryWriter,
    metrics: JsonLines,
    findings: JsonLines,
    /// Event files of earlier sessions.
    finished_logs: Vec<LogPosition>,
    /// `None` if pictures are off.
    pictures: Option<Pictures>,
    clips: bool,
    has_failed: bool,
    failed_files: BTreeSet<PathBuf>,
}

/// State of a run's files in the checkpoint from which the run resumes.
pub(crate) struct ResumedRecord<'a> {
    /// Optimizer steps before the checkpoint.
    pub step: u64,
    /// Whether the last evaluation was at this step.
    pub is_evaluated: bool,
    /// Positions in the logs.
    pub logs: &'a [LogPosition],
    pub facts: &'a Facts,
    pub pictures: Option<Pictures>,
    /// Whether entries are missing in a file of the run.
    pub is_incomplete: bool,
}

impl Recorder {
    /// Creates the files of a new run and writes its resolved config.
    ///
    /// # Errors
    /// If a file cannot be created.
    pub fn create(folder: RunFolder, config: &Config, facts: Option<&Facts>) -> Result<Self, EventsError> {
        // A process that died before the first checkpoint may have left files.
        folder.cut_back(&[])?;
        let has_ranks = facts.is_some_and(|facts| facts.ranks.len() > 1);
        let mut recorder = Self::open(folder, config, 0, 0, has_ranks)?;
        recorder.start(facts)?;
        Ok(recorder)
    }

    /// Truncates the files of a run to a checkpoint and opens them to append.
    ///
    /// # Errors
    /// If a file cannot be truncated or created.
    pub(crate) fn resume(folder: RunFolder, config: &Config, from: ResumedRecord<'_>) -> Result<Self, EventsError> {
        let ResumedRecord { step, is_evaluated, logs, facts, pictures, is_incomplete } = from;
        // Before the first step, nothing is worth keeping.
        folder.cut_back(if step == 0 { &[] } else { logs })?;
        // Evaluations are written under the number of the next step. TensorBoard must not purge them.
        let has_ranks = facts.ranks.len() > 1;
        let mut recorder = Self::open(folder, config, step, step + u64::from(is_evaluated), has_ranks)?;
        if step == 0 && config.diagnosis.enabled {
            recorder.start(Some(facts))?;
        }
        if recorder.pictures.is_some() && pictures.is_some() {
            recorder.pictures = pictures;
        }
        recorder.has_failed = is_incomplete || logs.iter().any(|log| log.is_incomplete);
        Ok(recorder)
    }

    /// Opens the files. `first_step` is the step of the first entry.
    fn open(
        folder: RunFolder,
        config: &Config,
        step: u64,
        first_step: u64,
        has_ranks: bool,
    ) -> Result<Self, EventsError> {
        let toml = config.to_toml();
        folder.write("config.toml", &toml)?;
        let finished_logs = folder.earlier_sessions()?;
        let session = Session { number: folder.next_session()?, step: first_step.into() };
        let events = SummaryWriter::create_session(folder.path(), session)?;
        events.text("config", step, format!("```toml\n{toml}\n```"))?;
        if step == 0 {
            events.layout(&dashboard::layout(config.data.multi_label, has_ranks))?;
        }
        let metrics = folder.json_lines("metrics.jsonl")?;
        let findings = folder.json_lines("findings.jsonl")?;
        // Checkpoints rely on these files.
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

    /// Writes the facts known before the first step as the first line of metrics.jsonl.
    fn start(&mut self, facts: Option<&Facts>) -> Result<(), EventsError> {
        facts.map_or(Ok(()), |facts| write_facts(&mut self.metrics, facts))
    }

    /// Event files of earlier sessions.
    pub(crate) fn finished_logs(&self) -> &[LogPosition] {
        &self.finished_logs
    }

    /// Current positions in the logs of this session.
    pub(crate) fn positions(&self) -> Result<Vec<PendingPosition>, EventsError> {
        Ok(vec![self.events.position(), self.metrics.position()?, self.findings.position()?])
    }

    /// Data of the pictures; `None` if pictures are off.
    pub(crate) fn pictures(&self) -> Option<&Pictures> {
        self.pictures.as_ref()
    }

    /// Writes the picture of the first batch.
    pub(crate) fn first_batch(&mut self, picture: Result<Picture, RecordingError>) {
        match picture {
            Ok(Picture { png, width, height }) => {
                let written = self.events.image(tags::FIRST_BATCH, 0u64, png, width, height);
                self.log_failure(written);
            }
            Err(error) => self.report_failure(&error),
        }
    }

    /// Writes explained images to TensorBoard and as files. Only the files of the last evaluation are kept.
    pub(crate) fn explanations(&mut self, step: u64, pictures: Vec<NamedPicture>) {
        let folder = match self.folder.folder().make_folder(EXPLANATIONS) {
            Ok(folder) => folder,
            Err(cause) => {
                let path = self.folder.path().join(EXPLANATIONS);
                return self.report_failure(&EventsError::Create { path, cause });
            }
        };
        explanations::keep_only(&folder, &pictures);
        for (name, Picture { png, width, height }) in pictures {
            let file = format!("{name}.png");
            if let Err(cause) = folder.replace(&file, &png) {
                self.report_failure(&EventsError::Create { path: folder.path().join(file), cause });
            }
            let written = self.events.image(tags::EXPLANATIONS.of(&name), step, png, width, height);
            self.log_failure(written);
        }
    }

    /// Whether any write has failed so far.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Logs a failed write. The run continues.
    pub fn report_failure(&mut self, error: &dyn Error) {
        tracing::error!("{}", with_causes(error));
        self.has_failed = true;
    }

    /// Run folder.
    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// Writes a tracked step.
    pub(crate) fn step(&mut self, rates: Rates, reading: &Reading, due: Due) {
        self.pictures.iter_mut().for_each(|pictures| pictures.add(reading));
        let events = step_events::write(&self.events, rates, reading, due, self.clips);
        self.log_failure(events);
        if due.pictures {
            self.draw();
        }
        let &Reading { step, epoch, loss, total_norm, clip_coef, skipped_steps, .. } = reading;
        let learning_rate = rates.learning_rate;
        let line = Line::Step { step, epoch, loss, learning_rate, grad_norm: total_norm, clip_coef, skipped_steps };
        let line = self.metrics.write(&line);
        self.log_failure(line);
        for line in reading.ranks.iter().flat_map(|ranks| Line::of_ranks(step, ranks)) {
            let line = self.metrics.write(&line);
            self.log_failure(line);
        }
    }

    /// Draws the run so far, unless the pictures are up to date.
    fn draw(&mut self) {
        let Some(pictures) = &mut self.pictures else { return };
        let Some(step) = pictures.undrawn.take() else { return };
        let pictures = pictures.draw().unwrap_or_else(|error| {
            self.report_failure(&error);
            Vec::new()
        });
        for (tag, picture) in pictures {
            let Picture { png, width, height } = picture;
            let written = self.events.image(tag, step, png, width, height);
            self.log_failure(written);
        }
    }

    /// Writes a finding at the step at which it is new or got worse.
    pub(crate) fn finding(&mut self, step: u64, finding: &Finding) {
        #[derive(Serialize)]
        struct Line<'a> {
            step: u64,
            #[serde(flatten)]
            finding: &'a Finding,
        }
        let line = self.findings.write(&Line { step, finding });
        self.log_failure(line);
        let text = self.events.text(tags::FINDINGS.of(finding.rule), step, finding.to_string());
        self.log_failure(text);
    }

    /// Writes an alarm of another rule set.
    pub(crate) fn alarm(&mut self, alarm: &Alarm) {
        let line = self.findings.write(&serde_json::json!({ "step": alarm.step, "alarm": alarm }));
        self.log_failure(line);
        let text = self.events.text(
            tags::ALARMS.of(format_args!("{}/{}", alarm.set, alarm.rule)),
            alarm.step,
            alarm.to_string(),
        );
        self.log_failure(text);
    }

    /// Writes all repairs so far as a list.
    pub(crate) fn repairs(&mut self, step: u64, history: &RepairHistory) {
        let lines: Vec<String> = history.lines().map(|line| format!("- {line}")).collect();
        let text = self.events.text(tags::REPAIRS, step, lines.join("\n"));
        self.log_failure(text);
    }

    /// Writes the classes with images that do not decode. Called when they change.
    pub(crate) fn lost_images(&mut self, step: u64, classes: &[LostImages]) {
        let written = self.metrics.write(&Line::LostImages { step, classes });
        self.log_failure(written);
    }

    /// Writes the first non-finite value of a skipped step.
    pub(crate) fn origin(&mut self, step: u64, origin: &Origin) {
        let text = self.events.text(tags::NON_FINITE_ORIGIN.name(), step, origin.to_string());
        self.log_failure(text);
        let line = self.metrics.write(&Line::NonFinite { step, origin });
        self.log_failure(line);
    }

    /// Writes an evaluation: the training images since the last one, the validation images, and these with averaged
    /// weights.
    pub(crate) fn evaluation(
        &mut self,
        step: u64,
        epoch: u64,
        elapsed: Duration,
        train: &Metrics,
        validation: &Metrics,
        ema: Option<&Metrics>,
    ) {
        let events = self.write_evaluation(step, train, validation, ema);
        self.log_failure(events);
        let elapsed_secs = elapsed.as_secs_f64();
        let (train, validation, ema) = (Abridged(train), Abridged(validation), ema.map(Abridged));
        let line = self.metrics.write(&Line::Evaluation { step, epoch, elapsed_secs, train, validation, ema });
        self.log_failure(line);
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
                self.events.scalar(tags::metric(name, split), step, value)?;
            }
        }
        let classes = if validation.per_class.len() <= MOST_SERIES { &validation.per_class[..] } else { &[] };
        for class in classes {
            let average_precision = class.average_precision.map(|value| ("average_precision", value));
            let figures = [("precision", class.precision), ("recall", class.recall), ("f1", class.f1)];
            for (name, value) in figures.into_iter().chain(average_precision) {
                self.events.scalar(tags::metric_of_class(name, &class.class), step, value)?;
            }
        }
        match &validation.confusion {
            Some(_) => self.events.text(tags::VALIDATION_CONFUSION.name(), step, confusion_table(validation)),
            None => Ok(()),
        }
    }

    /// Writes the validation accuracy with the statistics of each batch, if it was measured.
    pub(crate) fn batch_statistics_accuracy(&mut self, step: u64, accuracy: Option<f64>) {
        let tag = tags::BATCH_STATISTICS_ACCURACY.name();
        let written = accuracy.map_or(Ok(()), |accuracy| self.events.scalar(tag, step, accuracy));
        self.log_failure(written);
    }

    /// Saves the weights of the best evaluation so far. The run continues if the disk is full.
    pub(crate) fn save_best(&mut self, network: &Network) {
        if let Err(error) = self.save(network, "best") {
            self.report_failure(&error);
        }
    }

    /// Saves the weights as `weights/<name>.safetensors`, atomically.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn save(&self, network: &Network, name: &str) -> Result<(), RecordingError> {
        let refuse = |cause| EventsError::Create { path: self.folder.path().join(WEIGHTS), cause };
        let folder = self.folder.folder().make_folder(WEIGHTS).map_err(refuse)?;
        Ok(weights::save_in(&network.parameters, &folder, &format!("{name}.safetensors"))?)
    }

    /// Draws the whole run and waits until all events are on disk. Returns whether any write has failed.
    pub fn close(mut self) -> bool {
        self.draw();
        let flushed = self.events.flush();
        self.log_failure(flushed);
        self.has_failed
    }

    /// Closes the files as [`close`](Self::close) does, and returns the folder, which stays locked.
    pub(crate) fn into_folder(mut self) -> RunFolder {
        self.draw();
        let flushed = self.events.flush();
        self.log_failure(flushed);
        self.folder
    }

    /// Logs only the first failure of each file.
    fn log_failure(&mut self, outcome: Result<(), EventsError>) {
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

/// The error with its causes, in one line.
fn with_causes(error: &dyn Error) -> String {
    let causes = iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
