//! A custom tch training loop that monitors every gradient, clips by norm, and writes TensorBoard files, with six more
//! lines.
//!
//! `cargo run --release --example own_loop`, then `make tensorboard`.

use anyhow::Result;
use gradwatch::clipping::clip_grad_norm;
use gradwatch::events::{SummaryWriter, write_gradients};
use gradwatch::gradient::{GradientMonitor, named_variables};
use tch::nn::{self, ModuleT, OptimizerConfig};
use tch::{Device, Kind, Tensor};

/// Points in the plane; the label is the arm of the point, one of two interleaved spiral arms.
fn spiral(points: i64) -> (Tensor, Tensor) {
    let options = (Kind::Float, Device::Cpu);
    let labels = Tensor::randint(2, [points], (Kind::Int64, Device::Cpu));
    let radius = Tensor::rand([points], options);
    let angle = &radius * 9.0 + &labels * std::f64::consts::PI;
    (Tensor::stack(&[&radius * angle.cos(), &radius * angle.sin()], 1), labels)
}

fn main() -> Result<()> {
    tch::manual_seed(0);
    let vs = nn::VarStore::new(Device::Cpu);
    let root = vs.root();
    let net = nn::seq_t()
        .add(nn::linear(&root / "hidden1", 2, 64, Default::default()))
        .add_fn(|hidden| hidden.tanh())
        .add(nn::linear(&root / "hidden2", 64, 64, Default::default()))
        .add_fn(|hidden| hidden.tanh())
        .add(nn::linear(&root / "classifier", 64, 2, Default::default()));
    let mut optimizer = nn::Adam::default().build(&vs, 3e-3)?;

    let monitor = GradientMonitor::attach(named_variables(&vs))?; // one: a hook on every parameter
    let writer = SummaryWriter::create("logs/own_loop")?; // two: an event file

    for step in 0..1000u64 {
        let (points, labels) = spiral(256);
        let loss = net.forward_t(&points, true).cross_entropy_for_logits(&labels);
        optimizer.zero_grad();
        loss.backward();

        let statistics = monitor.collect()?; // three: this step's norms
        write_gradients(&writer, step, &statistics)?; // four: every layer into TensorBoard
        writer.scalar("loss/train", step, loss.double_value(&[]))?; // five
        clip_grad_norm(&monitor.grads(), 1.0)?; // six: clipping

        if statistics.is_finite() {
            optimizer.step();
        }
        if step % 100 == 99 {
            println!("step {step}: loss {:.4}, total norm {:.4}", loss.double_value(&[]), statistics.total_norm);
        }
    }
    writer.close()?;
    Ok(())
}
