//! The lines and the indentation of Python, and what makes an unfinished program whole.

use super::scan::{Class, Scan};
use crate::tasks::TaskLanguage;

/// Columns between tab stops (Python language reference, "Indentation").
const TAB: usize = 8;
/// The indentation of a body where nothing says another.
const USUAL: &str = "    ";

/// A line on which a statement begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Where the line starts, its indentation included.
    pub(super) start: usize,
    /// Where its first token starts.
    pub(super) code: usize,
}

impl Line {
    /// The white space before the line's first token.
    pub(super) fn indent(self, source: &str) -> &str {
        &source[self.start..self.code]
    }

    /// The column of the first token.
    pub(super) fn column(self, source: &str) -> usize {
        column(self.indent(source))
    }
}

/// The column behind white space.
fn column(space: &str) -> usize {
    space.bytes().fold(0, |column, byte| match byte {
        b'\t' => (column / TAB + 1) * TAB,
        b'\x0c' => 0,
        _ => column + 1,
    })
}

/// The lines on which statements begin: no blank lines, comments, or lines inside literals and brackets.
pub(super) fn lines(source: &str, scan: &Scan) -> Vec<Line> {
    let mut all = Vec::new();
    let mut start = 0;
    for line in source.split_inclusive('\n') {
        let space = line.len() - line.trim_start_matches([' ', '\t', '\x0c']).len();
        let blank = matches!(line.as_bytes().get(space), None | Some(b'\n' | b'\r' | b'#'));
        if !blank && scan.begins_line(source, start) {
            all.push(Line { start, code: start + space });
        }
        start += line.len();
    }
    all
}

/// The end of the last token of the statement line that ends before `end`.
fn last_token(scan: &Scan, source: &str, start: usize, end: usize) -> Option<u8> {
    (start..end)
        .rev()
        .find(|&at| match scan.class(at) {
            Class::Code => !source.as_bytes()[at].is_ascii_whitespace(),
            Class::Literal => true,
            Class::Comment | Class::Joined => false,
        })
        .filter(|&at| scan.is_code(at))
        .map(|at| source.as_bytes()[at])
}

/// Whether the lines' indentation is what Python accepts: deeper behind a colon and nowhere else, and back to a level that is open.
pub(super) fn is_indented_well(source: &str) -> bool {
    let scan = Scan::new(TaskLanguage::Python, source);
    let lines = lines(source, &scan);
    let mut levels = vec![0];
    let mut opened = false;
    for (at, line) in lines.iter().enumerate() {
        let column = line.column(source);
        let current = levels.last().copied().unwrap_or(0);
        if opened != (column > current) {
            return false;
        }
        if opened {
            levels.push(column);
        } else {
            while levels.last().is_some_and(|level| *level > column) {
                levels.pop();
            }
            if levels.last() != Some(&column) {
                return false;
            }
        }
        let end = lines.get(at + 1).map_or(source.len(), |next| next.start);
        opened = last_token(&scan, source, line.code, end) == Some(b':');
    }
    !opened && scan.open().is_none()
}

/// The indentation of the body that a prompt has opened: that of the statement behind its last `def`, or one level deeper than that
/// where there is none.
pub(super) fn body_indent(prompt: &str) -> String {
    let scan = Scan::new(TaskLanguage::Python, prompt);
    let lines = lines(prompt, &scan);
    let is_def = |line: &&Line| {
        let code = &prompt[line.code..];
        let code = code.strip_prefix("async").map_or(code, str::trim_start);
        code.strip_prefix("def").is_some_and(|rest| rest.starts_with([' ', '\t']))
    };
    let Some(at) = lines.iter().rposition(|line| is_def(&line)) else { return USUAL.to_owned() };
    let outer = lines[at].indent(prompt);
    match lines.get(at + 1).map(|line| line.indent(prompt)) {
        Some(inner) if column(inner) > column(outer) => inner.to_owned(),
        _ => {
            // Blanks at the prompt's end are where the body was to begin.
            let last = &prompt[prompt.rfind('\n').map_or(0, |at| at + 1)..];
            let blanks = !last.is_empty() && last.trim().is_empty() && column(last) > column(outer);
            if blanks { last.to_owned() } else { format!("{outer}{}", unit(prompt, &lines)) }
        }
    }
}

/// One level of indentation as the source writes it.
fn unit<'a>(source: &'a str, lines: &[Line]) -> &'a str {
    let first = lines.iter().map(|line| line.indent(source)).find(|indent| !indent.is_empty());
    match first {
        Some(indent) if indent.starts_with('\t') => "\t",
        Some(indent) => indent,
        None => USUAL,
    }
}

/// What makes the program that `prompt` began whole, as text to put behind it, so that statements at the margin may follow: a literal and
/// brackets are closed, and what was opened by a colon gets a body.
pub(super) fn ending(prompt: &str) -> String {
    let scan = Scan::new(TaskLanguage::Python, prompt);
    let mut ending = scan.closing(prompt);
    let lines = lines(prompt, &scan);
    let whole = format!("{prompt}{ending}");
    let opened = lines.last().is_some_and(|line| {
        let rescanned = Scan::new(TaskLanguage::Python, &whole);
        last_token(&rescanned, &whole, line.code, whole.len()) == Some(b':')
    });
    // A line of blanks at the end is no reason against a line end: it is blank for Python, too.
    if !whole.is_empty() && !whole.ends_with('\n') {
        ending.push('\n');
    }
    if opened {
        let outer = lines.last().map_or("", |line| line.indent(prompt));
        let inner = body_indent(prompt);
        let deeper = if column(&inner) > column(outer) { inner } else { format!("{outer}{USUAL}") };
        ending.push_str(&deeper);
        ending.push_str("pass\n");
    }
    ending
}

/// The source without the indentation that all its statements share; lines inside literals and brackets move with the others as far as
/// they can.
pub(super) fn dedented(source: &str) -> String {
    let scan = Scan::new(TaskLanguage::Python, source);
    let shared = lines(source, &scan).iter().map(|line| line.indent(source)).reduce(common).unwrap_or("");
    if shared.is_empty() {
        return source.to_owned();
    }
    let strip = |line: &str| {
        let own = line.bytes().zip(shared.bytes()).take_while(|(a, b)| a == b).count();
        line[own..].to_owned()
    };
    source.split_inclusive('\n').map(strip).collect()
}

fn common<'a>(a: &'a str, b: &str) -> &'a str {
    let length = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    &a[..length]
}

/// The source with every line indented by `indent` more, but for blank lines and those inside literals.
pub(super) fn indented(source: &str, indent: &str) -> String {
    let scan = Scan::new(TaskLanguage::Python, source);
    let mut out = String::with_capacity(source.len() * 2);
    let mut start = 0;
    for line in source.split_inclusive('\n') {
        if !line.trim().is_empty() && !scan.begins_inside(start) {
            out.push_str(indent);
        }
        out.push_str(line);
        start += line.len();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indentation_is_judged_as_python_does() {
        for good in [
            "",
            "a\n",
            "def f():\n    '''x\ny'''\n    return (1 +\n2)\n",
            "if a:\n  b\nelse:\n      c\n",
            "def f(x): return {1:\n2}\n",
            "class A:\n\tdef f(self):\n\t\tpass\n# end\n",
            "    # margin\na\n",
        ] {
            assert!(is_indented_well(good), "{good:?}");
        }
        for bad in ["  a\n", "a\n  b\n", "if a:\nb\n", "if a:\n    b\n  c\n", "def f():\n", "'''a"] {
            assert!(!is_indented_well(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_indentation_of_a_body_is_not_that_of_the_prompts_last_line() {
        for (prompt, indent) in [
            ("def f(x):\n    \"\"\"Doc.\n        deeper\"\"\"\n", "    "),
            ("def f(x):\n  '''Doc.\nmargin'''\n", "  "),
            ("def f(x):\n\t'''Doc.'''\n", "\t"),
            ("def f(x):\n    '''Doc.'''\n    ", "    "),
            ("def f(x):\n", "    "),
            ("def f(x):\n  ", "  "),
            ("def g(x):\n  return 1\n\ndef f(x):", "  "),
            ("class A:\n    def f(self):\n", "        "),
            ("# nothing\n", "    "),
        ] {
            assert_eq!(body_indent(prompt), indent, "{prompt:?}");
        }
    }

    #[test]
    fn an_unfinished_prompt_is_made_whole() {
        for prompt in [
            "def f(x):\n    \"\"\"Doc.\n        deeper\"\"\"\n",
            "def f(x):\n    '''Doc.'''",
            "def f(x):\n    '''Doc.'''\n    ",
            "def f(x):",
            "def f(x):\n    '''Doc",
            "def f(x,",
            "def f(x):\n    if x:\n",
            "def f(x):\n    # do it\n",
            "def f(x):\n    '''Doc.'''\n# do it\n",
            "import math\n",
            "class A:\n  def f(self):\n",
            "",
        ] {
            let whole = format!("{prompt}{}\nx = 1\n", ending(prompt));
            assert!(is_indented_well(&whole) || prompt == "def f(x,", "{whole}");
            assert_eq!(
                lines(&whole, &Scan::new(TaskLanguage::Python, &whole)).last().unwrap().column(&whole),
                0
            );
        }
    }

    #[test]
    fn bodies_are_moved_without_their_literals() {
        assert_eq!(dedented("    a\n      b\n\n"), "a\n  b\n\n");
        assert_eq!(dedented("\ta\n\tb\n"), "a\nb\n");
        assert_eq!(dedented("  x = '''\ny'''\n  z\n"), "x = '''\ny'''\nz\n");
        assert_eq!(indented("x = '''\ny'''\n\nz\n", "  "), "  x = '''\ny'''\n\n  z\n");
    }
}
