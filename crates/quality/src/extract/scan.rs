//! A tokenizer that tells code from literals and comments, and how deep in brackets each byte stands.
//!
//! It works on text that may end anywhere, as a continuation does, where a parser's error recovery would guess: a byte's class depends on
//! what stands before it alone. Sources: lexical analysis in the Python language reference (strings and bytes, implicit and explicit line
//! joining); ECMA-262, lexical grammar (templates, regular expressions).

use crate::tasks::TaskLanguage;

/// What a byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Anything outside literals and comments, white space included.
    Code,
    /// A string, a template or a regular expression, its delimiters included.
    Literal,
    /// A comment, without the line end that follows it.
    Comment,
    /// A backslash that joins two lines of Python, and the line end behind it.
    Joined,
}

/// The class of each byte of a source, and its depth in brackets.
#[derive(Debug)]
pub(super) struct Scan {
    class: Vec<Class>,
    /// Brackets open before the byte.
    depth: Vec<u16>,
    /// Brackets open at the end.
    end_depth: u16,
    /// The delimiter of a literal or a comment that is open at the end and goes on in the next line.
    open: Option<&'static str>,
}

impl Scan {
    /// Scans a source.
    pub(super) fn new(language: TaskLanguage, source: &str) -> Self {
        let mut scanner = Scanner::new(source.as_bytes());
        match language {
            TaskLanguage::Python => scanner.python(),
            TaskLanguage::JavaScript | TaskLanguage::TypeScript => scanner.javascript(),
            TaskLanguage::Other => scanner.plain(),
        }
        scanner.scan
    }

    /// Whether the byte at `at` is code; the end of the source is, unless a literal or a comment of several lines is open.
    pub(super) fn is_code(&self, at: usize) -> bool {
        self.class.get(at).map_or(self.open.is_none(), |class| *class == Class::Code)
    }

    /// The class of the byte at `at`; code beyond the end.
    pub(super) fn class(&self, at: usize) -> Class {
        self.class.get(at).copied().unwrap_or(Class::Code)
    }

    /// Brackets open before the byte at `at`.
    pub(super) fn depth(&self, at: usize) -> u16 {
        self.depth.get(at).copied().unwrap_or(self.end_depth)
    }

    /// What closes the literal or comment of several lines that is open at the end.
    pub(super) fn open(&self) -> Option<&'static str> {
        self.open
    }

    /// What closes the literal and the brackets that are open at the end of the source.
    pub(super) fn closing(&self, source: &str) -> String {
        let mut open = Vec::new();
        for (_, byte) in source.bytes().enumerate().filter(|(at, _)| self.class(*at) == Class::Code) {
            match byte {
                b'(' => open.push(')'),
                b'[' => open.push(']'),
                b'{' => open.push('}'),
                b')' | b']' | b'}' => {
                    open.pop();
                }
                _ => {}
            }
        }
        self.open.into_iter().map(str::to_owned).chain(open.into_iter().rev().map(String::from)).collect()
    }

    /// Whether a statement may begin at `at`: the start of the source, or behind a line end outside literals and brackets.
    pub(super) fn begins_line(&self, source: &str, at: usize) -> bool {
        at == 0 || (source.as_bytes()[at - 1] == b'\n' && self.is_code(at - 1) && self.depth(at - 1) == 0)
    }

    /// Whether a line that begins at `at` belongs to a literal or comment that an earlier line has opened.
    pub(super) fn begins_inside(&self, at: usize) -> bool {
        at > 0 && matches!(self.class(at - 1), Class::Literal | Class::Comment)
    }
}

struct Scanner<'a> {
    source: &'a [u8],
    at: usize,
    scan: Scan,
}

impl<'a> Scanner<'a> {
    fn new(source: &'a [u8]) -> Self {
        let scan = Scan {
            class: Vec::with_capacity(source.len()),
            depth: Vec::with_capacity(source.len()),
            end_depth: 0,
            open: None,
        };
        Self { source, at: 0, scan }
    }

    fn rest(&self) -> &'a [u8] {
        &self.source[self.at..]
    }

    /// Gives the next `count` bytes a class.
    fn take(&mut self, count: usize, class: Class) {
        let count = count.min(self.source.len() - self.at);
        self.at += count;
        self.scan.class.resize(self.at, class);
        self.scan.depth.resize(self.at, self.scan.end_depth);
    }

    fn bracket(&mut self, byte: u8) {
        if matches!(byte, b')' | b']' | b'}') {
            self.scan.end_depth = self.scan.end_depth.saturating_sub(1);
        }
        self.take(1, Class::Code);
        if matches!(byte, b'(' | b'[' | b'{') {
            self.scan.end_depth = self.scan.end_depth.saturating_add(1);
        }
    }

    fn comment_to_line_end(&mut self) {
        let length = self.rest().iter().take_while(|byte| **byte != b'\n').count();
        self.take(length, Class::Comment);
    }

    /// A literal whose opening delimiter has `opening` bytes, up to `closing`. One of a single line ends with its line where it is not
    /// closed, unless a backslash joins the next one.
    fn literal(&mut self, opening: usize, closing: &'static str, one_line: bool) {
        self.take(opening, Class::Literal);
        while let Some(&byte) = self.rest().first() {
            match byte {
                b'\\' => self.take(2, Class::Literal),
                b'\n' if one_line => return,
                _ if self.rest().starts_with(closing.as_bytes()) => {
                    return self.take(closing.len(), Class::Literal);
                }
                _ => self.take(1, Class::Literal),
            }
        }
        if !one_line {
            self.scan.open = Some(closing);
        }
    }

    fn python(&mut self) {
        while let Some(&byte) = self.rest().first() {
            match byte {
                b'#' => self.comment_to_line_end(),
                b'\\' if self.rest().starts_with(b"\\\n") => self.take(2, Class::Joined),
                b'\\' if self.rest().starts_with(b"\\\r\n") => self.take(3, Class::Joined),
                b'"' if self.rest().starts_with(b"\"\"\"") => self.literal(3, "\"\"\"", false),
                b'\'' if self.rest().starts_with(b"'''") => self.literal(3, "'''", false),
                b'"' => self.literal(1, "\"", true),
                b'\'' => self.literal(1, "'", true),
                _ => self.bracket(byte),
            }
        }
    }

    fn javascript(&mut self) {
        // The depth at which each open `${` of a template ends.
        let mut templates: Vec<u16> = Vec::new();
        while let Some(&byte) = self.rest().first() {
            match byte {
                b'/' if self.rest().starts_with(b"//") => self.comment_to_line_end(),
                b'/' if self.rest().starts_with(b"/*") => self.block_comment(),
                b'"' => self.literal(1, "\"", true),
                b'\'' => self.literal(1, "'", true),
                b'`' => self.template(1, &mut templates),
                b'}' if templates.last() == Some(&self.scan.end_depth) => {
                    templates.pop();
                    self.scan.end_depth = self.scan.end_depth.saturating_sub(1);
                    self.template(1, &mut templates);
                }
                b'/' => match self.regular_expression() {
                    Some(length) => self.take(length, Class::Literal),
                    None => self.take(1, Class::Code),
                },
                _ => self.bracket(byte),
            }
        }
        if !templates.is_empty() && self.scan.open.is_none() {
            self.scan.open = Some("`");
        }
    }

    fn block_comment(&mut self) {
        let inside = &self.rest()[2..];
        match inside.windows(2).position(|pair| pair == b"*/") {
            Some(length) => self.take(length + 4, Class::Comment),
            None => {
                self.take(usize::MAX, Class::Comment);
                self.scan.open = Some("*/");
            }
        }
    }

    /// A template from its opening mark, or from the brace that ends a substitution, to its end or its next substitution.
    fn template(&mut self, opening: usize, templates: &mut Vec<u16>) {
        self.take(opening, Class::Literal);
        while let Some(&byte) = self.rest().first() {
            match byte {
                b'\\' => self.take(2, Class::Literal),
                b'`' => return self.take(1, Class::Literal),
                b'$' if self.rest().starts_with(b"${") => {
                    self.take(2, Class::Literal);
                    self.scan.end_depth = self.scan.end_depth.saturating_add(1);
                    templates.push(self.scan.end_depth);
                    return;
                }
                _ => self.take(1, Class::Literal),
            }
        }
        self.scan.open = Some("`");
    }

    /// The length of the regular expression that begins here; none where the slash divides.
    fn regular_expression(&self) -> Option<usize> {
        let before = &self.source[..self.at];
        let last = before.iter().rposition(|byte| !byte.is_ascii_whitespace());
        if let Some(last) = last {
            let byte = before[last];
            if is_word(byte) {
                let word = &before
                    [before[..last].iter().rposition(|byte| !is_word(*byte)).map_or(0, |at| at + 1)..=last];
                const BEFORE_EXPRESSION: [&[u8]; 13] = [
                    b"return", b"typeof", b"case", b"in", b"of", b"delete", b"void", b"throw", b"new",
                    b"else", b"do", b"yield", b"await",
                ];
                if !BEFORE_EXPRESSION.contains(&word) {
                    return None;
                }
            } else if matches!(byte, b')' | b']' | b'}' | b'"' | b'\'' | b'`') {
                return None;
            }
        }
        let mut in_set = false;
        let mut at = 1;
        while let Some(&byte) = self.rest().get(at) {
            match byte {
                b'\n' => return None,
                b'\\' => at += 1,
                b'[' => in_set = true,
                b']' => in_set = false,
                b'/' if !in_set => return Some(at + 1),
                _ => {}
            }
            at += 1;
        }
        None
    }

    /// Languages that are not executed: everything is code.
    fn plain(&mut self) {
        while let Some(&byte) = self.rest().first() {
            self.bracket(byte);
        }
    }
}

/// Whether a byte may belong to a name.
pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || !byte.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One letter for each byte: the class, or for code the depth.
    fn letters(language: TaskLanguage, source: &str) -> String {
        let scan = Scan::new(language, source);
        (0..source.len())
            .map(|at| match scan.class(at) {
                Class::Code => char::from_digit(u32::from(scan.depth(at)), 10).unwrap(),
                Class::Literal => 's',
                Class::Comment => 'c',
                Class::Joined => 'j',
            })
            .collect()
    }

    #[test]
    fn python_literals_comments_and_brackets_are_told_apart() {
        let python = |source| letters(TaskLanguage::Python, source);
        assert_eq!(python("f('#')# x\n"), "00sss0ccc0");
        assert_eq!(python("'''a\n'b'''\n"), "ssssssssss0");
        assert_eq!(python("'a\nb"), "ss00");
        assert_eq!(python("'a\\\nb'"), "ssssss");
        assert_eq!(python("a\\\nb"), "0jj0");
        assert_eq!(python("r'\\'' 1"), "0ssss00");
    }

    #[test]
    fn javascript_templates_regular_expressions_and_divisions_are_told_apart() {
        let javascript = |source| letters(TaskLanguage::JavaScript, source);
        assert_eq!(javascript("`a${b}c`+1"), "ssss1sss00");
        assert_eq!(javascript("`${`}`}`;"), "ssssssss0");
        assert_eq!(javascript("a/b/c"), "00000");
        assert_eq!(javascript("=/[/]}/g"), "0ssssss0");
        assert_eq!(javascript("return /\"/"), "0000000sss");
        assert_eq!(javascript("/*}*/}"), "ccccc0");
        assert_eq!(Scan::new(TaskLanguage::JavaScript, "`${a").open(), Some("`"));
        assert_eq!(Scan::new(TaskLanguage::JavaScript, "/* a").open(), Some("*/"));
    }
}
