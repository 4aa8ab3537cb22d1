//! Reasoning that a model writes before its answer, and the tokens that end the answer.

use super::scan::{Class, Scan};
use crate::tasks::TaskLanguage;

/// What begins and ends the reasoning of models, in lower case.
const MARKS: &[(&str, &str)] = &[
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<thoughts>", "</thoughts>"),
    ("<reasoning>", "</reasoning>"),
    ("<reflection>", "</reflection>"),
    ("<scratchpad>", "</scratchpad>"),
    ("<analysis>", "</analysis>"),
    ("<seed:think>", "</seed:think>"),
    ("[think]", "[/think]"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
];

/// An answer without its reasoning, and the reasoning.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// What was meant to be read.
    pub(super) text: String,
    /// Drafts, in their order.
    pub(super) drafts: String,
}

/// Takes the reasoning out of an answer. A mark counts where a line begins or ends with it, not inside a line of code. An end without a
/// beginning closes what the prompt has opened; a beginning without an end takes the rest.
pub(super) fn without_drafts(answer: &str) -> Answer {
    let mut found = Answer { text: answer.to_owned(), drafts: String::new() };
    for (opening, closing) in MARKS {
        let mut kept = String::new();
        let mut rest = found.text.as_str();
        loop {
            let begin = marked(rest, opening, true);
            let end = marked(rest, closing, false);
            match (begin, end) {
                (Some(begin), end) if end.is_none_or(|end| begin < end) => {
                    kept.push_str(&rest[..begin]);
                    let inside = &rest[begin + opening.len()..];
                    let anywhere = || inside.to_ascii_lowercase().find(closing);
                    let Some(length) = marked(inside, closing, false).or_else(anywhere) else {
                        found.drafts.push_str(inside);
                        rest = "";
                        break;
                    };
                    found.drafts.push_str(&inside[..length]);
                    found.drafts.push('\n');
                    rest = &inside[length + closing.len()..];
                }
                (_, Some(end)) => {
                    found.drafts.push_str(&kept);
                    found.drafts.push_str(&rest[..end]);
                    found.drafts.push('\n');
                    kept.clear();
                    rest = &rest[end + closing.len()..];
                }
                _ => break,
            }
        }
        kept.push_str(rest);
        found.text = kept;
    }
    found
}

/// Where a mark stands that begins a line or, for an `opening` one, the answer; a closing one may end a line, too.
fn marked(text: &str, mark: &str, opening: bool) -> Option<usize> {
    let lower = text.to_ascii_lowercase();
    lower.match_indices(mark).map(|(at, _)| at).find(|&at| {
        let line = &text[text[..at].rfind('\n').map_or(0, |line| line + 1)..at];
        let behind = text[at + mark.len()..].lines().next().unwrap_or("");
        line.trim().is_empty() || (!opening && behind.trim().is_empty())
    })
}

/// Tokens that end an answer, a turn or a file, beside all of the form `<|word|>`.
const ENDS: &[&str] = &[
    "</s>",
    "<eos>",
    "<end_of_turn>",
    "<start_of_turn>",
    "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>",
    "<\u{ff5c}User\u{ff5c}>",
    "<file_sep>",
    "<fim_prefix>",
    "<fim_suffix>",
    "<fim_middle>",
    "<fim_pad>",
    "<jupyter_text>",
    "<jupyter_output>",
];

/// Where the first special token from `from` on stands: outside literals anywhere, in a comment where nothing but a special token follows it.
pub(super) fn special_token(source: &str, scan: &Scan, from: usize) -> Option<usize> {
    source[from..].match_indices('<').map(|(at, _)| from + at).find(|&at| {
        let Some(length) = token_length(&source[at..]) else { return false };
        match scan.class(at) {
            Class::Code => true,
            Class::Comment => {
                let behind = source[at + length..].trim_start();
                behind.is_empty() || token_length(behind).is_some()
            }
            Class::Literal | Class::Joined => false,
        }
    })
}

/// The length of the special token that a text begins with.
fn token_length(text: &str) -> Option<usize> {
    if let Some(end) = ENDS.iter().find(|end| text.starts_with(**end)) {
        return Some(end.len());
    }
    let name = text.strip_prefix("<|")?;
    let length = name.find(|c: char| !c.is_alphanumeric() && !['_', '\u{2581}', '-', ':'].contains(&c))?;
    (length > 0 && name[length..].starts_with("|>")).then_some(length + 4)
}

/// The code up to the first special token.
pub(super) fn before_special_token(language: TaskLanguage, code: &str) -> &str {
    &code[..special_token(code, &Scan::new(language, code), 0).unwrap_or(code.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(answer: &str) -> (String, String) {
        let found = without_drafts(answer);
        (found.text, found.drafts)
    }

    #[test]
    fn drafts_are_taken_out() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(split("<think>\na\n</think>\nb"), pair("\nb", "\na\n\n"));
        assert_eq!(split("<Thinking>a</Thinking>b"), pair("b", "a\n"));
        assert_eq!(split("<reasoning>a\n</reasoning> b"), pair(" b", "a\n\n"));
        assert_eq!(split("a\nso done.</think>\nb"), pair("\nb", "a\nso done.\n"));
        assert_eq!(split("<think>\na"), pair("", "\na"));
        assert_eq!(
            split("a\n<think>b\n</think>\nc\n<think>\nd\n</think>e"),
            pair("a\n\nc\ne", "b\n\n\nd\n\n")
        );
        let code = "x = '<think>'\ny = '</think>' + z\n";
        assert_eq!(split(code), pair(code, ""));
    }

    #[test]
    fn special_tokens_end_code_but_not_literals() {
        let cut = |code| before_special_token(TaskLanguage::Python, code);
        assert_eq!(cut("return a<|im_end|>\n<|im_start|>user"), "return a");
        assert_eq!(cut("return a</s>"), "return a");
        assert_eq!(cut("return '<|im_end|>'"), "return '<|im_end|>'");
        assert_eq!(cut("a # b<|im_end|>"), "a # b");
        assert_eq!(cut("a # ends at <|im_end|>\nb"), "a # ends at <|im_end|>\nb");
        assert_eq!(cut("a <| b"), "a <| b");
        assert_eq!(cut("'''a<|endoftext|>"), "'''a<|endoftext|>");
    }
}
