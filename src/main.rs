//! The program: parses arguments, dispatches, and maps errors to exit codes.

mod cli;

use std::{
    borrow::Cow,
    io::{Write, stderr},
    process::ExitCode,
};

use clap::Parser;
use gradwatch::printable;

fn main() -> ExitCode {
    let arguments = match cli::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    std::panic::set_hook(Box::new(|panic| {
        tell(&format!("internal error, please report it: {}", panic.to_string().replace('\n', " ")));
    }));
    match cli::run(arguments) {
        Ok(code) => code.into(),
        Err(error) => {
            tell(&format!("{error:#}"));
            cli::exit::code_of(&error).into()
        }
    }
}

/// Writes one line to stderr; ignores a closed stderr.
fn tell(message: &str) {
    let _ = writeln!(stderr(), "gradwatch: {}", printable::line(message));
}

/// Prints a command-line error or help. Quoted arguments may contain control characters, so it parses a sanitized copy
/// of the command line for the message.
fn refuse(error: &clap::Error) -> ExitCode {
    let safe = std::env::args_os().map(|argument| printable::line(&argument.to_string_lossy()).into_owned());
    let safe = cli::Arguments::try_parse_from(safe).err();
    let error = safe.as_ref().filter(|safe| safe.kind() == error.kind()).unwrap_or(error);
    let text = error.to_string();
    match printable::lines(&text) {
        // With color.
        Cow::Borrowed(_) => _ = error.print(),
        Cow::Owned(safe) => _ = stderr().write_all(safe.as_bytes()),
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
}
