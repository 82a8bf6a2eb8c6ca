//! Inserts batch normalization into a trained network, so that it computes what it computed before.
//!
//! Each new layer starts with the scale and shift that undo it, and with the running statistics of some images. A layer is
//! fitted when the forward pass reaches it. Fitting is a thread-local mode, like libtorch's `no_grad`, so the layers of an
//! architecture need not pass it on.

use std::{cell::RefCell, collections::BTreeMap, mem};

use tch::{Device, Kind, TchError, Tensor};

use super::{ModelError, Network, Parameter, Pass, architectures::Plan, parameter::Builder, running::Running};
use crate::config::ModelConfig;

/// State of a pass that fits the new layers.
#[derive(Default)]
struct Insertion {
    /// Biases that only the trained network has, by layer.
    biases: BTreeMap<String, Tensor>,
    /// Such a bias of the last layer that the pass has reached. The next normalization takes it over.
    bias: Option<Tensor>,
    /// Number of biases that no normalization has taken over.
    lost: usize,
    /// Number of tensors of the layers fitted so far.
    fitted: usize,
}

/// Number of tensors of a batch normalization.
const TENSORS: usize = 5;

thread_local! {
    static INSERTION: RefCell<Option<Insertion>> = const { RefCell::new(None) };
}

/// Copies trained weights into `network`, which has batch normalization that the trained one lacks. Fits its layers to
/// `images` `[batch, channels, height, width]`, which must be on the network's device and normalized as in training.
///
/// `plain` is the config of the trained network, and `trained` are its weights.
///
/// # Errors
/// If the networks differ in anything else, or libtorch reports an error.
pub fn insert_batch_norm(
    network: &Network,
    plain: &ModelConfig,
    trained: &[(String, Tensor)],
    images: &Tensor,
) -> Result<(), ModelError> {
    let _no_grad = tch::no_grad_guard();
    let biases = copy_layers(network, plain, trained, images.device())?;
    let (copied, expected) = (trained.len() - biases.len(), network.parameters.len());
    INSERTION.set(Some(Insertion { biases, ..Insertion::default() }));
    let passed = network.forward(images, &Pass::evaluation_by_batch());
    let Insertion { biases, bias, lost, fitted } = INSERTION.take().unwrap_or_default();
    let _ = passed?;
    if biases.is_empty() && bias.is_none() && lost == 0 && copied + fitted == expected {
        Ok(())
    } else {
        Err(ModelError::NotInserted)
    }
}

/// Copies all tensors that both networks have. Returns the biases that only the trained network has, by the name of the
/// layer in the new one.
fn copy_layers(
    network: &Network,
    plain: &ModelConfig,
    trained: &[(String, Tensor)],
    device: Device,
) -> Result<BTreeMap<String, Tensor>, ModelError> {
    let values: BTreeMap<&str, &Tensor> = trained.iter().map(|(name, tensor)| (&**name, tensor)).collect();
    let mut biases = BTreeMap::new();
    for Renamed { before, layer, now } in renamed(network, plain)? {
        let values = values.get(&*before).ok_or(ModelError::NotInserted)?;
        match now.map(|now| network.parameters.get(&now)) {
            Some(Some(into)) if into.tensor.size() == values.size() && into.tensor.kind() == values.kind() => {
                into.tensor.shallow_clone().f_copy_(values)?;
            }
            None => _ = biases.insert(layer, values.f_to_device(device)?),
            _ => return Err(ModelError::NotInserted),
        }
    }
    Ok(biases)
}

/// A tensor of the trained network.
struct Renamed {
    before: String,
    /// Its layer in the new network.
    layer: String,
    /// Its name in the new network; `None` for a bias that the new network lacks.
    now: Option<String>,
}

/// The tensors of the trained network. Names differ in some networks, because torch numbers their layers.
fn renamed(network: &Network, plain: &ModelConfig) -> Result<Vec<Renamed>, ModelError> {
    let builder = Builder::of_shapes(plain);
    Plan::new(plain, network.input, network.classes)?.build(&builder.root())?;
    let before = builder.finish();
    let has_weight = |parameter: &&Parameter| parameter.tensor.dim() > 1;
    let layers: BTreeMap<&str, &str> = before
        .iter()
        .filter(has_weight)
        .zip(network.parameters.iter().filter(has_weight))
        .map(|(before, now)| (before.name.layer(), now.name.layer()))
        .collect();
    let renamed = before.iter().map(|Parameter { name, .. }| {
        let layer = layers.get(name.layer()).copied().unwrap_or(name.layer());
        let own = name.as_str().strip_prefix(name.layer()).unwrap_or_default();
        let now = format!("{layer}{own}");
        let is_lost = own == ".bias" && network.parameters.get(&now).is_none();
        Renamed { before: name.to_string(), layer: layer.to_owned(), now: (!is_lost).then_some(now) }
    });
    Ok(renamed.collect())
}

/// The names of the trained tensors in the network with inserted layers; `None` for a bias that it lacks. `plain` is the
/// config of the trained network.
///
/// # Errors
/// If `plain` is invalid.
pub fn names_after_insertion(
    network: &Network,
    plain: &ModelConfig,
) -> Result<BTreeMap<String, Option<String>>, ModelError> {
    Ok(renamed(network, plain)?.into_iter().map(|Renamed { before, now, .. }| (before, now)).collect())
}

/// Tells an insertion which layer the pass has reached.
pub(super) fn reach(layer: &str) {
    INSERTION.with_borrow_mut(|insertion| {
        if let Some(insertion) = insertion {
            let next = insertion.biases.remove(layer);
            insertion.lost += usize::from(mem::replace(&mut insertion.bias, next).is_some());
        }
    });
}

/// During an insertion, sets scale and shift of a batch normalization so that they undo it for `inputs`, and its running
/// statistics.
pub(super) fn fit([weight, bias]: [&Tensor; 2], running: &Running, eps: f64, inputs: &Tensor) -> Result<(), TchError> {
    let Some(lost_bias) = INSERTION.with_borrow_mut(|insertion| {
        let insertion = insertion.as_mut()?;
        insertion.fitted += TENSORS;
        // A normalization before its layer takes over no bias.
        Some(insertion.bias.take_if(|lost_bias| lost_bias.size() == bias.size()))
    }) else {
        return Ok(());
    };
    let dims: Vec<i64> = (0..inputs.dim()).filter(|dim| *dim != 1).map(|dim| dim as i64).collect();
    let mean = inputs.f_mean_dim(dims.as_slice(), false, Kind::Float)?;
    let variance = |is_unbiased| inputs.f_var_dim(dims.as_slice(), is_unbiased, false);
    weight.shallow_clone().f_copy_(&variance(false)?.f_add_scalar(eps)?.f_sqrt()?)?;
    let shift = lost_bias.map_or_else(|| Ok(mean.shallow_clone()), |lost_bias| mean.f_add(&lost_bias))?;
    bias.shallow_clone().f_copy_(&shift)?;
    let Running { mean: running_mean, var: running_var, num_batches_tracked, .. } = running;
    running_mean.shallow_clone().f_copy_(&mean)?;
    running_var.shallow_clone().f_copy_(&variance(true)?)?;
    let _ = num_batches_tracked.shallow_clone().f_fill_(1)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Architecture, Normalization},
        model::fixture,
    };

    /// A network without normalization, and the same one with layers inserted.
    fn inserted(name: Architecture, images: &Tensor) -> Result<[Network; 2], ModelError> {
        let plain = ModelConfig { normalization: Normalization::None, ..fixture::thin(name) };
        let with = ModelConfig { normalization: Normalization::Batch, ..plain.clone() };
        let (plain_network, network) = (fixture::network(&plain), fixture::network(&with));
        let _no_grad = tch::no_grad_guard();
        // Trained networks have biases.
        for parameter in plain_network.parameters.trainable().filter(|parameter| parameter.tensor.dim() == 1) {
            let noise = parameter.tensor.randn_like() * 0.2;
            let _ = parameter.tensor.shallow_clone().g_add_(&noise);
        }
        insert_batch_norm(&network, &plain, &plain_network.parameters.named(), images)?;
        Ok([plain_network, network])
    }

    /// Largest difference of the outputs, over their standard deviation.
    fn difference([before, after]: &[Network; 2], images: &Tensor, pass: &Pass<'_>) -> f64 {
        let (want, got) = (before.forward(images, &Pass::evaluation()), after.forward(images, pass));
        let (want, got) = (want.unwrap(), got.unwrap());
        ((&got - &want).abs().max() / want.std(false)).double_value(&[])
    }

    #[test]
    fn inserted_batch_normalization_changes_no_output() {
        tch::manual_seed(1);
        let images = fixture::images(32);
        let names = ["mlp", "lenet5", "cnn", "vgg11", "resnet8", "resnet18", "resnet50", "mobilenet_v2"];
        for name in fixture::drawn().filter(|name| names.contains(&name.name())) {
            let networks = inserted(name, &images).unwrap();
            let by_batch = difference(&networks, &images, &Pass::evaluation_by_batch());
            assert!(by_batch < 1e-4, "{name}: {by_batch:e}");
            // The running variance is unbiased, so it differs a little.
            let evaluated = difference(&networks, &images, &Pass::evaluation());
            assert!(evaluated < 0.1, "{name}: {evaluated:e}");
        }
    }

    #[test]
    fn a_network_that_normalizes_before_its_layers_takes_no_more() {
        tch::manual_seed(1);
        let refused = inserted(Architecture::Densenet121, &fixture::images(4));
        assert!(matches!(refused, Err(ModelError::NotInserted)), "{refused:?}");
    }
}
