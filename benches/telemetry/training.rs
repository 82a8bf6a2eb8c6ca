//! The timed training steps: three models, each on one random batch.

use std::error::Error;
use std::time::Instant;

use gradwatch::config::Config;
use gradwatch::data::ImageShape;
use gradwatch::libtorch::{OptimizerRule, clear_grads};
use gradwatch::model::{self, Parameter, Pass, Tap};
use gradwatch::optim::{Optimizer, ParameterGroup, Rates, StepControl};
use tch::nn::{self, ModuleT};
use tch::{Device, Kind, Reduction, TchError, Tensor};

use crate::mobilenet::mobilenet_v2;
use crate::variant::{PLAIN, Variant};
use crate::watch::Watch;

const CLASSES: usize = 10;
const INPUT: ImageShape = ImageShape { channels: 3, height: 32, width: 32 };
/// So small that a model stays practically the same through all blocks.
const RATES: Rates = Rates { learning_rate: 1e-4, momentum: 0.9 };

type Forward = Box<dyn Fn(&Tensor, &Pass<'_>) -> Result<Tensor, TchError>>;

/// A model to time, under its name in the peers' script.
pub(crate) struct Subject {
    pub name: &'static str,
    batch: i64,
    build: fn(i64) -> Result<Training, Box<dyn Error>>,
}

pub(crate) const SUBJECTS: [Subject; 3] = [
    Subject { name: "resnet18", batch: 64, build: |batch| from_config("name = \"resnet18\"", batch) },
    Subject { name: "mobilenetv2", batch: 32, build: mobilenet },
    // With torch's own initialization its gradients vanish.
    Subject { name: "mlp 100x64", batch: 64, build: |batch| from_config(MLP, batch) },
];

const MLP: &str = "name = \"mlp\"\ndepth = 100\nwidth = 64\nactivation = \"tanh\"\nnormalization = \"none\"";

/// A model with everything that a training step needs.
pub(crate) struct Training {
    forward: Forward,
    /// Named parameters that the optimizer trains.
    pub parameters: Vec<(String, Tensor)>,
    params: Vec<Tensor>,
    optimizer: Optimizer,
    images: Tensor,
    labels: Tensor,
}

impl Subject {
    /// Initializes the model and its batch.
    pub(crate) fn start(&self) -> Result<Training, Box<dyn Error>> {
        tch::manual_seed(42);
        (self.build)(self.batch)
    }
}

impl Training {
    fn new(forward: Forward, parameters: Vec<(String, Tensor)>, batch: i64) -> Result<Self, Box<dyn Error>> {
        let params: Vec<Tensor> = parameters.iter().map(|(_, param)| param.shallow_clone()).collect();
        let named = parameters.iter().map(|(name, param)| (name.clone(), param.shallow_clone()));
        let group = ParameterGroup::new(named, 0.0);
        let rule = OptimizerRule::Sgd { dampening: 0.0, nesterov: false };
        let [channels, height, width] = INPUT.sizes();
        Ok(Self {
            forward,
            parameters,
            params,
            optimizer: Optimizer::with_rule(rule, vec![group])?,
            images: Tensor::f_randn([batch, channels, height, width], (Kind::Float, Device::Cpu))?,
            labels: Tensor::f_randint(CLASSES as i64, [batch], (Kind::Int64, Device::Cpu))?,
        })
    }

    /// Wall times in seconds of a plain step of `self`, of a monitored step of its twin, and of the rules in the
    /// latter. The two alternate step by step, so that other load on the machine affects both. Excludes the start and
    /// the end of the monitoring.
    pub(crate) fn pair_secs(
        &mut self,
        twin: &mut Self,
        variant: &Variant,
        steps: u32,
    ) -> Result<[f64; 3], Box<dyn Error>> {
        let mut plain = Watch::start(&PLAIN, &self.parameters)?;
        let mut watch = Watch::start(variant, &twin.parameters)?;
        let mut secs = [0.0; 3];
        self.step(&mut plain)?;
        twin.step(&mut watch)?;
        let judging = watch.judging;
        for _ in 0..steps {
            let started = Instant::now();
            self.step(&mut plain)?;
            let between = Instant::now();
            twin.step(&mut watch)?;
            secs[0] += (between - started).as_secs_f64();
            secs[1] += between.elapsed().as_secs_f64();
        }
        secs[2] = (watch.judging - judging).as_secs_f64();
        Ok(secs.map(|secs| secs / f64::from(steps)))
    }

    fn step(&mut self, watch: &mut Watch) -> Result<(), Box<dyn Error>> {
        let due = watch.due();
        let tap = |tap: &Tap<'_>| watch.taps.see(tap);
        let pass = Pass::training();
        let logits = (self.forward)(&self.images, &if due.layers { pass.with_tap(&tap) } else { pass })?;
        let loss = logits.f_cross_entropy_loss::<Tensor>(&self.labels, None, Reduction::Mean, -100, 0.0)?;
        watch.start_backward(due)?;
        loss.f_backward()?;
        let measurement = watch.measure(due)?;
        let control = StepControl { measures_updates: due.weights, ..StepControl::default() };
        let update = self.optimizer.step(RATES, &control)?;
        watch.finish(due, measurement, &update, &loss)?;
        Ok(clear_grads(&self.params)?)
    }
}

fn from_config(model: &str, batch: i64) -> Result<Training, Box<dyn Error>> {
    let toml = format!("run.max_epochs = 1\ndata.source = \"synthetic\"\n[model]\n{model}");
    let network = model::build(&Config::parse(&toml, "bench")?.model, INPUT, CLASSES, Device::Cpu)?;
    let named = |parameter: &Parameter| (parameter.name.to_string(), parameter.tensor.shallow_clone());
    let parameters = network.parameters.trainable().map(named).collect();
    Training::new(Box::new(move |images, pass| network.forward(images, pass)), parameters, batch)
}

fn mobilenet(batch: i64) -> Result<Training, Box<dyn Error>> {
    let vs = nn::VarStore::new(Device::Cpu);
    let net = mobilenet_v2(&vs)?;
    let mut parameters: Vec<_> = vs.variables().into_iter().filter(|(_, tensor)| tensor.requires_grad()).collect();
    parameters.sort_by(|(one, _), (other, _)| one.cmp(other));
    Training::new(Box::new(move |images, pass| Ok(net.forward_t(images, pass.train))), parameters, batch)
}
