//! Tests of the sums over ranks.

use super::*;
use crate::distributed::fixture::on_ranks;

fn leaf(shape: &[i64], seed: i64) -> Tensor {
    let values = Tensor::arange_start(seed, seed + shape.iter().product::<i64>(), (Kind::Float, Device::Cpu));
    (values * 0.7).sin().reshape(shape).set_requires_grad(true)
}

/// Three parameters: one in another layout of memory, and one that only the second micro-batch reaches.
fn params() -> Vec<Tensor> {
    let transposed = leaf(&[5, 3], 7).detach().transpose(0, 1).set_requires_grad(true);
    vec![leaf(&[4, 3], 0), transposed, leaf(&[3], 90)]
}

fn loss(params: &[Tensor], micro_batch: usize) -> Tensor {
    let inputs = leaf(&[2, 4], 31 * micro_batch as i64).detach();
    let hidden = inputs.matmul(&params[0]).matmul(&params[1]).tanh();
    let plain = hidden.square().sum(Kind::Float);
    if micro_batch == 1 { plain + params[2].square().sum(Kind::Float) } else { plain }
}

fn bits(grad: &Tensor) -> Option<Vec<u32>> {
    let values = || Vec::<f32>::try_from(grad.contiguous().flatten(0, -1)).unwrap();
    grad.defined().then(|| values().into_iter().map(f32::to_bits).collect())
}

/// Gradients of a step on one device.
fn alone(micro_batches: &[usize]) -> Vec<Option<Vec<u32>>> {
    let params = params();
    micro_batches.iter().for_each(|number| loss(&params, *number).backward());
    params.iter().map(|param| bits(&param.grad())).collect()
}

/// Gradients of two equal steps on several ranks; `micro_batches` are those with images.
fn together(ranks: &Ranks, micro_batches: &[usize], reduction: Reduction) -> Vec<Vec<Option<Vec<u32>>>> {
    let params = params();
    let reducer = Reducer::new(ranks, &params, reduction).unwrap();
    let (world, end) = (ranks.world(), micro_batches.iter().max().map_or(0, |last| last + 1));
    let steps = (0..2).map(|_| {
        let has_images = |number: usize| micro_batches.contains(&number);
        let round = |first: usize| (0..world).filter(|rank| has_images(first + rank)).collect();
        reducer.start((0..end).step_by(world).map(round).collect());
        let own: Vec<usize> = ranks.share(0..end).filter(|number| has_images(*number)).collect();
        for number in &own {
            reducer.start_backward(number / world, Some(number) == own.last()).unwrap();
            loss(&params, *number).backward();
            reducer.finish_backward().unwrap();
        }
        // A pass outside of training changes nothing.
        let _ = loss(&params, 0);
        let local = reducer.finish_sending().unwrap();
        let reached: Vec<f64> = local.is_reached.iter().map(|reached| f64::from(u8::from(*reached))).collect();
        let reached = ranks.gather(&reached).unwrap();
        let reached: Vec<bool> = (0..params.len()).map(|param| reached.iter().any(|rank| rank[param] > 0.0)).collect();
        reducer.finish(&reached).unwrap();
        let grads = params.iter().map(|param| bits(&param.grad())).collect();
        clear_grads(&params).unwrap();
        grads
    });
    steps.collect()
}

#[test]
fn exact_sums_equal_one_device_bit_for_bit_on_any_number_of_ranks() {
    // Some without images, in the first round too.
    for micro_batches in [&[0][..], &[0, 1], &[0, 1, 2], &[0, 1, 2, 3, 4], &[1, 2, 5], &[4, 5, 7, 8]] {
        let want = alone(micro_batches);
        for world in 2..=4 {
            for steps in on_ranks(world, |ranks| together(&ranks, micro_batches, Reduction::Exact)) {
                assert_eq!(steps, [want.clone(), want.clone()], "{micro_batches:?} on {world}");
            }
        }
    }
}

#[test]
fn fast_sums_are_equal_on_all_ranks_and_near_those_of_one_device() {
    let micro_batches = [0, 1, 2, 3, 4];
    let want = alone(&micro_batches);
    for world in 2..=4 {
        let seen = on_ranks(world, |ranks| together(&ranks, &micro_batches, Reduction::Fast));
        for steps in &seen {
            assert_eq!(steps, &seen[0]);
        }
        for (got, want) in seen[0][1].iter().zip(&want) {
            let (got, want) = (got.as_ref().unwrap(), want.as_ref().unwrap());
            let is_near = |(got, want): (&u32, &u32)| {
                let [got, want] = [got, want].map(|bits| f32::from_bits(*bits));
                (got - want).abs() <= 1e-6 * want.abs().max(1.0)
            };
            assert!(got.iter().zip(want).all(is_near), "{world}");
        }
    }
}

#[test]
fn a_rank_knows_the_squares_of_its_own_gradient() {
    let squares = on_ranks(2, |ranks| {
        let param = leaf(&[2], 0);
        let reducer = Reducer::new(&ranks, &[param.shallow_clone()], Reduction::Fast).unwrap();
        reducer.start(vec![vec![0, 1]]);
        reducer.start_backward(0, true).unwrap();
        // Gradients 3 and 4 on rank 0, 6 and 8 on rank 1.
        let factor = 1.0 + ranks.rank() as f64;
        (&param * Tensor::from_slice(&[3.0f32, 4.0]) * factor).sum(Kind::Float).backward();
        let local = reducer.finish_sending().unwrap();
        reducer.finish(&local.is_reached).unwrap();
        (local.squares.double_value(&[0]), param.grad().double_value(&[1]))
    });
    assert_eq!(squares, [(25.0, 12.0), (100.0, 12.0)]);
}
