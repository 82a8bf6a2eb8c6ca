//! Where log lines go: above the progress bar, and into the run's train.log.

use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
};

use gradwatch::printable;
use indicatif::MultiProgress;
use tracing_subscriber::{
    EnvFilter, Layer,
    field::MakeExt,
    fmt::{self, FormatFields, format::debug_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// The log file of a run. Lines from before the run has a folder are kept until it has.
#[derive(Clone)]
pub struct LogFile(Arc<Mutex<Target>>);

enum Target {
    Waiting(Vec<u8>),
    Open(File),
}

impl LogFile {
    /// Puts the lines so far, and all further ones, at the end of a file.
    pub fn open(&self, mut file: File) -> io::Result<()> {
        let mut target = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Target::Waiting(lines) = &*target {
            file.write_all(lines)?;
        }
        *target = Target::Open(file);
        Ok(())
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Target::Waiting(lines) => lines.write(bytes),
            Target::Open(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// stderr, with lines above the progress bar. What it does not take is lost: a terminal may be closed while a run goes on, and a
/// disk that stderr is sent to may be full.
#[derive(Clone)]
struct Terminal(Option<MultiProgress>);

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = match &self.0 {
            // Not `suspend`, which panics where the terminal is closed.
            Some(bars) if !bars.is_hidden() => bars.println(String::from_utf8_lossy(bytes).trim_end_matches('\n')),
            _ => io::stderr().write_all(bytes),
        };
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = io::stderr().flush();
        Ok(())
    }
}

/// The message and the values of an entry, in one line whatever names are in them.
fn fields() -> impl for<'writer> FormatFields<'writer> + 'static {
    let write = |writer: &mut fmt::format::Writer<'_>, field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
        let text = format!("{value:?}");
        let text = printable::line(&text);
        if field.name() == "message" { write!(writer, "{text}") } else { write!(writer, "{field}={text}") }
    };
    debug_fn(write).delimited(" ")
}

/// Sends log lines to stderr and to the returned file. `RUST_LOG` chooses them as usual; without it, from info on.
pub fn start(bars: Option<MultiProgress>) -> LogFile {
    let file = LogFile(Arc::new(Mutex::new(Target::Waiting(Vec::new()))));
    let filter = || EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let (terminal, to_file) = (Terminal(bars), file.clone());
    let stderr = fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        .fmt_fields(fields())
        .log_internal_errors(false)
        .with_writer(move || terminal.clone());
    // The layer's own words about a failure would go to stderr with a macro that panics where that is closed.
    let log = fmt::layer()
        .with_ansi(false)
        .fmt_fields(fields())
        .log_internal_errors(false)
        .with_writer(move || to_file.clone());
    // Fails only where a subscriber is installed already, which nothing else in this program does.
    let _ =
        tracing_subscriber::registry().with(stderr.with_filter(filter())).with(log.with_filter(filter())).try_init();
    file
}
