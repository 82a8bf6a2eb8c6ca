//! The program: parse, dispatch, map an error to an exit code.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    std::panic::set_hook(Box::new(|panic| {
        // One line; RUST_BACKTRACE=1 is for whoever looks into it.
        eprintln!("gradwatch: internal error, please report it: {}", panic.to_string().replace('\n', " "));
    }));
    match cli::run(arguments) {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("gradwatch: {error:#}");
            cli::exit::code_of(&error).into()
        }
    }
}
