//! Kinds of faulty runs, and healthy variations that resemble them.

use gradwatch::config::RuleName::{self, *};

use crate::{
    case::Effect::{self, Fault, Gap, Harmful, Healthy},
    families::Changes,
    images::Variant,
};

/// A kind of run: changes to the settings of a family.
pub(crate) struct Kind {
    pub name: &'static str,
    /// Settings, separated by spaces. `lr=` is a factor of the learning rate.
    pub settings: &'static str,
    /// Content of the images.
    pub images: Variant,
    /// Optimizer; `None` for that of the family.
    pub optimizer: Option<&'static str>,
    /// Families that the kind applies to.
    pub applies: fn(Changes) -> bool,
    /// What the kind does to a run.
    pub effect: Effect,
}

const ANY: fn(Changes) -> bool = |_| true;
const PLAIN: fn(Changes) -> bool = |changes| changes.is_plain;
const NORMALIZABLE: fn(Changes) -> bool = |changes| changes.normalization;
const ACTIVATED: fn(Changes) -> bool = |changes| changes.activation;
const DROPS: fn(Changes) -> bool = |changes| changes.dropout;
const NORMED: fn(Changes) -> bool = |changes| changes.has_batch_norm && changes.normalization;

const TOO_HIGH: &[RuleName] = &[LearningRate, UpdateRatio];
const DRAWN: &[RuleName] = &[PoorInitialization];

const fn kind(name: &'static str, settings: &'static str, applies: fn(Changes) -> bool, effect: Effect) -> Kind {
    Kind { name, settings, images: Variant::Clean, optimizer: None, applies, effect }
}

impl Kind {
    const fn on(self, images: Variant) -> Self {
        Self { images, ..self }
    }

    const fn with(self, optimizer: &'static str) -> Self {
        Self { optimizer: Some(optimizer), ..self }
    }
}

pub(crate) const FAULTS: &[Kind] = &[
    // Initialization and model.
    kind(
        "weights too small",
        "model.initialization={method=\"normal\",std=0.001}",
        PLAIN,
        Harmful(&[PoorInitialization, Vanishing]),
    ),
    kind("weights too large", "model.initialization={method=\"normal\",std=1.0}", PLAIN, Harmful(DRAWN)),
    kind("constant weights", "model.initialization={method=\"constant\",value=0.05}", NORMALIZABLE, Harmful(DRAWN)),
    kind(
        "sigmoids",
        "model.activation=sigmoid model.initialization=xavier_normal model.normalization=none model.residual=false",
        |changes| changes.activation && changes.residual,
        Harmful(&[Vanishing, PoorInitialization]),
    ),
    kind(
        "saturated tanh",
        "model.activation=tanh model.initialization={method=\"normal\",std=0.6} model.normalization=none",
        |changes| changes.activation && changes.normalization,
        Harmful(&[Saturated, PoorInitialization]),
    ),
    kind(
        "dead ReLUs",
        "model.activation=relu model.initialization={method=\"normal\",mean=-0.2,std=0.1}",
        PLAIN,
        Harmful(&[PoorInitialization, DeadRelu]),
    ),
    // Optimizer.
    kind("learning rate x 300", "lr=300", ANY, Harmful(TOO_HIGH)),
    kind("learning rate / 3000", "lr=0.00033", ANY, Harmful(&[LearningRate])),
    kind("Adam at 0.4", "optimizer.learning_rate=0.4", ANY, Harmful(TOO_HIGH)).with("adam"),
    kind("weight decay 10", "optimizer.weight_decay=10.0", ANY, Harmful(&[WeightDecay])),
    kind("decoupled weight decay 100", "optimizer.weight_decay=100.0", ANY, Harmful(&[WeightDecay])).with("adamw"),
    kind("weight decay 0.5", "optimizer.weight_decay=0.5", ANY, Harmful(&[WeightDecay])).with("sgd"),
    kind("momentum 0.999", "optimizer.momentum=0.999", ANY, Harmful(&[Momentum])).with("sgd"),
    kind("beta1 0.999", "optimizer.betas=[0.999,0.999]", ANY, Harmful(&[Momentum])).with("adam"),
    kind("eps 10", "optimizer.eps=10.0", ANY, Harmful(&[Epsilon])).with("adamw"),
    kind("weights left out", "left out", ANY, Fault(&[UnchangedParameter])),
    kind("only the head trains", "frozen", ANY, Harmful(&[FrozenParameters])),
    // Clipping.
    kind("norm clipped to 1e-6", "clipping.mode=norm clipping.max_norm=1e-6", ANY, Harmful(&[Clipping])).with("sgd"),
    kind("values clipped to 1e-7", "clipping.mode=value clipping.clip_value=1e-7", ANY, Harmful(&[Clipping]))
        .with("sgd"),
    kind("AGC at 1e-6", "clipping.mode=agc clipping.agc.clip_factor=1e-6", ANY, Harmful(&[Clipping])).with("sgd"),
    // Schedule.
    kind(
        "warm-up of 100,000 steps",
        "schedule.warmup_steps=100000 schedule.warmup_learning_rate=1e-8",
        ANY,
        Harmful(&[Schedule]),
    ),
    kind(
        "rate decays within 20 steps",
        "schedule.name=multistep schedule.milestones=[0.01,0.02,0.03,0.05] schedule.decay_rate=0.1",
        ANY,
        Harmful(&[Schedule]),
    ),
    // Regularization.
    kind("dropout 0.97", "model.dropout=0.97", DROPS, Harmful(&[Dropout])),
    kind("label smoothing 0.99", "loss.label_smoothing=0.99", ANY, Harmful(&[LabelSmoothing])),
    kind(
        "class weights of 1000",
        "loss.class_balance=given loss.class_weights=[1000.0,1.0,1.0,1.0,1.0,1.0,1.0,1.0,1.0,1.0]",
        ANY,
        Harmful(&[ClassWeights]),
    ),
    kind("cutout of the image", "data.augment.cutout=56", ANY, Harmful(&[Augmentation])),
    kind(
        "crops of single pixels",
        "data.augment.random_resized_crop=true data.augment.scale=[0.001,0.002]",
        ANY,
        Harmful(&[Augmentation]),
    ),
    // Data.
    kind(
        "raw pixels",
        "data.normalize=given data.mean=[0.0] data.std=[0.00392]",
        |changes| changes.is_plain,
        Fault(&[InputNotNormalized]),
    ),
    kind("labels shuffled", "", ANY, Fault(&[LabelNoise])).on(Variant::Shuffled),
    kind("labels half wrong", "", ANY, Fault(&[LabelNoise])).on(Variant::HalfWrong),
    kind("one class in fifty", "", ANY, Fault(&[LabelImbalance])).on(Variant::Imbalanced),
    kind("other validation images", "", ANY, Gap(&[DistributionShift])).on(Variant::Inverted),
    kind("learned by heart", "data.batch_size=16 run.max_steps=480", ANY, Gap(&[Overfitting])).on(Variant::Few),
    // Batch normalization.
    kind("batch norm of two", "data.batch_size=2 data.drop_last=true", NORMED, Fault(&[BatchNorm])),
    kind(
        "statistics frozen at random",
        "model.freeze_batch_norm_statistics=true",
        |changes| changes.has_batch_norm,
        Harmful(&[RunningStatistics]),
    ),
];

pub(crate) const HEALTHY: &[Kind] = &[
    kind("warm-up and cosine", "schedule.name=cosine schedule.warmup_steps=40", ANY, Healthy),
    kind("cosine with restarts", "schedule.name=cosine schedule.restart_epochs=0.4", ANY, Healthy),
    kind("one cycle", "schedule.name=one_cycle", ANY, Healthy),
    kind("polynomial", "schedule.name=polynomial", ANY, Healthy),
    kind("average of the weights", "ema.decay=0.98", ANY, Healthy),
    kind("AGC", "clipping.mode=agc clipping.agc.clip_factor=0.02", ANY, Healthy),
    kind("norm clipped to 0.5", "clipping.mode=norm clipping.max_norm=0.5", ANY, Healthy),
    kind("AutoClip", "clipping.mode=autoclip", ANY, Healthy),
    kind("batches of 8", "data.batch_size=8 lr=0.4 run.max_steps=480 evaluate.every_steps=80", ANY, Healthy),
    kind("batches of 128", "data.batch_size=128 lr=1.5 run.max_steps=120 evaluate.every_steps=20", ANY, Healthy),
    kind("group norm", "model.normalization=group model.groups=4", NORMED, Healthy),
    kind("layer norm", "model.normalization=layer", NORMED, Healthy),
    kind("bf16", "run.precision=bf16", ANY, Healthy),
    kind("two classes", "", ANY, Healthy).on(Variant::TwoHard),
    kind("two easy classes", "", ANY, Healthy).on(Variant::TwoEasy),
    kind("two classes, 80 to 20, balanced", "loss.class_balance=balanced data.batch_size=16 lr=0.5", ANY, Healthy)
        .on(Variant::TwoUneven),
    kind("a hundred classes", "", ANY, Healthy).on(Variant::Hundred),
    kind("a fifth of the labels wrong", "", ANY, Healthy).on(Variant::Noisy),
    kind("one class in five", "", ANY, Healthy).on(Variant::Uneven),
    kind(
        "label smoothing, crops, flips",
        "loss.label_smoothing=0.1 data.augment.random_crop=2 data.augment.hflip=0.5",
        ANY,
        Healthy,
    ),
    kind("dropout 0.2", "model.dropout=0.2", DROPS, Healthy),
    kind("weight decay 1e-3", "optimizer.weight_decay=1e-3", ANY, Healthy),
    kind("pixels of 0 to 1", "data.normalize=none", ANY, Healthy),
    kind("four micro-batches", "data.batch_size=8 optimizer.accumulation_steps=4", ANY, Healthy),
    kind("tanh", "model.activation=tanh", ACTIVATED, Healthy),
    kind("hardswish", "model.activation=hardswish", ACTIVATED, Healthy),
    kind("GELU", "model.activation=gelu", ACTIVATED, Healthy),
    kind("nesterov 0.95", "optimizer.nesterov=true optimizer.momentum=0.95 lr=0.5", ANY, Healthy).with("sgd"),
    kind("evaluated every 4 steps", "evaluate.every_steps=4 run.max_steps=120", ANY, Healthy),
    kind("orthogonal", "model.initialization=orthogonal", ACTIVATED, Healthy),
    kind(
        "branches start at zero",
        "model.initialization.zero_residual=true",
        |changes| changes.residual && changes.has_batch_norm,
        Healthy,
    ),
    kind("layer decay", "optimizer.layer_decay=0.8", ANY, Healthy),
    kind("AdamW, decay 0.1", "optimizer.weight_decay=0.1", ANY, Healthy).with("adamw"),
];
