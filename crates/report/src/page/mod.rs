//! The page: one HTML file without outside references, complete without JavaScript, in the order in which a reader asks:
//! the answer, the fronts, why these, how far it can all be trusted, every trial, how to do it again.

mod again;
mod answer;
mod drill;
mod explore;
mod facts;
mod fronts;
mod progress;
mod tasks;
mod trials;
mod trust;
mod why;

pub(super) use fronts::figure as fronts_figure;
pub use progress::Growth;

use std::time::Duration;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Analysis, Overlay, Result};
use autotune_core::units::Bytes;
use autotune_store::StudyState;

/// Whether the page asks its file again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// It stays as it is.
    No,
    /// The page reloads itself at this interval in seconds, because the study is running.
    EverySeconds(u32),
}

/// Renders the page of a study that was analysed in depth, with the fronts of others as overlays.
///
/// # Errors
/// A figure cannot be drawn.
pub fn render(analysis: &Analysis, overlays: &[Overlay], live: Live) -> Result<String> {
    let study = &analysis.study;
    let title =
        format!("{}: {} under {}", study.name, model_name(&study.model_path), Bytes(study.budget_bytes));
    let figures = fronts::section(analysis, overlays)?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="generator" content=(concat!("autotune ", env!("CARGO_PKG_VERSION")));
                // An empty icon, so that browsers do not request one.
                link rel="icon" href="data:,";
                @if let Live::EverySeconds(seconds) = live { meta http-equiv="refresh" content=(seconds); }
                title { (title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                main {
                    (header(analysis, !figures.0.is_empty()))
                    (answer::section(analysis))
                    (figures)
                    (why::section(analysis))
                    (trust::section(analysis))
                    (trials::section(analysis))
                    (drill::section(analysis))
                    (facts::section(analysis))
                }
                script { (PreEscaped(include_str!("sort.js"))) (PreEscaped(include_str!("explore.js"))) }
            }
        }
    };
    Ok(page.into_string())
}

/// Sections of the page, in its order.
const CONTENTS: [(&str, &str); 7] = [
    ("answer", "Answer"),
    ("fronts", "Fronts"),
    ("why", "Why these"),
    ("trust", "Trust"),
    ("trials", "All trials"),
    ("drill", "Trial details"),
    ("facts", "Reproduction"),
];

fn header(analysis: &Analysis, figures: bool) -> Markup {
    let study = &analysis.study;
    let state = match (study.state, &study.reason) {
        (StudyState::Running, _) => "still running when this page was written".to_owned(),
        (StudyState::Interrupted, Some(reason)) => format!("interrupted: {reason}"),
        (StudyState::Interrupted, None) => "interrupted".to_owned(),
        (StudyState::Paused, Some(reason)) => format!("paused: {reason}"),
        (StudyState::Paused, None) => "paused".to_owned(),
        (StudyState::Finished, Some(reason)) => format!("finished: {reason}"),
        (StudyState::Finished, None) => "finished".to_owned(),
    };
    let work = analysis.trials.iter().map(|t| t.work()).sum();
    let there = |id: &str| (id != "fronts" || figures) && (id != "drill" || !analysis.details.is_empty());
    html! {
        header {
            h1 { (model_name(&study.model_path)) " under " (Bytes(study.budget_bytes)) }
            p.muted {
                "Study " (study.name) ", " (study.engine) ", begun "
                (study.created.strftime("%Y-%m-%d %H:%M")) " UTC, " (duration(work)) " of work in its trials, " (state) "."
            }
            nav aria-label="Contents" {
                @for (id, name) in CONTENTS.into_iter().filter(|(id, _)| there(id)) { a href=(format!("#{id}")) { (name) } }
            }
        }
    }
}

/// `12 s`, `3 min 20 s`, `2 h 5 min`
fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// The last part of a model's path.
fn model_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().filter(|name| !name.is_empty()).unwrap_or(path)
}

/// `1 trial`, `2 trials`
fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
