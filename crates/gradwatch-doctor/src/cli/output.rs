//! Text on stdout and stderr, with control characters escaped.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use clap::Parser;

use crate::{panics, printable};

/// The requested output could not be written to stdout.
#[derive(Debug, thiserror::Error)]
#[error("stdout cannot be written: {0}; the output is incomplete")]
pub struct StdoutError(pub(super) io::Error);

/// Writes the requested output to stdout. A closed pipe (`gradwatch check ... | head`) is not an error.
///
/// # Errors
/// If stdout cannot be written.
pub fn print(text: &str) -> Result<(), StdoutError> {
    print_open(text).map(|_| ())
}

/// Like [`print()`]. Returns false if the pipe is closed, so that nobody reads any further text.
pub(super) fn print_open(text: &str) -> Result<bool, StdoutError> {
    let text = printable::lines(text);
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).map_err(StdoutError),
    }
}

/// Writes one line to stderr; ignores a closed stderr.
pub(super) fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes an error message to stderr, after the name of the program; ignores a closed stderr.
pub fn tell_error(program: &str, message: &str) {
    tell(&format!("{program}: {}", printable::line(message)));
}

/// Writes an error message of several lines to stderr, after the name of the program; ignores a closed stderr. Line
/// breaks stay, so text from files and arguments must be escaped already, as in a
/// [`ConfigError`](crate::config::ConfigError) of several problems.
pub fn tell_error_lines(program: &str, message: &str) {
    tell(&format!("{program}: {}", printable::lines(message)));
}

/// Parses the command line of a program, and makes a panic report itself as an internal error in one line.
///
/// # Errors
/// If the command line is wrong or asks for help: prints the message and returns the exit code.
pub fn parse_arguments<P: Parser>(program: &'static str) -> Result<P, u8> {
    let arguments = P::try_parse().map_err(|error| report_usage_error::<P>(&error))?;
    std::panic::set_hook(Box::new(move |panic| {
        if panics::is_expected() {
            return;
        }
        let panic = panic.to_string().replace('\n', " ");
        tell_error(program, &format!("internal error, please report it: {panic}"));
    }));
    Ok(arguments)
}

/// Prints a command-line error or help, and returns the exit code. Quoted arguments may contain control characters, so
/// it parses a sanitized copy of the command line for the message.
fn report_usage_error<P: Parser>(error: &clap::Error) -> u8 {
    let safe = std::env::args_os().map(|argument| printable::line(&argument.to_string_lossy()).into_owned());
    let safe = P::try_parse_from(safe).err();
    let error = safe.as_ref().filter(|safe| safe.kind() == error.kind()).unwrap_or(error);
    let text = error.to_string();
    match printable::lines(&text) {
        // With color.
        Cow::Borrowed(_) => _ = error.print(),
        Cow::Owned(safe) => _ = io::stderr().write_all(safe.as_bytes()),
    }
    u8::try_from(error.exit_code()).unwrap_or(1)
}
