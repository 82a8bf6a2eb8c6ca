//! The monitoring work of a training run, built from the library's public parts.

use std::{
    collections::HashMap,
    error::Error,
    time::{Duration, Instant},
};

use gradwatch::config::MonitorConfig;
use gradwatch::diagnosis::{Diagnosis, Facts, Observation, Subject};
use gradwatch::events::{
    SummaryWriter, tags, write_gradient_bands, write_gradients, write_histograms, write_layers, write_slope,
    write_timeline, write_updates, write_weights,
};
use gradwatch::gradient::{
    DepthProfile, Due, GradientError, GradientMeasurement, GradientMonitor, GradientStatistics, LayerStatistics,
    LayerTaps, Measurement, ParameterUpdate, TensorStatistics,
};
use gradwatch::libtorch::{Detail, HostBlock};
use gradwatch::optim::UpdateOutcome;
use tch::Tensor;
use tempfile::TempDir;

use crate::variant::Variant;

/// Hooks, taps, and event file of one block.
pub(crate) struct Watch {
    pub taps: LayerTaps,
    monitor: Option<GradientMonitor>,
    config: Option<MonitorConfig>,
    writer: SummaryWriter,
    step: u64,
    diagnosis: Diagnosis,
    /// Time spent in the rules.
    pub judging: Duration,
    _logdir: TempDir,
}

impl Watch {
    pub(crate) fn start(variant: &Variant, parameters: &[(String, Tensor)]) -> Result<Self, Box<dyn Error>> {
        let logdir = tempfile::tempdir()?;
        let named = parameters.iter().map(|(name, param)| (name.as_str(), param));
        Ok(Self {
            taps: LayerTaps::default(),
            monitor: if variant.has_hooks { Some(GradientMonitor::attach(named)?) } else { None },
            config: variant.monitor()?,
            writer: SummaryWriter::create(logdir.path())?,
            step: 1000,
            diagnosis: Diagnosis::default(),
            judging: Duration::ZERO,
            _logdir: logdir,
        })
    }

    pub(crate) fn due(&self) -> Due {
        self.config.as_ref().map(|config| Due::at(self.step, config)).unwrap_or_default()
    }

    pub(crate) fn start_backward(&self, due: Due) -> Result<(), GradientError> {
        self.monitor.iter().filter(|_| due.layers).try_for_each(GradientMonitor::start_timeline)
    }

    pub(crate) fn measure(&self, due: Due) -> Result<Option<GradientMeasurement>, Box<dyn Error>> {
        let detail = if due.distributions { Detail::Distribution } else { Detail::Norms };
        let monitor = self.monitor.as_ref().filter(|_| due.reading);
        Ok(monitor.map(|monitor| monitor.measure(detail)).transpose()?)
    }

    /// Copies the measurements to the host once, and writes those that are due to the event file.
    pub(crate) fn finish(
        &mut self,
        due: Due,
        measurement: Option<GradientMeasurement>,
        update: &UpdateOutcome,
        loss: &Tensor,
    ) -> Result<(), Box<dyn Error>> {
        let step = self.step;
        self.step += 1;
        let (Some(measurement), Some(monitor)) = (measurement, &self.monitor) else { return Ok(()) };
        let mut block = HostBlock::default();
        let gradients = measurement.add_to(&mut block)?;
        let layers = self.taps.add_to(&mut block, None)?;
        let weights = monitor.parameters().map(|(name, weight)| (name.clone(), weight.shallow_clone()));
        let weights = if due.weights { Some(Measurement::of(weights, Detail::Distribution)?) } else { None };
        let weights = weights.map(|weights| weights.add_to(&mut block)).transpose()?;
        let loss = block.add(loss)?;
        let squares = update.squares.iter().map(|squares| block.add(squares)).collect::<Result<Vec<_>, _>>()?;
        let values = block.read()?;
        let (writer, gradients) = (&self.writer, gradients.take(&values));
        if due.parameters {
            write_gradients(writer, step, &gradients)?;
        } else {
            write_gradient_bands(writer, step, &gradients)?;
        }
        if due.histograms {
            write_histograms(writer, tags::GRAD_HISTOGRAM, step, &gradients.parameters)?;
        }
        let layers = layers.take(&values);
        write_layers(writer, step, &layers)?;
        if let Some(slope) = DepthProfile::of_layers(&layers).slope() {
            write_slope(writer, step, &slope)?;
        }
        if due.layers {
            write_timeline(writer, step, &monitor.timeline())?;
        }
        let (mut updates, weights) = (Vec::new(), weights.map(|weights| weights.take(&values).0).unwrap_or_default());
        if due.weights {
            write_weights(writer, step, &weights)?;
            let moves: HashMap<usize, f64> = update
                .params
                .iter()
                .map(|param| param.data_ptr() as usize)
                .zip(squares.iter().flat_map(|part| values[part].iter().copied()))
                .collect();
            let moved = weights.iter().zip(monitor.parameters());
            updates.extend(moved.filter_map(|(weight, (_, param))| {
                Some(ParameterUpdate::new(weight, *moves.get(&(param.data_ptr() as usize))?))
            }));
            write_updates(writer, step, &updates)?;
            if due.histograms {
                write_histograms(writer, tags::PARAM_HISTOGRAM, step, &weights)?;
            }
        }
        self.judging += judge(&mut self.diagnosis, step, values[&loss][0], &gradients, &weights, &updates, &layers);
        Ok(())
    }
}

/// Runs the rules for a step.
fn judge(
    diagnosis: &mut Diagnosis,
    step: u64,
    loss: f64,
    gradients: &GradientStatistics,
    weights: &[TensorStatistics],
    updates: &[ParameterUpdate],
    layers: &[LayerStatistics],
) -> Duration {
    let started = Instant::now();
    let depth_profile = (!layers.is_empty()).then(|| DepthProfile::of_layers(layers));
    let (total_norm, gradients) = (gradients.total_norm, Some(gradients));
    let seen = Observation {
        step,
        loss,
        learning_rate: 1e-4,
        total_norm,
        gradients,
        weights,
        updates,
        layers,
        depth_profile,
        ..Observation::default()
    };
    let facts = Facts { classes: 10, ..Facts::default() };
    diagnosis.judge(&seen, &Subject { config: None, facts: &facts });
    started.elapsed()
}
