//! Messages on stderr: `warning: …`, `error: …`, and plain text for information.

use std::fmt;
use std::io::Write;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::progress;

/// Sends `tracing` messages to stderr; call once.
///
/// By default warnings and information are shown; `verbose` adds debugging, then tracing, `quiet` removes information,
/// then warnings.
pub fn start(verbose: u8, quiet: u8, use_color: bool) {
    let level = match (verbose, quiet) {
        (0, 0) => Level::INFO,
        (1, _) => Level::DEBUG,
        (2.., _) => Level::TRACE,
        (0, 1) => Level::WARN,
        (0, 2..) => Level::ERROR,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(|| Stderr)
        .with_ansi(use_color)
        .event_format(Plain)
        .finish();
    // A second call, as in tests, changes nothing.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Standard error, beside the progress line.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        progress::suspend(|| std::io::stderr().write(text))
    }
    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (name, color) = match *event.metadata().level() {
            Level::ERROR => ("error", "31"),
            Level::WARN => ("warning", "33"),
            Level::INFO => ("", ""),
            Level::DEBUG => ("debug", "34"),
            Level::TRACE => ("trace", "35"),
        };
        if writer.has_ansi_escapes() && !name.is_empty() {
            write!(writer, "\u{1b}[{color};1m{name}\u{1b}[0m: ")?;
        } else if !name.is_empty() {
            write!(writer, "{name}: ")?;
        }
        ctx.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
