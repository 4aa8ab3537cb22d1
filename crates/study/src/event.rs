//! The events of a study: progress lines, `--json` lines and the database's log are made from the same ones.

use serde::Serialize;

use autotune_quality::proof::Summary;
use autotune_store::{EventKind, Rung, TrialState};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The study begins or goes on.
    StudyStarted {
        /// Its number.
        study: i64,
        /// Its name.
        name: String,
        /// Points of the space.
        points: String,
        /// Trials that have ended before.
        ended: u64,
    },
    /// Something that all trials need is being made.
    Preparing {
        /// What.
        what: String,
    },
    /// Something that the user should know.
    Remark {
        /// The text.
        text: String,
    },
    /// Which tasks can distinguish right from wrong programs, found before anything was graded by them.
    TasksChecked {
        /// What was found.
        #[serde(flatten)]
        tasks: Summary,
    },
    /// A trial begins or goes on.
    TrialStarted {
        /// Its number.
        trial: u64,
        /// Who chose it.
        origin: String,
        /// The candidate in short.
        candidate: String,
    },
    /// Part of a rung is done.
    Progress {
        /// The trial.
        trial: u64,
        /// What is being done.
        what: String,
        /// Units done.
        done: u64,
        /// Units in all.
        total: u64,
    },
    /// A rung is durable.
    RungFinished {
        /// The trial.
        trial: u64,
        /// The rung.
        rung: Rung,
        /// What came out, in short.
        summary: String,
        /// Time it took, in seconds.
        seconds: f64,
    },
    /// A trial ended.
    TrialEnded {
        /// The trial.
        trial: u64,
        /// How.
        state: TrialState,
        /// Why, when it did not complete.
        reason: Option<String>,
        /// Time since it was taken up, in seconds.
        seconds: f64,
    },
    /// No further trial starts.
    StudyEnded {
        /// Why.
        reason: String,
        /// Whether a resume would go on.
        paused: bool,
    },
}

impl Event {
    /// Its kind in the study's log, the same word as in JSON.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        match self {
            Self::StudyStarted { .. } => EventKind::StudyStarted,
            Self::Preparing { .. } => EventKind::Preparing,
            Self::Remark { .. } => EventKind::Remark,
            Self::TasksChecked { .. } => EventKind::TasksChecked,
            Self::TrialStarted { .. } => EventKind::TrialStarted,
            Self::Progress { .. } => EventKind::Progress,
            Self::RungFinished { .. } => EventKind::RungFinished,
            Self::TrialEnded { .. } => EventKind::TrialEnded,
            Self::StudyEnded { .. } => EventKind::StudyEnded,
        }
    }
}

/// Hears events.
pub trait Observer {
    /// Something happened.
    fn hear(&mut self, event: &Event);
}

impl dyn Observer + '_ {
    /// Passes on something that the user should know.
    pub fn remark(&mut self, text: &str) {
        self.hear(&Event::Remark { text: text.to_owned() });
    }
}

impl<F: FnMut(&Event)> Observer for F {
    fn hear(&mut self, event: &Event) {
        self(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_in_the_log_is_the_word_in_json() {
        let events = [
            Event::Remark { text: String::new() },
            Event::Preparing { what: String::new() },
            Event::StudyStarted { study: 1, name: String::new(), points: String::new(), ended: 0 },
            Event::TasksChecked { tasks: Summary::default() },
            Event::TrialStarted { trial: 1, origin: String::new(), candidate: String::new() },
            Event::Progress { trial: 1, what: String::new(), done: 0, total: 1 },
            Event::RungFinished { trial: 1, rung: Rung::Built, summary: String::new(), seconds: 0.0 },
            Event::TrialEnded { trial: 1, state: TrialState::Complete, reason: None, seconds: 0.0 },
            Event::StudyEnded { reason: String::new(), paused: false },
        ];
        for event in events {
            let json = serde_json::to_value(&event).unwrap();
            assert_eq!(json["event"], event.kind().name());
        }
    }
}
