//! The one view of a running study on a terminal: what is at work, what is best so far, how the front grows, what time is left.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::report::{Analysis, Title};
use crate::store::{Store, StudyId};

/// Characters of the line of growth.
const SPARKS: usize = 24;

/// When a study ends by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// After this long.
    pub time: Option<Duration>,
    /// After so many trials.
    pub trials: Option<u64>,
}

/// Three lines that are drawn over again: the rung at work with its progress, the best so far, the growth of the front.
pub struct LiveView {
    bar: ProgressBar,
    begun: Instant,
    ends: Ends,
    best: String,
    growth: String,
    ended: u64,
}

impl LiveView {
    /// An empty view.
    #[must_use]
    pub fn new(ends: Ends) -> Self {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}\n  {prefix}") {
            bar.set_style(style);
        }
        Self { bar, begun: Instant::now(), ends, best: String::new(), growth: String::new(), ended: 0 }
    }

    /// The line at work.
    pub fn work(&self, line: &str) {
        self.bar.set_message(line.to_owned());
        self.bar.set_prefix(self.lower());
        self.bar.tick();
    }

    /// Takes in what an ended trial changed. A database that cannot be read now leaves the view as it is.
    pub fn ended(&mut self, store: &Store, study: StudyId) {
        if let Ok(analysis) = Analysis::load(store, study) {
            self.ended = analysis.trials.iter().filter(|t| t.state.is_ended()).count() as u64;
            self.best = best(&analysis);
            let curve: Vec<f64> = analysis.hypervolume_curve().into_iter().map(|c| c.1).collect();
            self.growth = sparkline(&curve, SPARKS);
        }
        self.bar.set_prefix(self.lower());
    }

    /// Prints a line above the view.
    pub fn above(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// Removes the view.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn lower(&self) -> String {
        let mut parts = Vec::new();
        if !self.growth.is_empty() {
            parts.push(format!("front {}", self.growth));
        }
        parts.push(match self.ends.trials {
            Some(most) => format!("{} of {most} trials", self.ended),
            None => format!("{} trials", self.ended),
        });
        if let Some(left) = self.ends.time.map(|time| time.saturating_sub(self.begun.elapsed())) {
            let left = Duration::from_secs(left.as_secs());
            parts.push(format!("{} left", humantime::format_duration(left)));
        }
        let lower = parts.join(" · ");
        if self.best.is_empty() { lower } else { format!("{}\n  {lower}", self.best) }
    }
}

/// `best so far: trial 9: 1.31 × faster than Q4_K_M at indistinguishable pass@1`
fn best(analysis: &Analysis) -> String {
    let picks = &analysis.recommendation.picks;
    let pick = picks.iter().find(|p| p.titles.contains(&Title::Knee)).or_else(|| picks.first());
    pick.map_or(String::new(), |pick| match &pick.comparison {
        Some(comparison) => format!("best so far: trial {}: {}", pick.number, comparison.headline()),
        None => {
            let name = analysis.trial(pick.number).map(|t| analysis.name(t)).unwrap_or_default();
            format!("best so far: trial {}: {name}, a preset", pick.number)
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
