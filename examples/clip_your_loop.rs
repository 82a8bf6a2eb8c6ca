//! Gradient clipping in a custom tch training loop: no clipping, a fixed norm, a percentile of past norms, and adaptive
//! clipping (AGC), on data with outliers.
//!
//! `cargo run --release --example clip_your_loop`

use anyhow::Result;
use gradwatch::clipping::{Agc, Autoclip, Clipping};
use gradwatch::gradient::named_variables;
use tch::nn::{self, Module, OptimizerConfig};
use tch::{Device, Kind, Reduction, Tensor};

const STEPS: u64 = 1000;
/// Number of steps from one outlier to the next.
const OUTLIER_EVERY: u64 = 50;

/// Points in the plane, and the sine of their distance from the origin. Targets of an outlier are 1,000 times too large.
fn batch(points: i64, is_outlier: bool) -> (Tensor, Tensor) {
    let inputs = Tensor::randn([points, 2], (Kind::Float, Device::Cpu));
    let targets = inputs.square().sum_dim_intlist([1i64].as_slice(), true, Kind::Float).sqrt().sin();
    (inputs, if is_outlier { targets * 1000.0 } else { targets })
}

/// A clipping mode for this number of parameters. `Clipping` has more modes: clipping by value, ZClip, and AdaGC.
fn clipping(mode: &str, params: usize) -> Result<Clipping> {
    Ok(match mode {
        // The total norm of all gradients is at most 1.
        "norm" => Clipping::Norm { max_norm: 1.0, norm_type: 2.0 },
        // The total norm is at most the median of the last 200 norms.
        "autoclip" => Clipping::Autoclip(Autoclip::new(50.0, 200, Device::Cpu)?),
        // The gradient norm of each unit is at most 10% of its weight norm. The paper sets the last linear layer to
        // false; here, the outliers reach that layer first.
        "agc" => Clipping::Agc(Agc::new(0.1, 1e-3, false, vec![true; params])),
        _ => Clipping::None,
    })
}

/// Trains with a clipping mode and prints a row of the table.
fn train(mode: &str) -> Result<()> {
    // The same weights and batches for every mode.
    tch::manual_seed(0);
    let vs = nn::VarStore::new(Device::Cpu);
    let root = vs.root();
    let net = nn::seq()
        .add(nn::linear(&root / "hidden1", 2, 64, Default::default()))
        .add_fn(|hidden| hidden.tanh())
        .add(nn::linear(&root / "hidden2", 64, 64, Default::default()))
        .add_fn(|hidden| hidden.tanh())
        .add(nn::linear(&root / "head", 64, 1, Default::default()));
    let mut optimizer = nn::Sgd::default().build(&vs, 0.02)?;

    let params: Vec<Tensor> = named_variables(&vs).into_iter().map(|(_, param)| param).collect();
    let mut clipping = clipping(mode, params.len())?;
    let (mut largest, mut clipped, mut skipped) = (0.0f64, 0, 0);
    for step in 0..STEPS {
        let is_outlier = step % OUTLIER_EVERY == OUTLIER_EVERY / 2;
        let (inputs, targets) = batch(64, is_outlier);
        let loss = net.forward(&inputs).mse_loss(&targets, Reduction::Mean);
        optimizer.zero_grad();
        loss.backward();

        let outcome = clipping.clip_in_place(&params)?;

        // The outcome stays on the device. Reading it waits for the device, so read only what you need.
        let [before, after] = [&outcome.total_norm, &outcome.total_norm_after].map(|norm| norm.double_value(&[]));
        if outcome.found_inf.double_value(&[]) == 0.0 {
            optimizer.step();
            largest = largest.max(after);
            clipped += u64::from(after < before * 0.999);
        } else {
            skipped += 1;
        }
    }

    let (inputs, targets) = batch(1000, false);
    let loss = tch::no_grad(|| net.forward(&inputs).mse_loss(&targets, Reduction::Mean).double_value(&[]));
    println!("{mode:<10} {largest:>12.1e} {clipped:>8} {skipped:>8} {loss:>12.1e}");
    Ok(())
}

fn main() -> Result<()> {
    println!("mode       largest norm  clipped  skipped   final loss");
    for mode in ["none", "norm", "autoclip", "agc"] {
        train(mode)?;
    }
    Ok(())
}
