//! From `tokenizer.json` to a GGUF file's metadata.

use serde_json::Value;

use super::{ENDS, TokenizerError, TokenizerFacts, mentions};
use crate::gguf::{MetaArray, MetaValue};

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// The keys of a tokenizer in a GGUF file for a model whose embedding has `vocabulary` rows.
///
/// # Errors
/// A split that llama.cpp has no name for that we know.
pub fn gguf_entries(
    facts: &TokenizerFacts,
    vocabulary: u32,
) -> Result<Vec<(String, MetaValue)>, TokenizerError> {
    let json = &facts.json;
    let n = vocabulary as usize;
    let mut tokens: Vec<String> = (0..n).map(|i| format!("[PAD{i}]")).collect();
    let mut types = vec![UNUSED; n];
    let mut put = |id: u64, text: &str, kind: i32| {
        if let Some(i) = usize::try_from(id).ok().filter(|i| *i < n) {
            tokens[i] = text.to_owned();
            types[i] = kind;
        }
    };
    let unknown = json.pointer("/model/unk_token").and_then(Value::as_str);
    let vocab = json.pointer("/model/vocab").and_then(Value::as_object);
    for (text, id) in vocab.ok_or(TokenizerError::Missing("model.vocab"))? {
        let byte = !facts.byte_level && text.len() == 6 && text.starts_with("<0x") && text.ends_with('>');
        let kind = match () {
            () if byte => BYTE,
            () if !facts.byte_level && unknown == Some(text.as_str()) => UNKNOWN,
            () => NORMAL,
        };
        put(id.as_u64().unwrap_or(u64::MAX), text, kind);
    }
    for added in json.get("added_tokens").and_then(Value::as_array).into_iter().flatten() {
        let special = added.get("special").and_then(Value::as_bool) == Some(true);
        let (id, text) =
            (added.get("id").and_then(Value::as_u64), added.get("content").and_then(Value::as_str));
        if let (Some(id), Some(text)) = (id, text)
            && !(special && !facts.byte_level && unknown == Some(text))
        {
            put(id, text, if special { CONTROL } else { USER_DEFINED });
        }
    }
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let mut entries = Vec::new();
    let model = if facts.byte_level { "gpt2" } else { "llama" };
    entries.push((key("model"), MetaValue::Str(model.to_owned())));
    entries.push((key("tokens"), MetaValue::Array(MetaArray::from_strings(&tokens))));
    entries.push((key("token_type"), MetaValue::Array(MetaArray::from_i32(&types))));
    if facts.byte_level {
        entries.push((key("pre"), MetaValue::Str(split(json)?.to_owned())));
        entries.push((key("merges"), MetaValue::Array(MetaArray::from_strings(&merges(json)))));
    } else {
        // SentencePiece's own scores of a BPE are minus the rank, which is the place in the vocabulary.
        let scores: Vec<f32> =
            types.iter().enumerate().map(|(i, t)| if *t == NORMAL { -(i as f32) } else { 0.0 }).collect();
        entries.push((key("scores"), MetaValue::Array(MetaArray::from_f32(&scores))));
        let prefix = json.get("normalizer").is_some_and(|n| mentions(n, "Prepend"));
        entries.push((key("add_space_prefix"), MetaValue::Bool(prefix)));
    }
    entries.push((key("add_bos_token"), MetaValue::Bool(facts.begin.is_some())));
    // The runtime ends a text at `eos`, `eot`, `eom` and at tokens that it knows by name; what a model states beyond that has no place.
    let named = |id: &u32| tokens.get(*id as usize).is_some_and(|t| ENDS.contains(&t.as_str()));
    let first = facts.end.first().copied();
    let mut others = facts.end.iter().skip(1).filter(|id| !named(id)).copied();
    let (eot, eom) = (others.next(), others.next());
    if let Some(token) = others.next() {
        return Err(TokenizerError::Ends { token, ends: facts.end.clone() });
    }
    let ids = [
        ("bos_token_id", facts.begin),
        ("eos_token_id", first),
        ("eot_token_id", eot),
        ("eom_token_id", eom),
    ];
    entries.extend(ids.into_iter().filter_map(|(name, id)| Some((key(name), MetaValue::U32(id?)))));
    Ok(entries)
}

/// Merges as GGUF has them: two texts with a space between, of either spelling of `tokenizer.json`.
fn merges(json: &Value) -> Vec<String> {
    let all = json.pointer("/model/merges").and_then(Value::as_array);
    all.into_iter()
        .flatten()
        .filter_map(|m| match m {
            Value::String(text) => Some(text.clone()),
            Value::Array(pair) => Some(format!("{} {}", pair.first()?.as_str()?, pair.get(1)?.as_str()?)),
            _ => None,
        })
        .collect()
}

/// llama.cpp's name of the split.
fn split(json: &Value) -> Result<&'static str, TokenizerError> {
    let pre = json.get("pre_tokenizer").unwrap_or(&Value::Null);
    let mut regexes = Vec::new();
    patterns(pre, &mut regexes);
    match regexes.first() {
        Some(regex) if regex.contains(r"\p{N}{1,3}") => Ok("llama-bpe"),
        Some(regex) if regex.contains(r"(?i:'s|'t") && regex.contains(r"\p{N}|") => Ok("qwen2"),
        Some(regex) => Err(TokenizerError::Kind {
            found: format!("byte-level BPE that splits by {regex}"),
            known: "the splits of gpt-2, smollm, qwen2 and llama-bpe",
        }),
        None if mentions(pre, "Digits") => Ok("smollm"),
        None => Ok("gpt-2"),
    }
}

fn patterns<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("Regex").and_then(Value::as_str));
            map.values().for_each(|v| patterns(v, found));
        }
        Value::Array(all) => all.iter().for_each(|v| patterns(v, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ArchKind;
    use crate::gguf::Metadata;
    use crate::synthetic::Shapes;

    fn metadata(entries: Vec<(String, MetaValue)>) -> Metadata {
        let mut metadata = Metadata::default();
        for (key, value) in entries {
            metadata.set(&key, value);
        }
        metadata
    }

    #[test]
    fn a_byte_level_tokenizer_survives_both_ways() {
        let text = |s: &str| MetaValue::Str(s.into());
        for pre in ["smollm", "qwen2", "llama-bpe", "gpt-2"] {
            let source = metadata(vec![
                ("tokenizer.ggml.model".into(), text("gpt2")),
                ("tokenizer.ggml.pre".into(), text(pre)),
                (
                    "tokenizer.ggml.tokens".into(),
                    MetaValue::Array(MetaArray::from_strings(&["<|im_end|>", "a", "b", "ab", "<tool>"])),
                ),
                ("tokenizer.ggml.token_type".into(), MetaValue::Array(MetaArray::from_i32(&[3, 1, 1, 1, 4]))),
                ("tokenizer.ggml.merges".into(), MetaValue::Array(MetaArray::from_strings(&["a b"]))),
                ("tokenizer.ggml.bos_token_id".into(), MetaValue::U32(0)),
                ("tokenizer.ggml.eos_token_id".into(), MetaValue::U32(0)),
                ("tokenizer.ggml.add_bos_token".into(), MetaValue::Bool(pre == "llama-bpe")),
            ]);
            let facts = TokenizerFacts::of_gguf(&source).unwrap();
            assert_eq!((facts.tokens, facts.byte_level, facts.end.as_slice()), (5, true, &[0][..]));
            assert_eq!(facts.begin, (pre == "llama-bpe").then_some(0));
            let again = TokenizerFacts::of_hf(&facts.json.to_string(), &[0], Some(0)).unwrap();
            assert_eq!(again, facts);
            let back = metadata(gguf_entries(&facts, 6).unwrap());
            for key in ["model", "pre", "merges", "eos_token_id", "add_bos_token"] {
                let key = format!("tokenizer.ggml.{key}");
                assert_eq!(back.get(&key), source.get(&key), "{key}");
            }
            let types = back.get("tokenizer.ggml.token_type").unwrap().as_array().unwrap().to_u64().unwrap();
            assert_eq!(types, [3, 1, 1, 1, 4, 5]);
        }
    }

    #[test]
    fn a_sentence_piece_tokenizer_survives_both_ways() {
        let source = Shapes::tiny(ArchKind::Llama).metadata(None);
        let facts = TokenizerFacts::of_gguf(&source).unwrap();
        assert_eq!(
            (facts.tokens, facts.byte_level, facts.end.as_slice(), facts.begin),
            (320, false, &[2][..], Some(1))
        );
        let back = metadata(gguf_entries(&facts, 320).unwrap());
        for key in ["model", "tokens", "token_type", "bos_token_id", "eos_token_id"] {
            let key = format!("tokenizer.ggml.{key}");
            assert_eq!(back.get(&key), source.get(&key), "{key}");
        }
    }

    #[test]
    fn what_is_not_known_is_named() {
        let mut source = Shapes::tiny(ArchKind::Llama).metadata(None);
        source.set("tokenizer.ggml.model", MetaValue::Str("t5".into()));
        let error = TokenizerFacts::of_gguf(&source).unwrap_err().to_string();
        assert!(error.starts_with("the tokenizer is of the kind `t5`; known are llama"), "{error}");
        let error = TokenizerFacts::of_hf(r#"{"model": {"type": "Unigram"}}"#, &[], None).unwrap_err();
        assert!(error.to_string().contains("`Unigram`"));
    }
}
