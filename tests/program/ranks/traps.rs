//! Ranks that do not fit together do not train: each of them ends with one line that says why.

use std::{
    fs,
    net::TcpListener,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::{
    comparison::{COMMON, IMAGES, assert_equal, trains_alike},
    team::{Ended, Meeting, RANK, Team, succeed},
};
use crate::harness::{Workplace, write_photos};

const TOML: &str = r#"
run = { max_epochs = 1, threads = 1 }
model = { name = "mlp", width = 8, depth = 1 }
optimizer = { name = "sgd", learning_rate = 0.05, accumulation_steps = 4 }
"#;

/// Limits for ranks that are all there, on a busy machine.
const PATIENT: &str = "distributed = { start_timeout_seconds = 120, hang_timeout_seconds = 60 }\n";
/// Limits for ranks that never come.
const IMPATIENT: &str = "distributed = { start_timeout_seconds = 3, hang_timeout_seconds = 60 }\n";
/// Most time from the start of ranks to their end if another one never comes, on a busy machine.
const SOON: Duration = Duration::from_secs(30);

const TRAIN: [&str; 4] = ["train", "small.toml", "--run-name", "run"];

fn workplace(limits: &str) -> Workplace {
    Workplace::new(&format!("{TOML}{IMAGES}{limits}"))
}

/// Starts the commands, and returns all ranks after their end; no run may be there.
fn refused(workplace: &Workplace, commands: Vec<Command>) -> Vec<Ended> {
    let started = Instant::now();
    let ended = Team::of(workplace, commands).wait();
    assert!(started.elapsed() < SOON, "after {:?}: {ended:#?}", started.elapsed());
    assert!(!workplace.run_folder("run").exists(), "something was written: {ended:#?}");
    ended
}

#[test]
fn a_rank_that_never_starts_is_named_by_all_others() {
    let workplace = workplace(IMPATIENT);
    for (missing, name) in [(&[1][..], "rank 1"), (&[1, 3], "ranks 1, 3")] {
        let meeting = Meeting::of(4);
        let present = (0..4).filter(|rank| !missing.contains(rank));
        let ended = refused(&workplace, present.map(|rank| meeting.rank(&workplace, rank, &TRAIN)).collect());
        for rank in ended {
            let want = format!(
                "after 3 s, {name} of 4 had not joined; check that they were started, or raise \
                 distributed.start_timeout_seconds"
            );
            assert_eq!(rank.fails(RANK), want);
        }
    }
}

#[test]
fn without_rank_0_the_others_name_the_address_of_the_store() {
    let workplace = workplace(IMPATIENT);
    let meeting = Meeting::of(3);
    let ended = refused(&workplace, [1, 2].map(|rank| meeting.rank(&workplace, rank, &TRAIN)).into());
    let want =
        format!("the store of the ranks at 127.0.0.1:{} has not answered for 3 s: check that rank 0 was", meeting.port);
    ended.iter().for_each(|rank| assert!(rank.fails(RANK).starts_with(&want), "{rank:?}"));
}

#[test]
fn a_port_that_another_program_serves_ends_all_ranks() {
    let workplace = workplace(IMPATIENT);
    // The kernel accepts connections, and nobody answers.
    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = foreign.local_addr().unwrap().port();
    let ended = refused(&workplace, Meeting { world: 3, port }.ranks(&workplace, &TRAIN));
    let store = format!("the store of the ranks at 127.0.0.1:{port}");
    for (rank, ended) in ended.iter().enumerate() {
        let error = ended.fails(RANK);
        let want = match rank {
            0 => [&store, " cannot be served (", "set MASTER_PORT to a free port of rank 0's machine"],
            _ => [&store, " has not answered for 3 s: ", "that no other program uses the port"],
        };
        assert!(want.iter().all(|part| error.contains(part)), "{rank}: {error}");
    }
}

/// Checks that rank 1 of two says how it differs from rank 0, and that rank 0 repeats it.
fn assert_differs(workplace: &Workplace, commands: Vec<Command>, difference: &str) {
    let ended = refused(workplace, commands);
    let own = ended[1].fails(RANK);
    assert!(own.starts_with("rank 1 (") && own.contains(", cpu) has another ") && own.contains(difference), "{own}");
    let told = ended[0].fails(RANK);
    assert!(told.starts_with("rank 1 (") && told.contains(", cpu) ended: ") && told.contains(own), "{told}, not {own}");
}

#[test]
fn a_host_that_does_not_exist_ends_all_ranks() {
    let workplace = workplace(IMPATIENT);
    let mut commands = Meeting::of(2).ranks(&workplace, &TRAIN);
    commands.iter_mut().for_each(|command| {
        command.env("MASTER_ADDR", "no-such-host.invalid");
    });
    for ended in refused(&workplace, commands) {
        let error = ended.fails(RANK);
        assert!(error.starts_with("the store of the ranks at no-such-host.invalid:"), "{error}");
    }
}

#[test]
fn another_config_names_the_keys() {
    let workplace = workplace(PATIENT);
    let mut commands = Meeting::of(2).ranks(&workplace, &TRAIN);
    commands[1].args(["--set", "optimizer.learning_rate=0.5", "--set", "model.depth=2"]);
    let difference = "another config than rank 0: model.depth = 2, optimizer.learning_rate = 0.5, and rank 0 has \
                      model.depth = 1, optimizer.learning_rate = 0.05";
    assert_differs(&workplace, commands, difference);
    // Keys of one machine may differ.
    let mut commands = Meeting::of(2).ranks(&workplace, &TRAIN);
    commands[1].args(["--set", "data.workers=2", "--set", "run.logdir=elsewhere"]);
    commands.iter_mut().for_each(|command| {
        command.env("MASTER_ADDR", "localhost");
    });
    succeed(Team::of(&workplace, commands).wait());
    assert!(workplace.run_folder("run").exists() && !workplace.path().join("elsewhere").exists());
}

#[test]
fn other_images_at_the_path_of_one_rank_are_noticed() {
    let data = "data = { source = \"folder\", image_size = 12, batch_size = 4 }\n";
    let workplace = Workplace::new(&format!("{TOML}{data}{PATIENT}"));
    for folder in ["one", "other"] {
        write_photos(&workplace.path().join(folder), 24);
    }
    let commands = || {
        let mut commands = Meeting::of(2).ranks(&workplace, &TRAIN);
        commands[0].args(["--set", "data.path=one"]);
        commands[1].args(["--set", "data.path=other"]);
        commands
    };
    // The same names and sizes, but another picture.
    let [bee, cat] = ["bee/001.png", "bee/004.png"].map(|name| workplace.path().join("other/train").join(name));
    fs::copy(bee, cat).unwrap();
    assert_differs(&workplace, commands(), "another data set than rank 0: 24 + 15 images of 3 classes");
    fs::copy(workplace.path().join("one/train/bee/004.png"), workplace.path().join("other/train/bee/004.png")).unwrap();
    succeed(Team::of(&workplace, commands()).wait());
}

#[test]
fn another_number_of_ranks_is_noticed_although_some_of_them_are_missing() {
    let workplace = workplace(PATIENT);
    let meeting = Meeting::of(2);
    let more = Meeting { world: 3, ..meeting };
    // Rank 2 of three is not there.
    let ended = refused(&workplace, vec![meeting.rank(&workplace, 0, &TRAIN), more.rank(&workplace, 1, &TRAIN)]);
    let own = ended[1].fails(RANK);
    assert!(own.starts_with("rank 1 (") && own.contains("on 3 ranks, and rank 0 has gradwatch"), "{own}");
    let told = ended[0].fails(RANK);
    assert!(told.starts_with("rank 1 (") && told.contains("on 3 ranks, and rank 0 has gradwatch"), "{told}");
}

#[test]
fn two_processes_with_one_rank_are_told_apart() {
    let workplace = workplace(IMPATIENT);
    let meeting = Meeting::of(3);
    let ended = refused(&workplace, [0, 1, 1].map(|rank| meeting.rank(&workplace, rank, &TRAIN)).into());
    let errors: Vec<&str> = ended.iter().map(|rank| rank.fails(RANK)).collect();
    let twice = "environment variable RANK: got \"1\" in two processes, want another number in each";
    assert_eq!(errors[1..].iter().filter(|error| **error == twice).count(), 1, "{errors:?}");
    let missing = "after 3 s, rank 2 of 3 had not joined";
    assert_eq!(errors.iter().filter(|error| error.starts_with(missing)).count(), 2, "{errors:?}");
}

#[test]
fn a_second_process_with_a_rank_does_not_disturb_a_complete_run() {
    let workplace = workplace(PATIENT);
    let meeting = Meeting::of(2);
    let mut commands: Vec<Command> = [0, 1, 1].map(|rank| meeting.rank(&workplace, rank, &TRAIN)).into();
    commands.iter_mut().for_each(|command| {
        command.args(["--set", "run.max_epochs=20"]);
    });
    let ended = Team::of(&workplace, commands).wait();
    let (extra, members): (Vec<Ended>, Vec<Ended>) = ended.into_iter().partition(|rank| rank.code != Some(0));
    assert_eq!(extra.len(), 1, "{extra:#?} {members:#?}");
    assert!(extra[0].fails(RANK).contains("RANK: got \"1\" in two processes"), "{extra:?}");
    succeed(members);
}

#[test]
fn a_variable_that_is_missing_or_wrong_is_named() {
    let workplace = workplace(PATIENT);
    let meeting = Meeting::of(2);
    for name in ["RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"] {
        let mut command = meeting.rank(&workplace, 1, &TRAIN);
        command.env_remove(name);
        let ended = refused(&workplace, vec![command]);
        let want = format!("environment variable {name}: got nothing, want a value, ");
        assert!(ended[0].fails(RANK).starts_with(&want), "{ended:?}");
    }
    for (name, value, want) in [
        ("RANK", "2", "got 2, want a number below 2, the number of ranks"),
        ("RANK", "-1", "got \"-1\", want a number"),
        ("WORLD_SIZE", "two", "got \"two\", want a number"),
        ("MASTER_PORT", "70000", "got \"70000\", want a number"),
    ] {
        let mut command = meeting.rank(&workplace, 1, &TRAIN);
        command.env(name, value);
        let ended = refused(&workplace, vec![command]);
        assert!(ended[0].fails(RANK).ends_with(want), "{name}: {ended:?}");
    }
}

#[test]
fn a_rank_that_comes_a_second_late_is_awaited() {
    let workplace = Workplace::new(&format!("{COMMON}{IMAGES}{}", TOML.replace("run = ", "# run = ")));
    let plain = workplace.train("plain", &[]);
    for late in 0..2 {
        let name = format!("late{late}");
        let arguments = ["train", "small.toml", "--run-name", &name];
        let mut commands = Meeting::of(2).ranks(&workplace, &arguments);
        let delayed = commands.remove(late);
        let first = Team::of(&workplace, commands);
        thread::sleep(Duration::from_secs(1));
        let second = Team::of(&workplace, vec![delayed]).wait();
        let first = first.wait();
        let [zero, one] = if late == 0 { [second, first] } else { [first, second] };
        succeed(zero.into_iter().chain(one).collect());
        assert_equal(&workplace.run_folder(&name), &plain, &name);
    }
}

#[test]
fn ranks_without_any_image_train_along() {
    // Four training images: one micro-batch per epoch, on rank 0.
    let few = r#"
data = { source = "synthetic", samples = 8, classes = 2, validation_fraction = 0.5, image_size = 8, channels = 1, batch_size = 4 }
model = { name = "cnn", width = 4, depth = 1, normalization = "batch" }
optimizer = { name = "sgd", learning_rate = 0.05, momentum = 0.9, accumulation_steps = 4 }
"#;
    trains_alike(few, &[&["run.max_epochs=3", "evaluate.batch_size=100"]], |_| ());
}
