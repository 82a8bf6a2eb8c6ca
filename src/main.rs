//! The program: parses arguments, dispatches, and maps errors to exit codes.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use gradwatch::cli::{report_usage_error, tell_error, tell_error_lines};

fn main() -> ExitCode {
    let arguments = match cli::Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return report_usage_error::<cli::Arguments>(&error).into(),
    };
    std::panic::set_hook(Box::new(|panic| {
        let panic = panic.to_string().replace('\n', " ");
        tell_error("gradwatch", &format!("internal error, please report it: {panic}"));
    }));
    match cli::run(arguments) {
        Ok(code) => code.into(),
        Err(error) => {
            let tell = if cli::exit::is_list(&error) { tell_error_lines } else { tell_error };
            tell("gradwatch", &format!("{error:#}"));
            cli::exit::code_of(&error).into()
        }
    }
}
