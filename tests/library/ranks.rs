//! Faults planted in one of several ranks: the run finds each one and names the rank.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use gradwatch::{
    config::{Config, RuleName},
    diagnosis::Finding,
    distributed::{Limits, Ranks, Topology},
    events::RunFolder,
    libtorch::{Hook, Store},
    recording::Ending,
    train::{State, StopSignal, prepare_on_ranks, train},
};
use tch::{Device, Kind, Tensor};

use crate::harness::exclusive;

const LIMIT: Duration = Duration::from_secs(120);
/// The rank with the fault.
const FAULTY: usize = 1;

fn config(ranks: usize, more: &str) -> Config {
    let toml = format!(
        "data = {{ source = \"synthetic\", samples = 120, classes = 3, image_size = 8, channels = 1, batch_size = 4 }}
        run = {{ max_steps = 10, threads = 1 }}
        model = {{ name = \"mlp\", width = 16, depth = 2 }}
        optimizer.accumulation_steps = {ranks}
        evaluate.every_epochs = 0
        checkpoint.every_epochs = 0
        {more}"
    );
    Config::parse(&toml, "ranks").unwrap()
}

/// Trains on each rank, in threads of this process, and returns the findings of rank 0. `run` trains a state; only that
/// of the faulty rank gets a fault.
fn findings(world: usize, more: &str, run: impl Fn(&mut State, bool) + Sync) -> Vec<Finding> {
    let _alone = exclusive();
    let logdir = tempfile::tempdir().unwrap();
    let server = Store::open("127.0.0.1", 0, true, LIMIT).unwrap();
    let (master_port, run, logdir) = (server.port(), &run, logdir.path());
    let rank = |rank: usize| {
        let topology = Topology {
            rank,
            world,
            local_rank: rank,
            master_host: "127.0.0.1".into(),
            master_port,
            is_served_by_launcher: true,
            attempt: 0,
        };
        let config = config(world, more);
        let ranks = Ranks::join(topology, Device::Cpu, Limits { start: LIMIT, hang: LIMIT }).unwrap();
        let _end = Ended(ranks.clone());
        let prepared = prepare_on_ranks(config, ranks.clone(), Some(Device::Cpu)).unwrap();
        let mut state = match rank {
            0 => prepared.start(RunFolder::create(logdir, "run").unwrap(), None).unwrap(),
            _ => prepared.follow(None).unwrap(),
        };
        run(&mut state, rank == FAULTY);
        ranks.leave();
        state.diagnosis().filter(|_| rank == 0).map(|diagnosis| diagnosis.findings().to_vec())
    };
    thread::scope(|scope| {
        let ranks: Vec<_> = (0..world).map(|number| scope.spawn(move || rank(number))).collect();
        let mut of_ranks = ranks.into_iter().map(|rank| rank.join().unwrap());
        of_ranks.next().unwrap().unwrap()
    })
}

/// Ends the other ranks if this one panics.
struct Ended(Ranks);

impl Drop for Ended {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.report_failure("a panic");
        }
    }
}

fn train_to(state: &mut State, step: u64) {
    state.config.run.max_steps = Some(step);
    assert_eq!(train(state, &StopSignal::default()).unwrap(), Ending::MaxSteps);
}

/// Name of the parameter with the fault.
const WEIGHT: &str = "layers.1.linear.weight";

fn weight(state: &State) -> Tensor {
    let parameters = &state.model().network.parameters;
    let names = || parameters.iter().map(|parameter| parameter.name.to_string()).collect::<Vec<_>>();
    parameters.get(WEIGHT).unwrap_or_else(|| panic!("{:?}", names())).tensor.shallow_clone()
}

/// Runs `fault` on the gradient of the parameter at each step.
fn hook(state: &State, fault: impl Fn(usize, &Tensor) -> Option<Tensor> + Send + Sync + 'static) -> Hook {
    let step = Arc::new(AtomicUsize::new(0));
    Hook::before_accumulation(&weight(state), move |grad| fault(step.fetch_add(1, Ordering::Relaxed), grad)).unwrap()
}

fn of_rule(findings: &[Finding], rule: RuleName) -> &Finding {
    let found = findings.iter().find(|finding| finding.rule == rule);
    found.unwrap_or_else(|| panic!("no finding of {rule}: {findings:?}"))
}

#[test]
fn a_nan_of_one_rank_is_found_at_its_step_with_the_rank_the_parameter_and_the_images() {
    for reduction in ["fast", "exact"] {
        let found = findings(3, &format!("distributed.reduction = \"{reduction}\""), |state, is_faulty| {
            let nan = |step: usize, grad: &Tensor| (step == 6).then(|| grad * f64::NAN);
            let _fault = is_faulty.then(|| hook(state, nan));
            train_to(state, 12);
        });
        let finding = of_rule(&found, RuleName::NonFinite);
        assert_eq!((finding.first_step, &finding.ranks), (6, &vec![FAULTY]), "{finding:?}");
        let text = finding.to_string();
        assert!(text.contains("rank 1") && text.contains(WEIGHT), "{text}");
    }
}

#[test]
fn a_slow_rank_is_found_and_named() {
    let found = findings(2, "", |state, is_faulty| {
        let slow = |_: usize, _: &Tensor| {
            thread::sleep(Duration::from_millis(25));
            None
        };
        let _fault = is_faulty.then(|| hook(state, slow));
        train_to(state, 230);
    });
    assert_eq!(of_rule(&found, RuleName::Straggler).ranks, [FAULTY]);
}

#[test]
fn a_flipped_bit_in_the_weights_of_one_rank_is_found_at_the_next_check() {
    for (world, mask) in [(3, 1), (3, 1 << 30), (2, 1 << 30)] {
        let found = findings(world, "distributed.check_weights_every_steps = 5", |state, is_faulty| {
            train_to(state, 13);
            if is_faulty {
                let bits = weight(state).detach().view_dtype(Kind::Int).view([-1]).narrow(0, 7, 1);
                bits.shallow_clone().copy_(&bits.bitwise_xor(mask));
            }
            train_to(state, 16);
        });
        let finding = of_rule(&found, RuleName::WeightMismatch);
        assert_eq!((finding.first_step, &finding.ranks), (15, &vec![FAULTY]), "{world} {mask} {finding:?}");
        assert!(finding.to_string().contains(WEIGHT), "{finding}");
    }
}

#[test]
fn healthy_ranks_have_no_finding_about_a_rank() {
    let found = findings(3, "distributed.check_weights_every_steps = 10", |state, _| train_to(state, 120));
    let of_ranks = |finding: &&Finding| {
        let rules = [RuleName::WeightMismatch, RuleName::RankSpike, RuleName::RankDisagreement, RuleName::NonFinite];
        rules.contains(&finding.rule)
    };
    assert_eq!(found.iter().filter(of_ranks).collect::<Vec<_>>(), Vec::<&Finding>::new());
}
