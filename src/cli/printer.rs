//! The one door to the terminal: stdout carries data, stderr carries progress and remarks.

use std::io::{self, Write};

use crate::study::{Event, Observer};

/// The log target of lines that the terminal shows already.
pub(super) const SHOWN: &str = "autotune::shown";

/// Writes data to stdout and remarks to stderr. A closed pipe on stdout is remembered, not an error: whoever closed it has read enough.
#[derive(Debug, Default)]
pub struct Printer {
    quiet: bool,
    plain: bool,
    closed: bool,
    failed: bool,
}

impl Printer {
    /// A printer; a quiet one drops remarks, but no data and no errors.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        Self { quiet, ..Self::default() }
    }

    /// Whether lines are only appended, never overwritten.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// The same without a view that is drawn over, so that log lines can stand between the others.
    #[must_use]
    pub fn with_plain(self, plain: bool) -> Self {
        Self { plain, ..self }
    }

    /// Whether remarks are dropped.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// A line of data on stdout.
    pub fn data(&mut self, line: &str) {
        if self.closed {
            return;
        }
        let mut out = io::stdout().lock();
        if let Err(error) = writeln!(out, "{line}").and_then(|()| out.flush()) {
            self.closed = true;
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.failed = true;
                self.error(&format!("failed to write to stdout: {error}"));
            }
        }
    }

    /// Whether the reader of stdout has gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether data was lost, to a full disk for example; a reader that has gone is not counted.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// A remark on stderr, dropped when quiet.
    pub fn remark(&self, line: &str) {
        tracing::debug!(target: SHOWN, "{line}");
        if !self.quiet {
            // There is no place to report that stderr is closed.
            let _ = writeln!(io::stderr().lock(), "{line}");
        }
    }

    /// A warning on stderr, shown even when quiet.
    pub fn warn(&self, line: &str) {
        tracing::warn!(target: SHOWN, "{line}");
        let _ = writeln!(io::stderr().lock(), "warning: {line}");
    }

    /// An error on stderr, shown even when quiet.
    pub fn error(&self, line: &str) {
        let _ = writeln!(io::stderr().lock(), "error: {line}");
    }
}

/// Before a study exists, its remarks are all that there is to show.
impl Observer for Printer {
    fn hear(&mut self, event: &Event) {
        if let Event::Remark { text } = event {
            self.remark(text);
        }
    }
}
