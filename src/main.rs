//! The program: parse, dispatch, map an error to an exit code.

mod cli;

use std::{
    io::{Write, stderr},
    process::ExitCode,
};

use clap::Parser;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
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
    let _ = writeln!(stderr(), "gradwatch: {message}");
}
