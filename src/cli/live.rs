//! The one view of a running study on a terminal: what is at work, what is best so far, how the front grows, what time is left.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::report::{Analysis, Title};
use crate::store::{Store, StudyId, TrialState};

/// Characters of the line of growth.
const SPARKS: usize = 24;

/// When a study ends by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// After this long.
    pub time: Option<Duration>,
    /// After this many trials.
    pub trials: Option<u64>,
}

/// Four lines that are redrawn in place: the current work, what it has measured so far, the best of all, the growth of the front and the
/// time left. Trials that reach the front or fail leave a line above; `autotune trials` lists the others.
pub struct LiveView {
    bar: ProgressBar,
    begun: Instant,
    ends: Ends,
    so_far: String,
    best: String,
    growth: String,
    ended: u64,
    failed: u64,
    before: Option<u64>,
}

impl LiveView {
    /// An empty view.
    #[must_use]
    pub fn new(ends: Ends) -> Self {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}\n{prefix}") {
            bar.set_style(style);
        }
        let (so_far, best, growth) = (String::new(), String::new(), String::new());
        let (begun, ended, failed, before) = (Instant::now(), 0, 0, None);
        Self { bar, begun, ends, so_far, best, growth, ended, failed, before }
    }

    /// The line at work, and what the trial has measured so far.
    pub fn work(&mut self, line: &str, so_far: &str) {
        so_far.clone_into(&mut self.so_far);
        self.bar.set_message(line.to_owned());
        self.bar.set_prefix(self.lower());
        self.bar.tick();
    }

    /// Takes in what an ended trial changed; says whether it is on the front now. A database that cannot be read leaves the view as it is.
    pub fn ended(&mut self, store: &Store, study: StudyId, trial: u64) -> bool {
        let Ok(analysis) = Analysis::load(store, study) else { return false };
        let count =
            |of: &dyn Fn(TrialState) -> bool| analysis.trials.iter().filter(|t| of(t.state)).count() as u64;
        self.ended = count(&TrialState::is_ended);
        self.failed = count(&|s| s == TrialState::Failed);
        self.before.get_or_insert(self.ended.saturating_sub(1));
        self.best = best(&analysis);
        let curve: Vec<f64> = analysis.growth().iter().map(|g| g.volume).collect();
        self.growth = sparkline(&curve, SPARKS);
        self.bar.set_prefix(self.lower());
        analysis.recommendation.front.contains(&trial)
    }

    /// Prints above the view.
    pub fn above(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// Removes the view.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn lower(&self) -> String {
        let mut counts = match self.ends.trials {
            Some(most) => format!("{} of {most} trials", self.ended),
            None => format!("{} trials", self.ended),
        };
        if self.failed > 0 {
            counts.push_str(&format!(", {} failed", self.failed));
        }
        if let Some(left) = self.left() {
            counts.push_str(&format!(" · {left} left"));
        }
        let front = format!("{}  {counts}", self.growth);
        [("so far", &self.so_far), ("best", &self.best), ("front", &front)]
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(name, text)| one_row(&format!("  {name:<7}{}", text.trim_start())))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// The time until the study ends by itself: what it was given, or what the trials left take at the pace so far.
    fn left(&self) -> Option<String> {
        let elapsed = self.begun.elapsed();
        let given = self.ends.time.map(|time| time.saturating_sub(elapsed));
        let done = self.ended - self.before.unwrap_or(self.ended);
        let at_this_pace = self
            .ends
            .trials
            .filter(|_| done > 0)
            .map(|most| elapsed.mul_f64(most.saturating_sub(self.ended) as f64 / done as f64));
        let left = match (given, at_this_pace) {
            (Some(a), Some(b)) => a.min(b),
            (a, b) => a.or(b)?,
        };
        // Seconds of hours are noise.
        let seconds = if left.as_secs() >= 3600 { left.as_secs() / 60 * 60 } else { left.as_secs() };
        Some(humantime::format_duration(Duration::from_secs(seconds)).to_string())
    }
}

/// A text cut to the terminal's width, since a row that wraps cannot be drawn over.
#[must_use]
pub fn one_row(text: &str) -> String {
    let width = usize::from(console::Term::stderr().size().1).max(20);
    console::truncate_str(text, width - 1, "…").into_owned()
}

/// `trial 9: 1.31 × faster than Q4_K_M at indistinguishable pass@1`
fn best(analysis: &Analysis) -> String {
    let picks = &analysis.recommendation.picks;
    let pick = picks.iter().find(|p| p.titles.contains(&Title::Knee)).or_else(|| picks.first());
    pick.map_or(String::new(), |pick| match pick.lead() {
        Some(comparison) => format!("trial {}: {}", pick.number, comparison.headline()),
        None => {
            let name = analysis.trial(pick.number).map(|t| analysis.name(t)).unwrap_or_default();
            format!("trial {}: {name}, a preset", pick.number)
        }
    })
}

/// Values as bars of eight heights between nothing and the largest, the last `most` of them when there are more (evenly thinned).
fn sparkline(values: &[f64], most: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let top = values.iter().copied().fold(0.0, f64::max);
    if top <= 0.0 {
        return String::new();
    }
    let n = values.len().min(most);
    (1..=n)
        .map(|i| {
            let value = values[i * values.len() / n - 1];
            BARS[((value / top * 8.0) as usize).min(7)]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_drawn_from_left_to_right() {
        assert_eq!(sparkline(&[0.0, 0.5, 1.0], 24), "▁▅█");
        assert_eq!(sparkline(&[0.0, 0.0], 24), "");
        let many: Vec<f64> = (1..=100).map(f64::from).collect();
        let line: Vec<char> = sparkline(&many, 24).chars().collect();
        assert_eq!((line.len(), line[23]), (24, '█'));
        assert!(line.is_sorted());
    }
}
