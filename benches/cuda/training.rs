//! A model on one random batch of a GPU, and the time of its training steps.

use std::time::Instant;

use gradwatch::config::Config;
use gradwatch::data::ImageShape;
use gradwatch::evaluation::Numerics;
use gradwatch::libtorch::{Moment, OpCounter, OptimizerRule, clear_grads};
use gradwatch::model::{self, Network, Parameter, Pass};
use gradwatch::optim::{Optimizer, ParameterGroup, Rates, StepControl};
use tch::{Device, Kind, Reduction, Tensor};

use crate::Outcome;
use crate::mode::Mode;
use crate::trainer::Trainer;

/// As in ImageNet.
pub(crate) const CLASSES: usize = 1000;
/// So small that the weights stay practically the same through all blocks.
pub(crate) const RATES: Rates = Rates { learning_rate: 1e-6, momentum: 0.9 };
/// Untimed steps of a new model: cuDNN tries its algorithms, and the GPU raises its clock.
const FIRST_STEPS: u32 = 10;
/// Untimed steps of a block. The first one measures everything, which allocates the memory of the others.
const WARM_UP: u32 = 3;
const CONFIG: &str = "[run]\nmax_epochs = 1\nprecision = \"bf16\"\nchannels_last = true\ncudnn_benchmark = true\n\
                      [data]\nsource = \"synthetic\"\n[model]";

/// A model, its batch, and its optimizer.
pub(crate) struct Training {
    pub device: Device,
    pub network: Network,
    pub numerics: Numerics,
    /// The trained parameters by name.
    pub parameters: Vec<(String, Tensor)>,
    pub params: Vec<Tensor>,
    pub optimizer: Optimizer,
    pub images: Tensor,
    pub labels: Tensor,
}

impl Training {
    pub(crate) fn new(name: &str, batch: u32, size: u32, device: Device) -> Outcome<Self> {
        tch::manual_seed(42);
        let config = Config::parse(&format!("{CONFIG}\nname = \"{name}\""), "bench")?;
        let input = ImageShape { channels: 3, height: size as usize, width: size as usize };
        let network = model::build(&config.model, input, CLASSES, device)?;
        let numerics = Numerics::new(&config.run, device);
        numerics.lay_out_weights(&network)?;
        let named = |parameter: &Parameter| (parameter.name.to_string(), parameter.tensor.shallow_clone());
        let trainable = || network.parameters.trainable().map(named);
        let rule = OptimizerRule::Sgd { dampening: 0.0, nesterov: false };
        let optimizer = Optimizer::with_rule(rule, vec![ParameterGroup::new(trainable(), 0.0)])?;
        let parameters: Vec<(String, Tensor)> = trainable().collect();
        let (batch, [channels, height, width]) = (i64::from(batch), input.sizes());
        let pixels = Tensor::f_randn([batch, height, width, channels], (Kind::Float, Device::Cpu))?;
        let labels = Tensor::f_randint(CLASSES as i64, [batch], (Kind::Int64, Device::Cpu))?;
        let mut training = Self {
            device,
            numerics,
            params: parameters.iter().map(|(_, param)| param.shallow_clone()).collect(),
            parameters,
            optimizer,
            images: pixels.f_to_device(device)?.f_permute([0, 3, 1, 2])?,
            labels: labels.f_to_device(device)?,
            network,
        };
        training.run(&mut None, FIRST_STEPS)?;
        Ok(training)
    }

    /// Wall time of a step in seconds: the mean over a block.
    pub(crate) fn block_secs(&mut self, mode: &Mode, steps: u32) -> Outcome<f64> {
        let mut trainer = self.begin(mode)?;
        // Without these device syncs, this would measure only the time to queue the work.
        self.wait()?;
        let started = Instant::now();
        self.run(&mut trainer, steps)?;
        self.wait()?;
        Ok(started.elapsed().as_secs_f64() / f64::from(steps))
    }

    /// ATen operations of a step: the mean over a block.
    pub(crate) fn ops_per_step(&mut self, mode: &Mode, steps: u32) -> Outcome<u64> {
        let mut trainer = self.begin(mode)?;
        let counter = OpCounter::start()?;
        self.run(&mut trainer, steps)?;
        Ok(counter.stop()?.total() / u64::from(steps))
    }

    fn begin(&mut self, mode: &Mode) -> Outcome<Option<Trainer>> {
        let mut trainer = mode.clipping.map(|clipping| Trainer::new(self, &mode.variant, clipping)).transpose()?;
        self.run(&mut trainer, WARM_UP)?;
        Ok(trainer)
    }

    fn run(&mut self, trainer: &mut Option<Trainer>, steps: u32) -> Outcome<()> {
        for _ in 0..steps {
            match trainer {
                Some(trainer) => trainer.step(self)?,
                None => self.plain_step()?,
            }
        }
        Ok(())
    }

    fn plain_step(&mut self) -> Outcome<()> {
        let loss = {
            let _autocast = self.numerics.enter()?;
            let logits = self.network.forward(&self.images, &Pass::training())?;
            logits.f_cross_entropy_loss::<Tensor>(&self.labels, None, Reduction::Mean, -100, 0.0)?
        };
        loss.f_backward()?;
        self.optimizer.step(RATES, &StepControl::default())?;
        Ok(clear_grads(&self.params)?)
    }

    fn wait(&self) -> Outcome<()> {
        Ok(Moment::record(self.device)?.wait()?)
    }
}
