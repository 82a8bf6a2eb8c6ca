//! Writes log lines above the progress bar and to the run's train.log.

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

/// Log file of a run. Buffers lines until the run folder exists.
#[derive(Clone)]
pub(super) struct LogFile(Arc<Mutex<Target>>);

enum Target {
    Waiting(Vec<u8>),
    Open(File),
}

impl LogFile {
    /// Appends the buffered lines and all further ones to a file.
    pub(super) fn open(&self, mut file: File) -> io::Result<()> {
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

/// Writes to stderr, above the progress bar. Ignores write errors: the terminal may close while the run continues, or
/// the disk that stderr is redirected to may be full.
#[derive(Clone)]
struct Terminal(Option<MultiProgress>);

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = match &self.0 {
            // Not `suspend`, which panics if the terminal is closed.
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

/// Formats the message and the fields of a log event on one line, with control characters escaped.
fn fields() -> impl for<'writer> FormatFields<'writer> + 'static {
    let write = |writer: &mut fmt::format::Writer<'_>, field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
        let text = format!("{value:?}");
        let text = printable::line(&text);
        if field.name() == "message" { write!(writer, "{text}") } else { write!(writer, "{field}={text}") }
    };
    debug_fn(write).delimited(" ")
}

/// Default level. The renderer of charts logs missing glyphs and empty paths, which are no concern of a user.
const DEFAULT: &str = "info,usvg=off,resvg=off,simplecss=off,svgtypes=off";

/// Sends log lines to stderr and to the returned file. `RUST_LOG` filters them as usual; the default level is info, and
/// error on ranks other than 0, which would repeat the lines of rank 0.
pub(super) fn start(bars: Option<MultiProgress>, rank: usize) -> LogFile {
    let file = LogFile(Arc::new(Mutex::new(Target::Waiting(Vec::new()))));
    let filter = || {
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(if rank == 0 { DEFAULT } else { "error" }))
    };
    let (terminal, to_file) = (Terminal(bars), file.clone());
    let stderr = fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        .fmt_fields(fields())
        .log_internal_errors(false)
        .with_writer(move || terminal.clone());
    // Otherwise the layer reports its own errors to stderr with a macro that panics if stderr is closed.
    let log = fmt::layer()
        .with_ansi(false)
        .fmt_fields(fields())
        .log_internal_errors(false)
        .with_writer(move || to_file.clone());
    // Fails only if a subscriber is already installed. Nothing else in this program installs one.
    let _ =
        tracing_subscriber::registry().with(stderr.with_filter(filter())).with(log.with_filter(filter())).try_init();
    file
}
