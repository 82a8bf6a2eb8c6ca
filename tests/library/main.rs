//! The library in this process, mostly against records of PyTorch, torchvision, and timm in `tests/golden`.
//!
//! Models
//! - `model_golden`: the models of `golden/model.py` compute what PyTorch and torchvision compute
//! - `families_golden`: the families of `golden/families.py` compute what torchvision and timm compute
//! - `foreign_names_golden`: files with the names of other libraries load and give their logits
//! - `photos`: real weights classify real photos as torchvision does
//! - `initializations`: initial weights are those of their formulas and of PyTorch
//! - `silent_branches`: residual branches add nothing at first, and other models are refused
//! - `grad_cam`: heat maps are those of hooks in PyTorch
//! - `exports`: every family is a TorchScript file that answers alike
//!
//! Training steps
//! - `clipping_golden`: every clipping mode follows torch, timm, or its paper, also after bad steps
//! - `optimizer_golden`: every optimizer steps as in PyTorch or timm
//! - `numerics`: runs in other precisions are true, and non-finite steps leave no trace
//! - `telemetry`: every written statistic equals a slow reference implementation
//! - `repair`: runs return to a checkpoint, insert layers, start again, and give up
//! - `kernels`: the CUDA kernels compute the right values, emulated, and compile for every architecture
//!
//! Files
//! - `configs`: the example configs parse, the commented one has every key, and every key has bounds
//! - `damage`: damaged files cause no panic, take no memory, and are never accepted as valid
//! - `replay_memory`: the data kept about a long run is no larger than that about a short one
//! - `report_browser`: the report renders in Chromium
//!
//! Each test that draws random numbers takes the lock of `harness::exclusive`, because the process has one generator:
//! the others neither draw nor change anything of the process. A new test that builds a model, trains, or calls
//! `manual_seed` must take it too.

mod clipping_golden;
mod configs;
mod damage;
mod exports;
mod families_golden;
mod foreign_names_golden;
mod grad_cam;
mod harness;
mod initializations;
mod kernels;
mod model_golden;
mod numerics;
mod optimizer_golden;
mod photos;
mod ranks;
mod repair;
mod replay_memory;
mod report_browser;
mod silent_branches;
mod telemetry;
