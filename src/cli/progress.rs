//! What a running study shows: one line a trial on stderr, a live view of the rung at work when stderr is a terminal, and JSON lines on
//! stdout on request.

use std::io::IsTerminal;

use super::live::{Ends, LiveView, one_row};
use super::printer::Printer;
use crate::store::{NewEvent, Store, StudyId, TrialState};
use crate::study::{Event, Observer};

/// Shows events, and keeps the ones that matter in the database's log.
pub struct Progress<'a> {
    printer: &'a mut Printer,
    log: Option<(&'a Store, StudyId)>,
    json: bool,
    view: Option<LiveView>,
    /// The trial at work with all that its rungs said.
    line: String,
    /// Its candidate in short.
    candidate: String,
}

impl<'a> Progress<'a> {
    /// Shows on a printer; JSON lines too when `json`. `ends` says when the study ends by itself.
    pub fn new(printer: &'a mut Printer, json: bool, ends: Ends) -> Self {
        let live = !printer.is_quiet() && !printer.is_plain() && std::io::stderr().is_terminal();
        let view = live.then(|| LiveView::new(ends));
        Self { printer, log: None, json, view, line: String::new(), candidate: String::new() }
    }

    /// Keeps events in a study's log from now on.
    pub fn log_to(&mut self, store: &'a Store, study: StudyId) {
        self.log = Some((store, study));
    }

    /// Prints a line above the view.
    pub fn say(&self, line: &str) {
        match &self.view {
            Some(view) => view.above(|| self.printer.remark(line)),
            None => self.printer.remark(line),
        }
    }

    /// Prints a line of data.
    pub fn data(&mut self, line: &str) {
        self.finish();
        self.printer.data(line);
    }

    /// Removes the view.
    pub fn finish(&self) {
        if let Some(view) = &self.view {
            view.clear();
        }
    }

    fn work(&mut self, trial: u64, doing: &str) {
        if let Some(view) = &mut self.view {
            let so_far = self.line.split_once(" | ").map_or("", |(_, said)| said);
            view.work(&format!("trial {trial}, {doing}: {}", self.candidate), so_far);
        }
    }

    /// The event in the program's own log.
    fn trace(event: &Event) {
        match event {
            Event::StudyStarted { study, name, points, ended } => {
                tracing::info!(study, name, points, ended, "study started");
            }
            Event::Preparing { what } => tracing::info!(what, "preparing"),
            // The printer logs what it shows.
            Event::Remark { .. } => {}
            Event::TrialStarted { trial, origin, candidate } => {
                tracing::info!(trial, origin = %origin, candidate, "trial started");
            }
            Event::Progress { trial, what, done, total } => {
                tracing::trace!(trial, what, done, total, "progress");
            }
            Event::RungFinished { trial, rung, summary, seconds } => {
                tracing::info!(trial, stage = %rung, seconds, summary, "stage finished");
            }
            Event::TrialEnded { trial, state, reason, seconds } => {
                tracing::info!(trial, state = %state, reason, seconds, "trial ended");
            }
            other => tracing::debug!("{other:?}"),
        }
    }

    fn show(&mut self, event: &Event) {
        match event {
            Event::StudyStarted { study, name, points, ended } => {
                let before = if *ended > 0 { format!(", {ended} trials done before") } else { String::new() };
                self.say(&format!("study {study} ({name}): {points} candidates{before}"));
            }
            Event::Preparing { what } => self.say(&format!("making {what}")),
            Event::Remark { text } => self.say(text),
            // What was left out is said in remarks.
            Event::TasksChecked { .. } => {}
            Event::TrialStarted { trial, origin, candidate } => {
                let who = origin.split(':').next().unwrap_or_default();
                self.line = format!("{trial:>3} {who:<8} {candidate}");
                self.candidate.clone_from(candidate);
                self.work(*trial, "begun");
            }
            Event::Progress { trial, what, done, total } => {
                self.work(*trial, &format!("{what} {done}/{total}"));
            }
            Event::RungFinished { trial, rung, summary, .. } => {
                self.line = format!("{} | {summary}", self.line);
                self.work(*trial, rung.name());
            }
            Event::TrialEnded { trial, state, reason, seconds } => {
                let end = match reason {
                    Some(reason) => format!(" | {state}: {reason}"),
                    None => String::new(),
                };
                let line = format!("{}{end} ({seconds:.0} s)", self.line);
                match (&mut self.view, self.log) {
                    (Some(view), Some((store, study))) => {
                        let front = view.ended(store, study, *trial);
                        if front || *state == TrialState::Failed {
                            self.say(&one_row(&format!("{} {line}", if front { '★' } else { '✗' })));
                        }
                    }
                    _ => self.say(&line),
                }
            }
            Event::StudyEnded { reason, .. } => self.say(reason),
        }
    }
}

impl Observer for Progress<'_> {
    fn hear(&mut self, event: &Event) {
        Self::trace(event);
        let passing = matches!(event, Event::Progress { .. });
        if (self.json || self.log.is_some()) && !passing {
            // Plain data always serializes.
            let json = serde_json::to_string(event).unwrap_or_default();
            if let Some((store, study)) = self.log {
                // The log is a convenience; the rungs themselves are stored by the study, whose errors do count.
                let _ = store.append_event(study, &NewEvent { kind: event.kind(), json: json.clone() });
            }
            if self.json {
                self.printer.data(&json);
            }
        }
        self.show(event);
    }
}
