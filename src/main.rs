//! The program: parses arguments, dispatches, and maps errors to exit codes.

mod cli;

use std::process::ExitCode;

use gradwatch::cli::{parse_arguments, tell_error, tell_error_lines};

fn main() -> ExitCode {
    let arguments: cli::Arguments = match parse_arguments("gradwatch") {
        Ok(arguments) => arguments,
        Err(code) => return code.into(),
    };
    match cli::run(arguments) {
        Ok(code) => code.into(),
        Err(error) => {
            let tell = if cli::error_code::is_list(&error) { tell_error_lines } else { tell_error };
            tell("gradwatch", &format!("{error:#}"));
            cli::error_code::code_of(&error).into()
        }
    }
}
