//! What belongs to the whole process, and so cannot be tested beside other tests: random state and the op counter.

use std::sync::{Mutex, MutexGuard};

use gradwatch::libtorch::{OpCounter, foreach_norm, generator_state, set_generator_state};
use tch::{Device, Kind, Tensor};

static PROCESS: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    PROCESS.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn draw() -> Vec<f32> {
    Vec::try_from(Tensor::rand([4], (Kind::Float, Device::Cpu))).unwrap()
}

#[test]
fn the_same_draws_follow_a_generator_state_that_was_put_back() {
    let _alone = alone();
    let state = generator_state(Device::Cpu).unwrap();
    let first = draw();
    assert_ne!(draw(), first);
    set_generator_state(Device::Cpu, &state).unwrap();
    assert_eq!(draw(), first);
}

#[test]
fn the_op_counter_sees_every_op_and_every_host_sync() {
    let _alone = alone();
    let tensors = [Tensor::from_slice(&[3.0f32, 4.0]), Tensor::from_slice(&[1.0f32])];
    let counter = OpCounter::start().unwrap();
    assert!(OpCounter::start().is_err());
    let norms = foreach_norm(&tensors, 2.0).unwrap();
    let first = norms.double_value(&[0]);
    let counts = counter.stop().unwrap();
    assert_eq!(first, 5.0);
    assert_eq!(counts.of("aten::_foreach_norm"), 1);
    assert_eq!(counts.host_syncs(), 1);
    assert!(counts.total() > 2);
    let silent = OpCounter::start().unwrap().stop().unwrap();
    assert_eq!(silent.total(), 0);
}
