//! The program: parse, dispatch, map an error to an exit code.

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

/// One line on stderr. Where that is closed there is nobody to tell.
fn tell(message: &str) {
    let _ = writeln!(stderr(), "gradwatch: {}", printable::line(message));
}

/// Says what is wrong with the command line, or helps. What it quotes may hold anything: it is asked about the same line made safe.
fn refuse(error: &clap::Error) -> ExitCode {
    let safe = std::env::args_os().map(|argument| printable::line(&argument.to_string_lossy()).into_owned());
    let safe = cli::Arguments::try_parse_from(safe).err();
    let error = safe.as_ref().filter(|safe| safe.kind() == error.kind()).unwrap_or(error);
    let text = error.to_string();
    match printable::lines(&text) {
        // In color.
        Cow::Borrowed(_) => _ = error.print(),
        Cow::Owned(safe) => _ = stderr().write_all(safe.as_bytes()),
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
}
