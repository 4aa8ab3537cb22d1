//! Aligned tables for terminals.

use super::summary::FrontSummary;
use super::{Outcome, Title};
use autotune_core::units::Bytes;

/// Which side a column's cells keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Lines of a table with a head: columns two spaces apart, no trailing space. Widths count characters.
#[must_use]
pub fn table(head: &[(&str, Align)], rows: &[Vec<String>]) -> Vec<String> {
    let width = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = head.iter().map(|(name, _)| width(name)).collect();
    for row in rows {
        for (w, cell) in widths.iter_mut().zip(row) {
            *w = (*w).max(width(cell));
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut out = String::new();
        for (i, ((cell, (_, align)), w)) in cells.zip(head).zip(&widths).enumerate() {
            if i > 0 {
                out.push_str("  ");
            }
            let space = " ".repeat(w - width(cell));
            match align {
                Align::Left => out.extend([cell, &space]),
                Align::Right => out.extend([&space, cell]),
            }
        }
        out.trim_end().to_owned()
    };
    let mut lines = vec![line(&mut head.iter().map(|(name, _)| *name))];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines
}

/// One line of a cell: control characters become spaces, and long texts end in `…`.
#[must_use]
pub fn one_line(text: &str, most: usize) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let clean = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    if clean.chars().count() <= most {
        clean
    } else {
        clean.chars().take(most.saturating_sub(1)).chain(['…']).collect()
    }
}

/// The head of the tasks lost and gained against the uncompressed model.
pub const RELATIVE_HEAD: &str = "solved, vs F16";

impl FrontSummary {
    /// The table of the front, the recommended few with their gains, and what to type next.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        if self.front.is_empty() {
            return vec![self.nothing()];
        }
        let mut head: Vec<(&str, Align)> = vec![("trial", Align::Right)];
        head.extend(self.columns.iter().map(|c| (c.as_str(), Align::Right)));
        let relative = self.front.iter().any(|row| row.beside_reference.is_some());
        head.extend(relative.then_some((RELATIVE_HEAD, Align::Right)));
        head.extend([("", Align::Left), ("configuration", Align::Left)]);
        let rows: Vec<Vec<String>> = self
            .front
            .iter()
            .map(|row| {
                let mut cells = vec![row.number.to_string()];
                cells.extend(row.values.iter().map(|v| v.text.clone()));
                cells.extend(row.beside_reference.clone());
                cells.push(titles(&row.titles));
                cells.push(match &row.preset {
                    Some(preset) => format!("{preset} (preset)"),
                    None => row.configuration.clone(),
                });
                cells
            })
            .collect();
        let mut lines = vec![format!(
            "{} of {} trials are on the front under {}:",
            self.front.len(),
            self.trials,
            Bytes(self.budget_bytes)
        )];
        lines.extend(table(&head, &rows));
        lines.push(String::new());
        lines.extend(self.cautions.iter().map(|caution| format!("caution: {caution}")));
        for pick in &self.picks {
            let gain = pick.gain.as_deref().unwrap_or("a preset that no trial dominates");
            lines.push(format!("{}: trial {}, {}", titles(&pick.titles), pick.number, pick.name));
            lines.extend(pick.usual.as_ref().map(|c| format!("    {}", c.sentence())));
            lines.push(format!("    {gain}"));
            lines.extend(pick.recheck.as_ref().map(|said| format!("    {said}")));
            lines.push(format!("    {}", pick.commands.export));
        }
        lines
    }

    /// Why there is no front, in a sentence.
    #[must_use]
    pub fn nothing(&self) -> String {
        match &self.outcome {
            Outcome::NothingFits { smallest: Some(s) } => format!(
                "nothing fits {}: the smallest is trial {} with a {} peak of {}",
                Bytes(self.budget_bytes),
                s.number,
                if s.measured { "measured" } else { "predicted" },
                Bytes(s.peak_bytes.max(0.0) as u64)
            ),
            Outcome::NothingFits { smallest: None } => {
                format!("nothing fits {}", Bytes(self.budget_bytes))
            }
            Outcome::Found | Outcome::NothingComplete => {
                format!("none of {} trials is complete and within the budget yet", self.trials)
            }
        }
    }
}

/// `balanced, fastest`
#[must_use]
pub fn titles(titles: &[Title]) -> String {
    titles.iter().map(|t| t.label()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_by_characters() {
        let head = [("n", Align::Right), ("name", Align::Left), ("x", Align::Right)];
        let rows = vec![
            vec!["10".into(), "λ".into(), "1.5".into()],
            vec!["2".into(), "longer".into(), String::new()],
        ];
        assert_eq!(table(&head, &rows).join("\n"), " n  name      x\n10  λ       1.5\n 2  longer");
    }

    #[test]
    fn cells_stay_on_their_line() {
        assert_eq!(one_line("a\n\tb  c\u{1b}[31m", 80), "a b c [31m");
        assert_eq!(one_line("abcdef", 4), "abc…");
    }
}
