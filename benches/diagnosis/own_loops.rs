//! Custom training loops around tch, as library users write them: with faults that no config can have, and healthy
//! ones.

use std::path::Path;

use anyhow::Result;
use gradwatch::{
    clipping::clip_grad_norm,
    config::RuleName::{self, *},
    diagnosis::{ChannelFacts, Facts},
    events::{JsonLines, SummaryWriter, write_facts, write_gradients, write_updates, write_weights},
    gradient::{GradientMonitor, UpdateSnapshot, named_variables},
};
use tch::{
    Device, Kind, Tensor,
    nn::{self, ModuleT, OptimizerConfig, VarStore},
    vision::{dataset::Dataset, mnist},
};

/// Difference from the plain loop, which is SGD with momentum on the cross entropy of the logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Twist {
    NoZeroGrad,
    NanImages,
    NllOfLogits,
    SoftmaxTwice,
    /// The optimizer does not include the store of the hidden layers.
    LeftOut,
    /// The last layer receives the hidden activations detached.
    Detached,
    None,
    Adam,
    MicroBatches,
    Clipping,
    WarmUp,
    Tanh,
    BatchNorm,
}

/// Each kind of loop, and the rules that identify its fault.
pub(crate) const KINDS: [(&str, Twist, Option<&[RuleName]>); 13] = [
    ("no zero_grad", Twist::NoZeroGrad, Some(&[GradientAccumulation])),
    ("two images of NaN", Twist::NanImages, Some(&[NonFinite])),
    ("nll_loss of logits", Twist::NllOfLogits, Some(&[WrongLoss])),
    ("softmax before cross entropy", Twist::SoftmaxTwice, Some(&[WrongLoss])),
    ("layers in a store of their own", Twist::LeftOut, Some(&[UnchangedParameter])),
    ("detached layers", Twist::Detached, Some(&[MissingGradient])),
    ("as it is", Twist::None, None),
    ("Adam", Twist::Adam, None),
    ("four micro-batches a step", Twist::MicroBatches, None),
    ("clipped", Twist::Clipping, None),
    ("warm-up", Twist::WarmUp, None),
    ("tanh", Twist::Tanh, None),
    ("batch norm behind biases", Twist::BatchNorm, None),
];

pub(crate) const ARCHITECTURES: [&str; 2] = ["own-mlp", "own-cnn"];

const BATCH: i64 = 64;
const EPOCHS: u64 = 6;

struct Net {
    hidden: nn::SequentialT,
    head: nn::Linear,
    twist: Twist,
}

impl Net {
    fn new(architecture: &str, twist: Twist, hidden: &nn::Path<'_>, head: &nn::Path<'_>) -> Self {
        let act = move |z: &Tensor| if twist == Twist::Tanh { z.tanh() } else { z.relu() };
        let strided = nn::ConvConfig { stride: 2, padding: 1, ..Default::default() };
        let (is_normed, mut layers) = (twist == Twist::BatchNorm, nn::seq_t());
        let features = if architecture == "own-mlp" {
            for (name, inputs) in [("fc1", 784), ("fc2", 64)] {
                layers = layers.add(nn::linear(hidden / name, inputs, 64, Default::default()));
                if is_normed {
                    layers = layers.add(nn::batch_norm1d(hidden / format!("{name}_norm"), 64, Default::default()));
                }
                layers = layers.add_fn(act);
            }
            64
        } else {
            layers = layers.add_fn(|images| images.view([-1, 1, 28, 28]));
            for (name, inputs, outputs) in [("conv1", 1, 8), ("conv2", 8, 16)] {
                layers = layers.add(nn::conv2d(hidden / name, inputs, outputs, 3, strided));
                if is_normed {
                    layers = layers.add(nn::batch_norm2d(hidden / format!("{name}_norm"), outputs, Default::default()));
                }
                layers = layers.add_fn(act);
            }
            layers = layers.add_fn(|maps| maps.flatten(1, -1));
            16 * 7 * 7
        };
        Self { hidden: layers, head: nn::linear(head / "head", features, 10, Default::default()), twist }
    }

    fn forward(&self, images: &Tensor, train: bool) -> Tensor {
        let features = self.hidden.forward_t(images, train);
        let logits = (if self.twist == Twist::Detached { features.detach() } else { features }).apply(&self.head);
        if self.twist == Twist::SoftmaxTwice { logits.softmax(-1, Kind::Float) } else { logits }
    }

    fn loss(&self, outputs: &Tensor, labels: &Tensor) -> Tensor {
        match self.twist {
            Twist::NllOfLogits => outputs.nll_loss(labels),
            _ => outputs.cross_entropy_for_logits(labels),
        }
    }
}

/// Fashion-MNIST of the folder, standardized.
fn load(images: &Path, twist: Twist) -> Result<Dataset> {
    let standardise = |images: Tensor| (images - 0.286) / 0.353;
    let data = mnist::load_dir(images)?;
    let (train_images, test_images) = (standardise(data.train_images), standardise(data.test_images));
    if twist == Twist::NanImages {
        [1000, 4000].iter().for_each(|&image| _ = train_images.get(image).fill_(f64::NAN));
    }
    Ok(Dataset { train_images, test_images, ..data })
}

/// Trains once and writes the event file and the facts to `folder`.
pub(crate) fn train(images: &Path, folder: &Path, architecture: &str, twist: Twist, seed: u64) -> Result<()> {
    tch::manual_seed(seed as i64);
    let data = load(images, twist)?;
    let (vs, other) = (VarStore::new(Device::Cpu), VarStore::new(Device::Cpu));
    let hidden = if twist == Twist::LeftOut { &other } else { &vs };
    let net = Net::new(architecture, twist, &hidden.root(), &vs.root());
    let (mut optimizer, learning_rate) = match twist {
        Twist::Adam => (nn::Adam::default().build(&vs, 1e-3)?, 1e-3),
        _ => (nn::sgd(0.9, 0.0, 0.0, false).build(&vs, 0.02)?, 0.02),
    };
    let monitor = GradientMonitor::attach(named_variables(&other).into_iter().chain(named_variables(&vs)))?;
    let writer = SummaryWriter::create(folder)?;
    write_facts(&mut JsonLines::open(folder.join("metrics.jsonl"))?, &facts(&data, &monitor)?)?;
    let mut step = 0;
    for _ in 0..EPOCHS {
        for (images, labels) in data.train_iter(BATCH).shuffle() {
            let rate = if twist == Twist::WarmUp {
                learning_rate * 1f64.min((step + 1) as f64 / 100.0)
            } else {
                learning_rate
            };
            optimizer.set_lr(rate);
            if twist != Twist::NoZeroGrad {
                optimizer.zero_grad();
            }
            let [loss, accuracy] = backward(&net, &images, &labels);
            write_gradients(&writer, step, &monitor.collect()?)?;
            writer.scalars(step, [("loss/train", loss), ("accuracy/train", accuracy), ("learning_rate", rate)])?;
            if twist == Twist::Clipping {
                clip_grad_norm(&monitor.grads(), 0.5)?;
            }
            // Measuring the weights costs a copy of them.
            let is_due = step < 10 || step % 5 == 0;
            let params = monitor.parameters().map(|(_, param)| param).filter(|_| is_due);
            let snapshot = UpdateSnapshot::take(params)?;
            optimizer.step();
            if is_due {
                let weights = monitor.weights()?;
                write_weights(&writer, step, &weights)?;
                write_updates(&writer, step, &snapshot.updates(&weights)?)?;
            }
            step += 1;
        }
        let [loss, accuracy] = evaluate(&net, &data);
        writer.scalars(step, [("loss/validation", loss), ("accuracy/validation", accuracy)])?;
    }
    Ok(writer.close()?)
}

/// Mean loss and accuracy on the validation images.
fn evaluate(net: &Net, data: &Dataset) -> [f64; 2] {
    let outputs = tch::no_grad(|| net.forward(&data.test_images, false));
    let loss = net.loss(&outputs, &data.test_labels);
    [loss, outputs.accuracy_for_logits(&data.test_labels)].map(|figure| figure.double_value(&[]))
}

/// Accumulates the gradient of a batch. Returns its mean loss and accuracy.
fn backward(net: &Net, images: &Tensor, labels: &Tensor) -> [f64; 2] {
    let parts = if net.twist == Twist::MicroBatches { 4 } else { 1 };
    let (mut loss, mut accuracy) = (0.0, 0.0);
    for (images, labels) in images.chunk(parts, 0).iter().zip(labels.chunk(parts, 0)) {
        let outputs = net.forward(images, true);
        let part = net.loss(&outputs, &labels) / parts as f64;
        part.backward();
        loss += part.double_value(&[]);
        accuracy += outputs.accuracy_for_logits(&labels).double_value(&[]) / parts as f64;
    }
    [loss, accuracy]
}

/// Facts known before the first step.
fn facts(data: &Dataset, monitor: &GradientMonitor) -> Result<Facts> {
    let first: Vec<f32> = Vec::try_from(data.train_images.narrow(0, 0, BATCH).flatten(0, -1))?;
    Ok(Facts {
        classes: data.labels as usize,
        batch_size: BATCH as usize,
        channels: ChannelFacts::of(&first, 1, 784),
        parameters: monitor.parameter_facts()?,
        ..Facts::default()
    })
}
