//! The command at the finding that stops the program.

use std::{
    io,
    os::fd::AsFd,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{diagnosis::Finding, printable};

/// Longest name of a layer in the environment, in characters. The kernel refuses variables of 128 KiB.
const LONGEST: usize = 1000;

/// Starts a shell command with the finding in its environment: GRADWATCH_RUN, GRADWATCH_RULE, GRADWATCH_SEVERITY,
/// GRADWATCH_STEP, and GRADWATCH_LAYER, the first layer of the finding (empty for the whole model). Its output goes to
/// stderr.
///
/// # Errors
/// If the shell cannot be started.
pub(crate) fn run_command(command: &str, run: &Path, finding: &Finding) -> io::Result<Child> {
    let mut shell = Command::new("sh");
    // stdout is for findings alone, so that it stays JSON. Without stderr, nobody reads the output.
    let output = io::stderr().as_fd().try_clone_to_owned().map_or_else(|_| Stdio::null(), Stdio::from);
    shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(output);
    // Names of layers come from files: they are values of variables only, never part of the command.
    let layer = finding.layers.first().map(|layer| printable::line(layer)).unwrap_or_default();
    let layer: String = layer.chars().take(LONGEST).collect();
    shell
        .env("GRADWATCH_RUN", run)
        .env("GRADWATCH_RULE", finding.rule.name())
        .env("GRADWATCH_SEVERITY", finding.severity.name())
        .env("GRADWATCH_STEP", finding.last_step.to_string())
        .env("GRADWATCH_LAYER", layer);
    shell.spawn()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        diagnosis::{RuleName, Severity},
        report::fixture::finding,
    };

    #[test]
    fn names_of_layers_are_values_and_never_part_of_the_command() {
        let folder = tempfile::tempdir().unwrap();
        let (out, bad) = (folder.path().join("out"), folder.path().join("bad"));
        let hostile = format!("$(touch {0}); `touch {0}`\0\n{1}", bad.display(), "猫".repeat(100_000));
        let finding = Finding { layers: vec![hostile.into()], ..finding(RuleName::Vanishing, Severity::Critical, 5) };
        let command = format!(
            "printf '%s|' \"$GRADWATCH_RUN\" $GRADWATCH_RULE $GRADWATCH_SEVERITY $GRADWATCH_STEP \"$GRADWATCH_LAYER\" > {}",
            out.display()
        );
        assert!(run_command(&command, Path::new("logs/a b"), &finding).unwrap().wait().unwrap().success());
        let said = fs::read_to_string(out).unwrap();
        assert!(said.starts_with("logs/a b|vanishing|critical|25|$(touch "), "{said}");
        assert!(said.contains("\\u0000\\u000a猫") && said.chars().count() < LONGEST + 100, "{}", said.len());
        assert!(!bad.exists());
    }

    #[test]
    fn a_command_gets_no_input() {
        let finding = finding(RuleName::Vanishing, Severity::Critical, 5);
        let status = run_command("test -z \"$(cat)\"; exit $(($? + 7))", Path::new("."), &finding).unwrap().wait();
        assert_eq!(status.unwrap().code(), Some(7));
    }
}
