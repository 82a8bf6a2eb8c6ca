//! Vision models with the options that make their gradients vanish or explode.
//!
//! [`build`] creates a [`Network`] from the config's `[model]`: the layers, and all parameters under their PyTorch
//! names. The weights are the next values from libtorch's random generator, so `tch::manual_seed` makes them
//! reproducible.
//!
//! ```
//! use gradwatch::{
//!     config::Config,
//!     data::ImageShape,
//!     model::{self, Pass},
//! };
//! use tch::{Device, Kind, Tensor};
//!
//! let toml = "[run]\nmax_epochs = 1\n[data]\nsource = \"synthetic\"\n[model]\nname = \"resnet8\"";
//! let config = Config::parse(toml, "demo.toml")?;
//! tch::manual_seed(1);
//! let network = model::build(&config.model, ImageShape { channels: 1, height: 28, width: 28 }, 10, Device::Cpu)?;
//! let images = Tensor::f_zeros([2, 1, 28, 28], (Kind::Float, Device::Cpu))?;
//! assert_eq!(network.forward(&images, &Pass::training())?.size(), [2, 10]);
//! assert_eq!(network.parameters.trainable().next().unwrap().name.as_str(), "conv1.weight");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod activation;
mod architectures;
mod batch_statistics;
mod blocks;
mod cost;
mod cost_counter;
mod error;
mod feature_maps;
mod fit;
#[cfg(test)]
mod fixture;
mod initialization;
mod insertion;
mod layer;
mod normalization;
mod parameter;
mod place;
mod residual;
mod running;
mod size;
mod summary;
mod sync_batch_norm;
mod tap;
pub mod weights;

use std::fmt::Debug;

use tch::{Device, TchError, Tensor};

pub use activation::activate;
pub use architectures::torchscript_texts;
pub use batch_statistics::{BatchStatistics, StatisticsFn};
pub use cost::{Cost, cost};
pub use cost_counter::LayerCost;
pub use error::ModelError;
pub use feature_maps::FeatureMapFn;
pub use fit::fit_to_data;
pub use initialization::{draw_bias, draw_weight};
pub use insertion::{insert_batch_norm, names_after_insertion};
pub use parameter::{Parameter, ParameterName, Parameters};
pub use summary::{Summary, SummaryRow};
pub use sync_batch_norm::SyncBatchNorm;
pub use tap::{Tap, TapFn};

use crate::{
    config::{InitializationMethod, ModelConfig},
    data::ImageShape,
    libtorch::ScriptModule,
};

/// Options of one forward pass through a model.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    /// Whether dropout is active, and whether batch normalization uses the batch's own statistics and updates the
    /// running ones.
    pub train: bool,
    /// Whether batch normalization uses the batch's own statistics in evaluation too, without updating the running
    /// ones.
    by_batch: bool,
    /// Receives the statistics of batch normalization in place of the running ones.
    see_statistics: Option<&'a StatisticsFn<'a>>,
    /// Sums the statistics of batch normalization over the ranks.
    sync: Option<&'a SyncBatchNorm>,
    tap: Option<&'a TapFn<'a>>,
    see_feature_maps: Option<&'a FeatureMapFn<'a>>,
}

impl<'a> Pass<'a> {
    /// A forward pass for training.
    pub fn training() -> Self {
        Self { train: true, by_batch: false, see_statistics: None, sync: None, tap: None, see_feature_maps: None }
    }

    /// A forward pass for evaluation.
    pub fn evaluation() -> Self {
        Self { train: false, by_batch: false, see_statistics: None, sync: None, tap: None, see_feature_maps: None }
    }

    /// Like [`evaluation`](Self::evaluation), but batch normalization uses the statistics of the batch. Does not update
    /// the running ones.
    pub fn evaluation_by_batch() -> Self {
        Self { by_batch: true, ..Self::evaluation() }
    }

    /// Returns the pass with a callback for each batch normalization of a training pass. The running statistics stay
    /// unchanged; see [`BatchStatistics`].
    pub fn with_statistics(self, see: &'a StatisticsFn<'a>) -> Self {
        Self { see_statistics: Some(see), ..self }
    }

    /// Returns the pass with batch normalization over the images of all ranks.
    pub fn with_sync(self, sync: &'a SyncBatchNorm) -> Self {
        Self { sync: Some(sync), ..self }
    }

    /// Returns the pass with a callback for each activation.
    pub fn with_tap(self, tap: &'a TapFn<'a>) -> Self {
        Self { tap: Some(tap), ..self }
    }
}

/// A function from images to logits.
pub trait Model: Debug + Send {
    /// Computes logits `[batch, classes]` from images `[batch, channels, height, width]`. Fails if the shape differs,
    /// or if libtorch runs out of memory.
    fn forward(&self, images: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError>;

    /// Name of the last linear layer, whose outputs are the logits.
    fn head(&self) -> &str;

    /// Whether a pass provides feature maps; see [`Pass::with_feature_maps`].
    fn has_feature_maps(&self) -> bool {
        true
    }

    /// The TorchScript program that contains the layers; `None` if they are gradwatch's own.
    fn torchscript(&self) -> Option<&ScriptModule> {
        None
    }

    /// A note for the user about parts of the model that cannot be trained.
    fn remark(&self) -> Option<&str> {
        None
    }

    /// BLAKE3 hash, in hexadecimal digits, of the file that contains the layers; `None` if they are gradwatch's own.
    fn digest(&self) -> Option<&str> {
        None
    }
}

/// A model with its state.
#[derive(Debug)]
pub struct Network {
    /// The layers.
    pub model: Box<dyn Model>,
    /// The tensors of the layers, named and in the order of torch's `state_dict`.
    pub parameters: Parameters,
    /// Shape of the model's input images.
    pub input: ImageShape,
    /// Number of logits.
    pub classes: usize,
    /// Initialization method of the weights, which determines the effect of [`fit_to_data`].
    method: InitializationMethod,
}

impl Network {
    /// Runs the model; see [`Model::forward`].
    pub fn forward(&self, images: &Tensor, pass: &Pass<'_>) -> Result<Tensor, TchError> {
        self.model.forward(images, pass)
    }

    /// Names, shapes, and counts of the parameters.
    pub fn summary(&self) -> Summary {
        Summary::of(&self.parameters)
    }
}

/// Builds the model that `config` describes, with weights drawn on the CPU and moved to `device`. A TorchScript file
/// contains its own weights, and it is executed: load only files from trusted sources.
///
/// Invalid models are rejected before any memory is allocated; see [`ModelError`].
pub fn build(config: &ModelConfig, input: ImageShape, classes: usize, device: Device) -> Result<Network, ModelError> {
    size::check(config, input, classes)?;
    let plan = architectures::Plan::new(config, input, classes)?;
    let builder = parameter::Builder::new(config, device);
    let model = plan.build(&builder.root())?;
    let method = config.initialization.method;
    Ok(Network { model, parameters: builder.finish(), input, classes, method })
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Reduction};

    use super::*;
    use crate::config::{Activation, Architecture, Normalization};
    use fixture::thin;

    /// The families with free, or almost free, depth and width.
    const OLDER: [Architecture; 5] =
        [Architecture::Mlp, Architecture::Lenet5, Architecture::Cnn, Architecture::Vgg11, Architecture::Resnet8];

    fn assert_trains(config: &ModelConfig) {
        let network = fixture::network(config);
        let logits = network.forward(&fixture::images(2), &Pass::training()).unwrap();
        assert_eq!(logits.size(), [2, 10], "{config:?}");
        let labels = Tensor::from_slice(&[3_i64, 7]);
        let loss = logits.f_cross_entropy_loss::<Tensor>(&labels, None, Reduction::Mean, -100, 0.0).unwrap();
        loss.f_backward().unwrap();
        for Parameter { name, tensor, .. } in network.parameters.trainable() {
            let grad = tensor.grad();
            assert!(grad.defined(), "{name} of {config:?} has no gradient");
            assert_eq!(grad.size(), tensor.size());
            let is_finite = grad.isfinite().all().int64_value(&[]) == 1;
            assert!(is_finite, "{name} of {config:?} has a gradient that is not finite");
        }
    }

    #[test]
    fn every_architecture_gives_logits_and_a_finite_gradient_for_every_parameter() {
        for name in fixture::drawn() {
            assert_trains(&thin(name));
        }
    }

    #[test]
    fn every_normalization_trains_in_every_family() {
        for &name in OLDER.iter().chain(&fixture::FAMILIES) {
            let is_fixed = name.name().contains("nfnet");
            // For the newer families, only the normalizations that differ the most from the published one.
            let is_newer = fixture::FAMILIES.contains(&name);
            let some = [Normalization::None, Normalization::Group, Normalization::AttentionBatch];
            let is_asked = |kind: &&Normalization| !is_fixed && (!is_newer || some.contains(kind));
            for &normalization in Normalization::ALL.iter().filter(is_asked) {
                // ImageNet's layer4 has a single pixel for these images: two images give two values per mean.
                assert_trains(&ModelConfig { normalization, groups: 2, ..thin(name) });
            }
        }
    }

    #[test]
    fn every_activation_trains_in_every_family() {
        for &activation in Activation::ALL {
            OLDER.iter().for_each(|&name| assert_trains(&ModelConfig { activation, ..thin(name) }));
        }
        for activation in [Activation::Relu, Activation::Sigmoid] {
            fixture::FAMILIES.iter().for_each(|&name| assert_trains(&ModelConfig { activation, ..thin(name) }));
        }
    }

    #[test]
    fn dropout_and_missing_shortcuts_train_in_every_family() {
        for &name in OLDER.iter().chain(&fixture::FAMILIES) {
            let needs_shortcuts = name.name().contains("nfnet");
            for residual in [needs_shortcuts, fixture::has_shortcuts(name)] {
                assert_trains(&ModelConfig { residual, dropout: 0.5, ..thin(name) });
            }
        }
    }

    #[test]
    fn a_setting_that_an_architecture_has_no_place_for_is_refused_by_its_key() {
        let refusal = |change: fn(&mut ModelConfig), name| {
            let mut config = thin(name);
            change(&mut config);
            let input = ImageShape { channels: 3, height: 28, width: 28 };
            build(&config, input, 10, Device::Cpu).unwrap_err().to_string()
        };
        let want = "model.residual: got true, but nasnet_mobile needs false, because it concatenates feature maps; remove the \
             key";
        assert_eq!(refusal(|config| config.residual = true, Architecture::NasnetMobile), want);
        let want = "model.normalization: got batch, but nfnet_f0 needs none, because it standardizes its filters \
                    instead; remove the key";
        assert_eq!(refusal(|config| config.normalization = Normalization::Batch, Architecture::NfnetF0), want);
        let want = "model.stochastic_depth: got 0.1, but resnet8 needs 0, because it has no branches to drop; remove \
                    the key";
        assert_eq!(refusal(|config| config.stochastic_depth = 0.1, Architecture::Resnet8), want);
        let want = "model.patch_size: got 4, but mlp needs none, because it has no patches; remove the key";
        assert_eq!(refusal(|config| config.patch_size = Some(4), Architecture::Mlp), want);
        let want = "model.patch_size: got 16, which does not divide images of 28x28 (height x width); use 14";
        assert_eq!(refusal(|_| (), Architecture::VitTiny), want);
        let want = "model.width: got 24, but dm_nfnet_f0 needs a multiple of 16";
        assert_eq!(refusal(|config| config.width = Some(24), Architecture::DmNfnetF0), want);
    }

    #[test]
    fn dropout_changes_a_training_pass_and_leaves_evaluation_alone() {
        for &name in &[Architecture::Mlp, Architecture::Lenet5, Architecture::Cnn, Architecture::Vgg11] {
            let network = fixture::network(&ModelConfig { dropout: 0.5, ..fixture::config(name) });
            let images = fixture::images(2);
            let logits = |pass: Pass<'_>| network.forward(&images, &pass).unwrap();
            assert_eq!(logits(Pass::evaluation()), logits(Pass::evaluation()));
            assert_ne!(logits(Pass::training()), logits(Pass::training()), "{name}");
        }
    }

    #[test]
    fn a_deep_narrow_stack_keeps_its_gradient_with_shortcuts_and_loses_it_without() {
        let first_grad_norm = |residual| {
            let config = ModelConfig {
                depth: Some(30),
                width: Some(32),
                activation: Activation::Sigmoid,
                residual,
                ..fixture::config(Architecture::Mlp)
            };
            let network = fixture::network(&config);
            let logits = network.forward(&fixture::images(8), &Pass::training()).unwrap();
            logits.square().mean(Kind::Float).backward();
            network.parameters.get("layers.0.linear.weight").unwrap().tensor.grad().norm().double_value(&[])
        };
        let (plain, residual) = (first_grad_norm(false), first_grad_norm(true));
        // Each plain layer passes at most a quarter of the gradient, multiplied by its weights.
        assert!(plain < 1e-12, "plain {plain}");
        assert!(residual > 1e6 * plain, "residual {residual}, plain {plain}");
    }

    #[test]
    fn an_image_of_another_shape_and_a_model_too_large_are_errors() {
        let network = fixture::network(&fixture::config(Architecture::Resnet8));
        let gray = Tensor::zeros([1, 1, 32, 32], (Kind::Float, Device::Cpu));
        assert!(network.forward(&gray, &Pass::evaluation()).is_err());
        let huge = ModelConfig { width: Some(1 << 20), ..fixture::config(Architecture::Cnn) };
        let error = build(&huge, ImageShape { channels: 3, height: 64, width: 64 }, 10, Device::Cpu).unwrap_err();
        assert!(matches!(error, ModelError::TooLarge { .. }), "{error}");
        assert_eq!(error.to_string().lines().count(), 1);
    }
}
