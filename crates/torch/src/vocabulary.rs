//! Text to tokens and back.

use std::collections::BTreeSet;

use tokenizers::Tokenizer;

use autotune_engine::{EngineError, Token};
use autotune_model::tokenizer::TokenizerFacts;

/// A tokenizer that takes text literally.
pub(super) struct Vocabulary {
    tokenizer: Tokenizer,
    pieces: Vec<Vec<u8>>,
    end: BTreeSet<Token>,
    begin: Option<Token>,
}

impl Vocabulary {
    /// A tokenizer with the bytes of every token.
    pub(super) fn new(facts: &TokenizerFacts) -> Result<Self, EngineError> {
        let fail =
            |e: &dyn std::fmt::Display| EngineError::Tokenize(format!("the tokenizer does not load: {e}"));
        let mut tokenizer = Tokenizer::from_bytes(facts.json.to_string().as_bytes()).map_err(|e| fail(&e))?;
        // A control token that is spelt out in a text is text.
        tokenizer.set_encode_special_tokens(true);
        let control: BTreeSet<u32> = facts.control.iter().copied().collect();
        let count = u32::try_from(facts.tokens).map_err(|e| fail(&e))?;
        let pieces = (0..count)
            .map(|id| match tokenizer.id_to_token(id) {
                Some(_) if control.contains(&id) => Vec::new(),
                Some(token) if facts.byte_level => bytes_of_letters(&token),
                Some(token) => bytes_of_text(&token),
                None => Vec::new(),
            })
            .collect();
        let end = facts.end.iter().map(|id| *id as Token).collect();
        Ok(Self { tokenizer, pieces, end, begin: facts.begin.map(|id| id as Token) })
    }

    pub(super) fn encode(&self, text: &str, begin: bool) -> Result<Vec<Token>, EngineError> {
        let encoding =
            self.tokenizer.encode(text, false).map_err(|e| EngineError::Tokenize(e.to_string()))?;
        let first = self.begin.filter(|_| begin);
        Ok(first.into_iter().chain(encoding.get_ids().iter().map(|id| *id as Token)).collect())
    }

    pub(super) fn piece(&self, token: Token) -> Vec<u8> {
        usize::try_from(token).ok().and_then(|i| self.pieces.get(i)).cloned().unwrap_or_default()
    }

    pub(super) fn is_end(&self, token: Token) -> bool {
        self.end.contains(&token)
    }
}

/// GPT-2 writes each byte as a letter: printable ones as themselves, the others from U+0100 on.
fn bytes_of_letters(token: &str) -> Vec<u8> {
    let printable = |b: u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let shifted: Vec<u8> = (0..=255u32).filter(|b| !printable(*b)).map(|b| b as u8).collect();
    let byte = |c: char| match c as u32 {
        code if code < 256 && printable(code) => Some(code as u8),
        code => shifted.get((code as usize).checked_sub(256)?).copied(),
    };
    // Added tokens are plain text, in which other letters may occur.
    token.chars().map(byte).collect::<Option<Vec<u8>>>().unwrap_or_else(|| token.as_bytes().to_vec())
}

/// SentencePiece writes a space as `▁` and a byte as `<0x0A>`.
fn bytes_of_text(token: &str) -> Vec<u8> {
    let byte = token.strip_prefix("<0x").and_then(|t| t.strip_suffix('>'));
    match byte.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
        Some(byte) => vec![byte],
        None => token.replace('▁', " ").into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_bytes() {
        assert_eq!(bytes_of_letters("Ġdef"), b" def");
        assert_eq!(bytes_of_letters("Ċ"), b"\n");
        assert_eq!(bytes_of_letters("Ã©"), "é".as_bytes());
        let all: BTreeSet<Vec<u8>> =
            (0x21u32..0x144).filter_map(char::from_u32).map(|c| bytes_of_letters(&c.to_string())).collect();
        assert!((0..=255u8).all(|b| all.contains(&vec![b])));
        assert_eq!(bytes_of_text("▁x"), b" x");
        assert_eq!(bytes_of_text("<0x0A>"), b"\n");
    }
}
