//! The answer and the front as Markdown, for an issue or a wiki.

use crate::metric::OfTrial as _;
use std::fmt::Write as _;

use super::{Analysis, Comparison, Outcome, Reading, titles};
use autotune_core::units::Bytes;

/// The study in Markdown: the recommended few with their gains and commands, then the front with intervals.
#[must_use]
pub fn markdown(analysis: &Analysis) -> String {
    let (study, recommendation) = (&analysis.study, &analysis.recommendation);
    let mut text = format!(
        "# {}: {} under {}\n\n{} trials, {} on the front; engine {}, machine `{}`, seed {}.\n",
        cell(&study.name),
        cell(&study.model_path),
        Bytes(study.budget_bytes),
        analysis.trials.len(),
        recommendation.front.len(),
        study.engine,
        cell(&study.host.fingerprint),
        study.seed
    );
    if recommendation.outcome != Outcome::Found {
        let _ = writeln!(text, "\n{}.", analysis.summary().nothing());
        return text;
    }
    text.push_str("\n## Recommended\n\n");
    for pick in &recommendation.picks {
        let Some(trial) = analysis.trial(pick.number) else { continue };
        let gain = pick.lead().map_or("a preset that no trial dominates".to_owned(), Comparison::headline);
        let _ = writeln!(
            text,
            "- **{}**: trial {} ({}): {gain}\n  `{}`",
            titles(&pick.titles),
            pick.number,
            cell(&analysis.name(trial)),
            analysis.commands(trial).export
        );
    }
    for caution in &analysis.cautions {
        let _ = writeln!(text, "\nCaution: {}.", cell(caution));
    }
    text.push_str("\n## Front\n\n| trial |");
    for metric in &analysis.columns {
        let _ = write!(text, " {} |", metric.short);
    }
    let _ = write!(text, " configuration |\n|---:|{}---|\n", "---:|".repeat(analysis.columns.len()));
    for trial in recommendation.front.iter().filter_map(|n| analysis.trial(*n)) {
        let _ = write!(text, "| {} |", trial.number);
        for metric in &analysis.columns {
            let shown =
                Reading::of(trial, &metric.name).map_or("–".to_owned(), |r| metric.show_interval(r));
            let _ = write!(text, " {shown} |");
        }
        let _ = writeln!(text, " {} |", cell(&analysis.name(trial)));
    }
    text.push_str("\nIn brackets: 95 % intervals.\n");
    text
}

/// A text that stays in its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
