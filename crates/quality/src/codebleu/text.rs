//! Text as Python sees it: what counts as white space, and lines of characters addressed by columns that were counted in bytes.

/// `str.isspace` of one character: Unicode's White_Space and the four information separators U+001C..U+001F.
pub(super) fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `str.split()`.
pub(super) fn python_split(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_python_space).filter(|token| !token.is_empty())
}

/// `str.strip()`.
pub(super) fn python_strip(text: &str) -> &str {
    text.trim_matches(is_python_space)
}

/// Drops the lines that are empty or white space, as the published package does after it removed comments.
pub(super) fn drop_blank_lines(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for line in text.split('\n').filter(|line| !line.chars().all(is_python_space)) {
        if !kept.is_empty() {
            kept.push('\n');
        }
        kept.push_str(line);
    }
    kept
}

/// The lines of a source, sliced by the rule of the published package: columns come from the parser, which counts bytes, and index
/// characters. A line with a character of several bytes therefore yields shifted tokens after it.
#[derive(Debug)]
pub(super) struct Lines<'t> {
    lines: Vec<Line<'t>>,
}

#[derive(Debug)]
struct Line<'t> {
    /// The byte that it starts at.
    start: usize,
    text: &'t str,
    /// Where each character starts; empty for an ASCII line, whose characters are its bytes.
    starts: Vec<u32>,
}

impl<'t> Line<'t> {
    fn slice(&self, from: usize, to: usize) -> &'t str {
        let at = |column: usize| {
            let len = self.text.len();
            if self.starts.is_empty() {
                column.min(len)
            } else {
                self.starts.get(column).map_or(len, |start| *start as usize)
            }
        };
        let (from, to) = (at(from), at(to));
        if from < to { &self.text[from..to] } else { "" }
    }
}

impl<'t> Lines<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let mut start = 0;
        let mut lines = Vec::new();
        for text in text.split('\n') {
            let starts = match text.is_ascii() {
                true => Vec::new(),
                false => text.char_indices().map(|(at, _)| at as u32).collect(),
            };
            lines.push(Line { start, text, starts });
            start += text.len() + 1;
        }
        Self { lines }
    }

    /// The text between two bytes, taken for columns of characters. Several lines are joined without their ends.
    pub(super) fn between(&self, (start, end): (u32, u32)) -> std::borrow::Cow<'t, str> {
        let (start, end) = (start as usize, end as usize);
        // The first line starts at 0.
        let row = |byte: usize| self.lines.partition_point(|line| line.start <= byte) - 1;
        let (from, to) = (row(start), row(end));
        let (first, last) = (&self.lines[from], &self.lines[to]);
        let (start, end) = (start - first.start, end - last.start);
        if from == to {
            return first.slice(start, end).into();
        }
        let mut joined = first.slice(start, usize::MAX).to_owned();
        for line in &self.lines[from + 1..to] {
            joined.push_str(line.text);
        }
        joined.push_str(last.slice(0, end));
        joined.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_where_python_splits() {
        let tokens: Vec<_> = python_split("a\u{1c}b\u{1f} c\u{a0}d\u{2003}e\u{200b}f\u{85}").collect();
        assert_eq!(tokens, ["a", "b", "c", "d", "e\u{200b}f"]);
        assert_eq!(python_strip("\u{1d} x \u{3000}"), "x");
    }

    #[test]
    fn byte_columns_index_characters() {
        // `é` is two bytes, so the parser's columns 5..6 mean the sixth character, one too far.
        let lines = Lines::new("é = x + y\nab");
        assert_eq!(lines.between((5, 6)), " ");
        assert_eq!(lines.between((5, 12)), " + ya");
        assert_eq!(lines.between((9, 10)), "");
    }

    #[test]
    fn blank_lines_go() {
        assert_eq!(drop_blank_lines("a\n\n \u{1c}\n b\n"), "a\n b");
    }
}
