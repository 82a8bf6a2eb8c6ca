//! `gradwatch completions`: prints completion scripts for shells.

use anyhow::Result;
use clap::CommandFactory;

use super::{Arguments, exit::Code, print};

pub(super) fn run(shell: clap_complete::Shell) -> Result<Code> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "gradwatch", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Code::Success)
}
