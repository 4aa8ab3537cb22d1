//! Where a continuation ends: by the tokens of its language, so that no stop text inside a literal, a comment or brackets cuts it.

use super::{
    drafts, python,
    scan::{Class, Scan, is_word},
    syntax::Program,
};
use crate::tasks::{Kind, Task, TaskLanguage};

/// Where a continuation ends, and whether something ended it.
pub(super) struct Cut {
    /// Bytes of the continuation that belong to the completion.
    pub(super) length: usize,
    /// The completion is whole.
    pub(super) finished: bool,
}

/// Finds the end of a continuation of the task's prompt.
pub(super) fn cut(task: &Task, raw: &str) -> Cut {
    let prompt = if task.kind == Kind::Continuation { task.prompt.as_str() } else { "" };
    let source = format!("{prompt}{raw}");
    let text = Text { task, scan: Scan::new(task.language, &source), source: &source, base: prompt.len() };
    let exclusive =
        text.special_token().into_iter().chain(text.fence()).chain(text.dedent()).chain(text.stop());
    match exclusive.chain(text.closed()).min() {
        Some(end) => Cut { length: end - prompt.len(), finished: true },
        None => Cut { length: raw.len(), finished: false },
    }
}

/// A prompt and its continuation.
struct Text<'a> {
    task: &'a Task,
    source: &'a str,
    scan: Scan,
    /// Where the continuation begins.
    base: usize,
}

impl Text<'_> {
    fn raw(&self) -> &str {
        &self.source[self.base..]
    }

    fn is_executed(&self) -> bool {
        self.task.language.is_executed()
    }

    /// The first special token of a model, or the beginning of one at the end.
    fn special_token(&self) -> Option<usize> {
        let whole = drafts::special_token(self.source, &self.scan, self.base);
        whole.or_else(|| {
            let at = self.base + self.raw().rfind("<|")?;
            let partial = self.source[at + 2..].chars().all(|c| c.is_alphanumeric() || c == '_');
            (partial && self.scan.class(at) == Class::Code).then_some(at)
        })
    }

    /// The first fence that stands at the start of a line, or in Python anywhere outside literals.
    fn fence(&self) -> Option<usize> {
        self.raw().match_indices("```").map(|(at, _)| self.base + at).find_map(|at| {
            let line = self.source[..at].rfind('\n').map_or(0, |newline| newline + 1);
            let begins = self.source[line..at].trim().is_empty() && line > self.base;
            if begins && !self.scan.begins_inside(line) {
                Some(line - 1)
            } else {
                let python = self.task.language == TaskLanguage::Python;
                (python && self.scan.class(at) == Class::Code).then_some(at)
            }
        })
    }

    /// Where a Python body ends: before the first statement, after some text, that is not indented; comments before it go with it.
    fn dedent(&self) -> Option<usize> {
        if !super::ends_at_dedent(self.task) {
            return None;
        }
        let lines = python::lines(self.source, &self.scan);
        let line = lines.into_iter().find(|line| {
            line.start == line.code
                && line.start > self.base
                && !self.source[self.base..line.start].trim().is_empty()
        })?;
        let mut end = line.start - 1;
        loop {
            let before = self.source[..end].trim_end();
            let start = before.rfind('\n').map_or(0, |newline| newline + 1);
            if start <= self.base || !self.source[start..].starts_with('#') || self.scan.begins_inside(start)
            {
                return Some(end);
            }
            end = start - 1;
        }
    }

    /// The first stop text of the task outside literals, comments and brackets.
    fn stop(&self) -> Option<usize> {
        self.task.stop.iter().filter_map(|text| self.find(text)).min()
    }

    fn find(&self, text: &str) -> Option<usize> {
        // Comments at the margin end no body of Python, and `<|` is known as the beginning of a special token.
        if (text.starts_with("\n#") && super::ends_at_dedent(self.task))
            || (text == "<|" && self.is_executed())
        {
            return None;
        }
        let found = self.raw().match_indices(text).map(|(at, _)| self.base + at);
        let bounded = text.bytes().last().is_some_and(is_word);
        found.into_iter().find(|&at| {
            let next = self.source.as_bytes().get(at + text.len());
            let whole_word = !bounded || !next.is_some_and(|byte| is_word(*byte));
            let outside = !self.is_executed()
                || (self.scan.class(at) == Class::Code
                    && (!text.starts_with('\n') || self.scan.depth(at) == 0));
            whole_word && outside
        })
    }

    /// Behind the bracket that closes all that the prompt has opened, or behind the task's closing text where it opened nothing.
    fn closed(&self) -> Option<usize> {
        if !matches!(self.task.language, TaskLanguage::JavaScript | TaskLanguage::TypeScript) {
            let texts = self.task.closing.iter();
            return texts
                .filter_map(|text| self.raw().find(text.as_str()).map(|at| self.base + at + text.len()))
                .min();
        }
        if self.task.closing.is_empty() {
            return None;
        }
        let bytes = self.source.as_bytes();
        (self.base..bytes.len())
            .find(|&at| {
                matches!(bytes[at], b'}' | b')' | b']')
                    && self.scan.class(at) == Class::Code
                    && self.scan.depth(at) == 0
                    && (self.scan.depth(self.base) > 0
                        || (bytes[at] == b'}' && at > 0 && bytes[at - 1] == b'\n'))
            })
            .map(|at| at + 1)
    }
}

/// A continuation, with a line end before it where the prompt lacks one that it needs.
pub(super) fn joined(task: &Task, raw: &str) -> String {
    let whole = |raw: &str| Program::new(task.language, &format!("{}{raw}", task.prompt)).is_valid;
    let lacks = task.kind == Kind::Continuation && !task.prompt.is_empty() && !task.prompt.ends_with('\n');
    if lacks && task.language.is_executed() && !raw.starts_with('\n') && !whole(raw) {
        let other = format!("\n{raw}");
        if whole(&other) {
            return other;
        }
    }
    raw.to_owned()
}
