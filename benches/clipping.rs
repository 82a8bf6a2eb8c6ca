//! Time after backward: clipping and the optimizer step; and whole training steps without monitoring.
//!
//! The variants of a model run in rotation, so that other load on the machine affects all of them; each figure is the
//! median over `TURNS` turns. `PEERS` names a file of rows by `benches/peers/clipping.py --json`, which are printed
//! next to gradwatch's.

use std::{env, error::Error, fs, thread::available_parallelism, time::Instant};

use gradwatch::{
    clipping::{Clipping, ClippingScope, StepGradients},
    config::Config,
    data::ImageShape,
    gradient::Measurement,
    libtorch::{OptimizerRule, clear_grads, foreach_copy, keep_freed_memory},
    model::{self, Network, Pass},
    optim::{Optimizer, ParameterGroup, Rates, StepControl},
};
use serde_json::Value;
use tch::{Device, Kind, Reduction, Tensor};

type Outcome<T> = Result<T, Box<dyn Error>>;

const ROUNDS: usize = 10;
const RATES: Rates = Rates { learning_rate: 1e-8, momentum: 0.9 };
/// Gradients from a standard normal distribution, times this factor: with 1e-3 AGC clips nothing, with 10 everything.
const IDLE: f64 = 1e-3;
const LARGE: f64 = 10.0;

/// A model's parameters, with gradients that can be restored.
struct Fixture {
    params: Vec<Tensor>,
    saved: [Vec<Tensor>; 2],
    optimizer: Optimizer,
    clippings: Vec<(&'static str, f64, Clipping)>,
}

fn network(name: &str, classes: usize) -> Outcome<Network> {
    let toml = format!("run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"{name}\"");
    let input = ImageShape { channels: 3, height: 32, width: 32 };
    Ok(model::build(&Config::parse(&toml, "bench")?.model, input, classes, Device::Cpu)?)
}

fn optimizer(network: &Network) -> Outcome<Optimizer> {
    let named = network.parameters.trainable().map(|param| (param.name.to_string(), param.tensor.shallow_clone()));
    let rule = OptimizerRule::Sgd { dampening: 0.0, nesterov: false };
    Ok(Optimizer::with_rule(rule, vec![ParameterGroup::new(named, 0.0)])?)
}

fn clipping(network: &Network, mode: &str) -> Outcome<Clipping> {
    let toml =
        format!("run.max_epochs = 1\ndata.source = \"synthetic\"\nmodel.name = \"mlp\"\nclipping.mode = \"{mode}\"");
    let names: Vec<&str> = network.parameters.trainable().map(|param| param.name.as_str()).collect();
    let scope = ClippingScope { names: &names, head: network.model.head(), ..ClippingScope::default() };
    Ok(Clipping::new(&Config::parse(&toml, "bench")?.clipping, &scope, Device::Cpu)?)
}

impl Fixture {
    fn new(name: &str, classes: usize) -> Outcome<Self> {
        tch::manual_seed(42);
        let network = network(name, classes)?;
        let params: Vec<Tensor> = network.parameters.trainable().map(|param| param.tensor.shallow_clone()).collect();
        let normal = |param: &Tensor, scale: f64| param.detach().randn_like() * scale;
        for param in &params {
            tch::no_grad(|| param.shallow_clone().copy_(&normal(param, 1.0)));
        }
        let saved = [IDLE, LARGE].map(|scale| params.iter().map(|param| normal(param, scale)).collect());
        // Separate gradients, into which the saved ones are copied.
        params
            .iter()
            .map(|param| param.sum(Kind::Float))
            .reduce(|sum, next| sum + next)
            .ok_or("no parameters")?
            .backward();
        let clippings = vec![
            ("norm clip", LARGE, clipping(&network, "norm")?),
            ("value clip", LARGE, clipping(&network, "value")?),
            ("AGC, nothing clipped", IDLE, clipping(&network, "agc")?),
            ("AGC, all clipped", LARGE, clipping(&network, "agc")?),
        ];
        Ok(Self { optimizer: optimizer(&network)?, params, saved, clippings })
    }

    fn grads(&self) -> Vec<Tensor> {
        self.params.iter().map(Tensor::grad).collect()
    }

    fn reset(&self, scale: f64) -> Outcome<()> {
        Ok(foreach_copy(&self.grads(), &self.saved[usize::from(scale == LARGE)])?)
    }

    /// As in the trainer: the clip coefficient becomes an inverse scale in the optimizer's kernel.
    fn norm_clip_and_step(&mut self) -> Outcome<()> {
        let grads = self.grads();
        let measurement = Measurement::of_total(grads.iter().map(Tensor::shallow_clone).collect())?;
        let positions: Vec<usize> = (0..grads.len()).collect();
        let (params, grads, positions) = (&self.params[..], &grads[..], &positions[..]);
        let clip = self.clippings[0].2.clip(&StepGradients { params, grads, positions, measurement: &measurement })?;
        let grad_scale = clip.grad_scale()?;
        let control =
            StepControl { grad_scale: grad_scale.as_ref(), found_inf: Some(&clip.found_inf), ..StepControl::default() };
        self.optimizer.step(RATES, &control)?;
        Ok(())
    }

    /// Seconds per call of each variant.
    fn turn(&mut self) -> Outcome<Vec<(&'static str, f64)>> {
        let mut secs = vec![("fused SGD step", 0.0), ("norm clip + step", 0.0)];
        secs.extend(self.clippings.iter().map(|(name, ..)| (*name, 0.0)));
        for _ in 0..ROUNDS {
            self.reset(LARGE)?;
            let started = Instant::now();
            self.optimizer.step(RATES, &StepControl::default())?;
            secs[0].1 += started.elapsed().as_secs_f64();
            self.reset(LARGE)?;
            let started = Instant::now();
            self.norm_clip_and_step()?;
            secs[1].1 += started.elapsed().as_secs_f64();
            for index in 0..self.clippings.len() {
                self.reset(self.clippings[index].1)?;
                let started = Instant::now();
                self.clippings[index].2.clip_in_place(&self.params)?;
                secs[2 + index].1 += started.elapsed().as_secs_f64();
            }
        }
        Ok(secs.into_iter().map(|(name, secs)| (name, secs / ROUNDS as f64)).collect())
    }
}

/// A training step of ResNet-18 at each batch size.
struct Steps {
    network: Network,
    params: Vec<Tensor>,
    optimizer: Optimizer,
    batches: Vec<(&'static str, Tensor, Tensor)>,
}

impl Steps {
    fn new() -> Outcome<Self> {
        tch::manual_seed(42);
        let network = network("resnet18", 10)?;
        let params = network.parameters.trainable().map(|param| param.tensor.shallow_clone()).collect();
        let batch = |name, size: i64| {
            let images = Tensor::randn([size, 3, 32, 32], (Kind::Float, Device::Cpu));
            (name, images, Tensor::randint(10, [size], (Kind::Int64, Device::Cpu)))
        };
        let batches = vec![batch("batch 64", 64), batch("batch 2", 2)];
        Ok(Self { optimizer: optimizer(&network)?, network, params, batches })
    }

    fn turn(&mut self) -> Outcome<Vec<(&'static str, f64)>> {
        let mut secs: Vec<(&'static str, f64)> = self.batches.iter().map(|(name, ..)| (*name, 0.0)).collect();
        for _ in 0..ROUNDS {
            for (index, (_, images, labels)) in self.batches.iter().enumerate() {
                let started = Instant::now();
                let logits = self.network.forward(images, &Pass::training())?;
                logits.f_cross_entropy_loss::<Tensor>(labels, None, Reduction::Mean, -100, 0.0)?.f_backward()?;
                self.optimizer.step(RATES, &StepControl::default())?;
                clear_grads(&self.params)?;
                secs[index].1 += started.elapsed().as_secs_f64();
            }
        }
        Ok(secs.into_iter().map(|(name, secs)| (name, secs / ROUNDS as f64)).collect())
    }
}

fn main() -> Outcome<()> {
    keep_freed_memory();
    let threads = available_parallelism()?.get();
    tch::set_num_threads(i32::try_from(threads)?);
    let number = |name: &str| env::var(name).ok().filter(|text| !text.is_empty()).map(|text| text.parse::<usize>());
    let turns = number("TURNS").transpose()?.unwrap_or(5).max(1);
    let peers = match env::var("PEERS") {
        Ok(path) if !path.is_empty() => {
            rows_of(&fs::read_to_string(&path).map_err(|cause| format!("{path}: {cause}"))?)?
        }
        _ => Vec::new(),
    };
    println!("{threads} threads, medians of {turns} turns");
    println!(
        "| {:<13} | {:<20} | {:>8} | {:>8} | {:<14} | {:>5} |",
        "model", "variant", "ms", "peer ms", "peer", "ratio"
    );
    println!("| --- | --- | --: | --: | --- | --: |");
    for (name, classes) in [("resnet18", 10), ("resnet50", 1000)] {
        let mut fixture = Fixture::new(name, classes)?;
        measure(name, turns, &peers, || fixture.turn())?;
    }
    let mut steps = Steps::new()?;
    measure("resnet18 step", turns, &peers, || steps.turn())
}

fn rows_of(text: &str) -> Outcome<Vec<Value>> {
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

/// Prints a row for each variant, next to the matching peer.
fn measure(
    model: &str,
    turns: usize,
    peers: &[Value],
    mut turn: impl FnMut() -> Outcome<Vec<(&'static str, f64)>>,
) -> Outcome<()> {
    turn()?;
    let turns: Vec<_> = (0..turns).map(|_| turn()).collect::<Result<_, _>>()?;
    for (index, (variant, _)) in turns[0].iter().enumerate() {
        let mut secs: Vec<f64> = turns.iter().map(|turn| turn[index].1).collect();
        secs.sort_by(f64::total_cmp);
        let ms = 1e3 * secs[secs.len() / 2];
        let peer = peers.iter().find(|row| row["model"] == model && row["variant"] == *variant);
        let of_peer = peer.and_then(|row| Some((row["framework"].as_str()?, row["ms"].as_f64()?)));
        let beside = match of_peer {
            Some((framework, theirs)) if theirs > 0.0 => {
                format!("{theirs:>8.2} | {framework:<14} | {:>5.2}", ms / theirs)
            }
            _ => format!("{:>8} | {:<14} | {:>5}", "", "", ""),
        };
        println!("| {model:<13} | {variant:<20} | {ms:>8.2} | {beside} |");
    }
    Ok(())
}
