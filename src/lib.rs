//! Trains vision models on libtorch and monitors the gradient of every parameter.
//!
//! ```text
//! configs/*.toml -> config -> data -> model -> loss.backward()
//!                                       |          |
//!                           libtorch::Hook fires on every parameter
//!                                                  |
//!                      gradient: one batched pass, one device-to-host copy -> GradientStatistics
//!                                                  |                                 |
//!                                                  |                   diagnosis: rules -> Finding
//!                                                  |
//!                      clipping -> ClipOutcome -> optim: one fused step, skipped if a gradient is not finite
//!                                                  |
//!                      picture -> events (TensorBoard), metrics.jsonl, weights -> checkpoint: written atomically
//!                                                                 |
//!                                                                 +-> inference: classes, Grad-CAM, TorchScript
//! ```
//!
//! The modules follow the order of this data flow, and each depends only on earlier ones. [`train`] is the trainer
//! built from them. The other modules also work in a custom training loop:
//!
//! ```
//! use gradwatch::{clipping::clip_grad_norm, events::{SummaryWriter, write_gradients}};
//! use gradwatch::gradient::{GradientMonitor, named_variables};
//! use tch::{Device, Kind, nn::{self, Module, OptimizerConfig}, Tensor};
//!
//! let logdir = tempfile::tempdir()?;
//! let vs = nn::VarStore::new(Device::Cpu);
//! let net = nn::linear(vs.root() / "fc", 4, 2, Default::default());
//! let mut optimizer = nn::Sgd::default().build(&vs, 0.1)?;
//!
//! let monitor = GradientMonitor::attach(named_variables(&vs))?;
//! let writer = SummaryWriter::create(logdir.path())?;
//! for step in 0..3u64 {
//!     let loss = net.forward(&Tensor::ones([8, 4], (Kind::Float, Device::Cpu))).square().mean(Kind::Float);
//!     optimizer.zero_grad();
//!     loss.backward();
//!     let statistics = monitor.collect()?;
//!     write_gradients(&writer, step, &statistics)?;
//!     clip_grad_norm(&monitor.grads(), 1.0)?;
//!     if statistics.is_finite() {
//!         optimizer.step();
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub use gradwatch_doctor::{
    EXPLANATIONS, WriteReportError, assess, cli, config, diagnosis, number, picture, printable, repair, replay, report,
    watch, write_report,
};

pub mod data;
pub mod disk;
pub mod libtorch;

pub mod distributed;

pub mod model;

pub mod gradient;

pub mod clipping;
pub mod optim;

pub mod events;

pub mod checkpoint;

pub mod evaluation;
pub mod inference;

pub mod recording;
pub mod train;

pub mod inspect;
pub mod range_test;

pub mod supervisor;
