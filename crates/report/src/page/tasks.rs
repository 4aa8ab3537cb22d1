//! Which tasks a study is graded by, and which were excluded, with the reasons.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde::Deserialize;

use super::count;
use crate::TASKS_NOTE;

/// The note of the study, as far as the page shows it.
#[derive(Deserialize)]
struct GradedTasks {
    ids: Vec<String>,
    #[serde(default)]
    left_out: Vec<String>,
}

/// The number of tasks and the excluded ones; nothing for a study that keeps no such note.
pub(super) fn section(notes: &BTreeMap<String, String>) -> Markup {
    let note = notes.get(TASKS_NOTE);
    let Some(graded) = note.and_then(|json| serde_json::from_str::<GradedTasks>(json).ok()) else {
        return html! {};
    };
    html! {
        div #tasks {
            h3 { "Tasks" }
            p {
                "Every trial is graded by the same " (count(graded.ids.len(), "task")) ". "
                @if graded.left_out.is_empty() {
                    "Each of them was checked before: its own solution passes its tests, and programs that are always wrong fail them."
                } @else {
                    "Tasks that cannot distinguish a right program from a wrong one were excluded:"
                }
            }
            @if !graded.left_out.is_empty() {
                ul { @for line in &graded.left_out { li { (line) } } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excluded_tasks_are_listed_with_their_reasons() {
        let mut notes = BTreeMap::new();
        assert_eq!(section(&notes).into_string(), "");
        let note = r#"{"ids":["a/1","a/2"],"interpreters":[],"left_out":["left out 1 of 3 tasks: missing module numpy (a/3)"]}"#;
        notes.insert(TASKS_NOTE.to_owned(), note.to_owned());
        let page = section(&notes).into_string();
        assert!(page.contains("same 2 tasks") && page.contains("missing module numpy (a/3)"), "{page}");
        let old = r#"{"ids":["a/1"],"interpreters":[]}"#;
        notes.insert(TASKS_NOTE.to_owned(), old.to_owned());
        assert!(section(&notes).into_string().contains("same 1 task."));
    }
}
