//! The cells of a CSV text.

use std::borrow::Cow;

/// The lines of a CSV text (RFC 4180): cells may be quoted, and quoted cells may hold commas, quotes and line ends.
pub(super) struct Lines<'a> {
    rest: &'a str,
    /// The line that the cells read last began on, from 1.
    pub(super) line: usize,
    next_line: usize,
}

impl<'a> Lines<'a> {
    /// The lines of a text; a byte order mark is passed over.
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 0, next_line: 1 }
    }

    /// Reads the next line's cells; false at the end.
    pub(super) fn next(&mut self, cells: &mut Vec<Cow<'a, str>>) -> bool {
        cells.clear();
        if self.rest.is_empty() {
            return false;
        }
        self.line = self.next_line;
        self.next_line += 1;
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        let line = &self.rest[..end];
        if !line.contains('"') {
            cells.extend(line.strip_suffix('\r').unwrap_or(line).split(',').map(Cow::Borrowed));
            self.rest = self.rest.get(end + 1..).unwrap_or("");
            return true;
        }
        let (mut cell, mut quoted) = (String::new(), false);
        let mut chars = self.rest.char_indices().peekable();
        let mut at = self.rest.len();
        while let Some((i, c)) = chars.next() {
            match (c, quoted) {
                ('"', true) if chars.peek().is_some_and(|(_, next)| *next == '"') => {
                    chars.next();
                    cell.push('"');
                }
                ('"', _) => quoted = !quoted,
                (',', false) => cells.push(std::mem::take(&mut cell).into()),
                ('\r', false) => {}
                ('\n', false) => {
                    at = i + 1;
                    break;
                }
                _ => {
                    self.next_line += usize::from(c == '\n');
                    cell.push(c);
                }
            }
        }
        cells.push(cell.into());
        self.rest = self.rest.get(at..).unwrap_or("");
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_lines_and_their_numbers() {
        let mut lines = Lines::new("\u{feff}a,b\r\n\"x, \"\"y\"\"\nz\",1\r\n\n,\nlast");
        let mut cells = Vec::new();
        let mut all = Vec::new();
        while lines.next(&mut cells) {
            all.push((lines.line, cells.iter().map(ToString::to_string).collect::<Vec<_>>()));
        }
        let wanted: [(usize, &[&str]); 5] =
            [(1, &["a", "b"]), (2, &["x, \"y\"\nz", "1"]), (4, &[""]), (5, &["", ""]), (6, &["last"])];
        assert_eq!(all.len(), 5);
        for ((line, cells), (wanted_line, wanted_cells)) in all.iter().zip(wanted) {
            assert_eq!(
                (*line, cells.iter().map(String::as_str).collect::<Vec<_>>()),
                (wanted_line, wanted_cells.to_vec())
            );
        }
    }
}
