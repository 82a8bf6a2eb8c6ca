//! `gradwatch completions`: completion scripts for shells.

use anyhow::Result;
use clap::CommandFactory;

use super::{Arguments, exit::Code};

pub fn run(shell: clap_complete::Shell) -> Result<Code> {
    clap_complete::generate(shell, &mut Arguments::command(), "gradwatch", &mut std::io::stdout());
    Ok(Code::Success)
}
