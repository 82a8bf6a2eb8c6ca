//! `gradwatch train`: trains a run from a config file.

use anyhow::Result;
use gradwatch::{
    checkpoint::CheckpointError,
    config::Config,
    events::{RunFolder, run_name},
    supervisor::Supervisor,
    train::{check_repair, loaded_config},
};
use time::OffsetDateTime;

use super::{ResumeWhen, TrainArguments, exit::Code, launch::launch, resume::Begun, session::Session};

pub(super) fn run(arguments: &TrainArguments) -> Result<Code> {
    if let Some(ranks @ 2..) = arguments.session.ranks {
        // Reports a wrong config once, not in every rank.
        check_repair(&arguments.config.load(arguments.session.max_steps)?, ranks)?;
        return launch(ranks);
    }
    let mut session = Session::start()?;
    let config = arguments.config.load(arguments.session.max_steps)?;
    session.with_ranks(&config, |session| {
        if session.is_follower() {
            session.follow(config.clone())
        } else {
            begin_or_resume(session, arguments, config.clone())
        }
    })
}

fn begin_or_resume(session: &Session, arguments: &TrainArguments, config: Config) -> Result<Code> {
    let name = match (&arguments.run_name, arguments.resume) {
        (Some(name), _) => name.clone(),
        (None, ResumeWhen::Never) => run_name(&arguments.config.config, OffsetDateTime::now_utc()),
        // The name must be the same after a requeue.
        (None, ResumeWhen::Auto) => {
            let stem = arguments.config.config.file_stem().unwrap_or_default();
            stem.to_string_lossy().into_owned()
        }
    };
    let logdir = config.run.logdir.clone();
    let path = logdir.join(&name);
    let is_begun = path.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    if arguments.resume == ResumeWhen::Never || !is_begun {
        let is_named = arguments.run_name.is_some() || arguments.resume == ResumeWhen::Auto;
        return session.begin(config, || match is_named {
            true => RunFolder::create(&logdir, &name),
            // Several runs may start in the same second.
            false => RunFolder::create_unnamed(&logdir, &name),
        });
    }
    let folder = RunFolder::open(&path)?;
    let mut repairs = Supervisor::open(&folder)?;
    match Begun::of(&folder, &mut repairs, &config)? {
        Begun::Saved(loaded) => {
            let config = arguments.config.load_for_run(arguments.session.max_steps, &loaded_config(&loaded, &[])?)?;
            session.resume(config, folder, *loaded, &arguments.session.allowed, repairs)
        }
        Begun::GivenUp(rule) => Ok(session.has_given_up(&path, rule)),
        Begun::StartedAgain => session.begin_again(config, folder, repairs),
        // The run died before its first checkpoint, and so before its first step.
        Begun::Unsaved if !folder.has_steps() => session.begin(config, || Ok(folder)),
        Begun::Unsaved => {
            Err(CheckpointError::Missing { run: path, remedy: "start a new run with another --run-name" }.into())
        }
    }
}
