//! From a GGUF file's metadata to `tokenizer.json`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{ENDS, TokenizerError, TokenizerFacts, keep_first};
use crate::gguf::{MetaArray, MetaValue, Metadata};

/// Token types of GGUF.
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

/// Digits apart, then GPT-2's split.
const DIGITS_APART: [&str; 6] = ["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"];
/// GPT-2's split alone.
const GPT2: [&str; 3] = ["gpt-2", "mpt", "olmo"];
const QWEN2: [&str; 2] = ["qwen2", "deepseek-r1-qwen"];
const LLAMA3: [&str; 5] = ["llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral"];
const KNOWN: &str =
    "llama (SentencePiece) and gpt2 with the splits gpt-2, smollm, starcoder, qwen2 and llama-bpe";

/// The split of Qwen2, and of Llama 3 where digits go in threes.
fn regex(digits: &str) -> String {
    format!(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
}

pub(super) fn read(metadata: &Metadata) -> Result<TokenizerFacts, TokenizerError> {
    let text = |key: &str| metadata.get(key).and_then(MetaValue::as_str);
    let array = |key: &str| metadata.get(key).and_then(MetaValue::as_array);
    let id = |name: &str| {
        let value = metadata.get(&format!("tokenizer.ggml.{name}_token_id"))?.as_u64()?;
        u32::try_from(value).ok()
    };
    let model = text("tokenizer.ggml.model").ok_or(TokenizerError::Missing("tokenizer.ggml.model"))?;
    let tokens: Vec<String> = array("tokenizer.ggml.tokens")
        .ok_or(TokenizerError::Missing("tokenizer.ggml.tokens"))?
        .strings()
        .collect();
    let types = array("tokenizer.ggml.token_type").and_then(MetaArray::to_u64).unwrap_or_default();
    let of_type = |kind: u64| -> Vec<u32> {
        (0..tokens.len() as u32).filter(|&i| types.get(i as usize) == Some(&kind)).collect()
    };
    let (control, user) = (of_type(CONTROL), of_type(USER_DEFINED));
    let flag = |key: &str| match metadata.get(key) {
        Some(MetaValue::Bool(b)) => Some(*b),
        _ => None,
    };
    let (byte_level, mut json) = match model {
        "gpt2" => (true, byte_level_bpe(&tokens, array, text("tokenizer.ggml.pre"))?),
        "llama" => {
            let prefix = flag("tokenizer.ggml.add_space_prefix").unwrap_or(true);
            (false, sentence_piece(&tokens, array("tokenizer.ggml.scores"), prefix))
        }
        other => return Err(TokenizerError::Kind { found: other.to_owned(), known: KNOWN }),
    };
    let added: Vec<Value> = control
        .iter()
        .map(|i| (*i, true))
        .chain(user.iter().map(|i| (*i, false)))
        .map(|(i, special)| {
            json!({
                "id": i, "content": tokens[i as usize], "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": special
            })
        })
        .collect();
    json["added_tokens"] = Value::Array(added);
    let default_begin = !byte_level || LLAMA3.contains(&text("tokenizer.ggml.pre").unwrap_or_default());
    let begin = id("bos").filter(|_| flag("tokenizer.ggml.add_bos_token").unwrap_or(default_begin));
    if let Some(token) = begin {
        let name = tokens.get(token as usize).cloned().unwrap_or_default();
        json["post_processor"] = json!({
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": name, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {&name: {"id": name, "ids": [token], "tokens": [name]}}
        });
    }
    let named = control.iter().copied().filter(|i| ENDS.contains(&tokens[*i as usize].as_str()));
    let mut end: Vec<u32> = ["eos", "eot", "eom"].iter().filter_map(|n| id(n)).chain(named).collect();
    keep_first(&mut end);
    Ok(TokenizerFacts { tokens: tokens.len() as u64, end, begin, control, byte_level, json })
}

fn vocab(tokens: &[String]) -> Value {
    // Of tokens that are written alike the first counts.
    let mut map = BTreeMap::new();
    for (i, token) in tokens.iter().enumerate() {
        map.entry(token.clone()).or_insert(i);
    }
    json!(map)
}

fn byte_level_bpe<'a>(
    tokens: &[String],
    array: impl Fn(&str) -> Option<&'a MetaArray>,
    pre: Option<&str>,
) -> Result<Value, TokenizerError> {
    let merges = array("tokenizer.ggml.merges").ok_or(TokenizerError::Missing("tokenizer.ggml.merges"))?;
    let merges: Vec<[String; 2]> = merges
        .strings()
        .filter_map(|m| m.split_once(' ').map(|(a, b)| [a.to_owned(), b.to_owned()]))
        .collect();
    let pre = pre.unwrap_or("gpt-2");
    let bytes = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
    let split = |digits: &str| {
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": regex(digits)}, "behavior": "Isolated", "invert": false},
            bytes(false)
        ]})
    };
    let splitter = if DIGITS_APART.contains(&pre) {
        json!({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, bytes(true)]})
    } else if GPT2.contains(&pre) {
        bytes(true)
    } else if QWEN2.contains(&pre) {
        split(r"\p{N}")
    } else if LLAMA3.contains(&pre) {
        split(r"\p{N}{1,3}")
    } else {
        return Err(TokenizerError::Kind { found: format!("gpt2 with the split {pre}"), known: KNOWN });
    };
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "added_tokens": [],
        "pre_tokenizer": splitter, "post_processor": null, "decoder": bytes(true),
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": LLAMA3.contains(&pre), "vocab": vocab(tokens), "merges": merges
        }
    }))
}

/// SentencePiece joins the neighbours whose union has the best score: the merges of a BPE, best union first.
fn sentence_piece(tokens: &[String], scores: Option<&MetaArray>, prefix: bool) -> Value {
    let scores: Vec<f32> = scores
        .map(|a| a.raw().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
        .unwrap_or_default();
    let score = |i: usize| scores.get(i).copied().unwrap_or(0.0);
    let known: BTreeMap<&str, usize> = tokens.iter().enumerate().map(|(i, t)| (t.as_str(), i)).collect();
    let mut order: Vec<usize> = (0..tokens.len()).collect();
    order.sort_by(|&a, &b| score(b).total_cmp(&score(a)).then(a.cmp(&b)));
    let mut merges: Vec<[&str; 2]> = Vec::new();
    for i in order {
        let token = tokens[i].as_str();
        if token.starts_with('<') && token.ends_with('>') {
            continue;
        }
        let mut parts: Vec<(usize, usize, [&str; 2])> = token
            .char_indices()
            .skip(1)
            .filter_map(|(at, _)| {
                let (a, b) = token.split_at(at);
                Some((*known.get(a)?, *known.get(b)?, [a, b]))
            })
            .collect();
        parts.sort_unstable();
        merges.extend(parts.into_iter().map(|p| p.2));
    }
    let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let normalizers =
        if prefix { json!([{"type": "Prepend", "prepend": "▁"}, spaces]) } else { json!([spaces]) };
    let strip = json!({"type": "Strip", "content": " ", "start": 1, "stop": 0});
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    decoders.extend(prefix.then_some(strip));
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": known.contains_key("<unk>").then_some("<unk>"),
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true,
            "vocab": vocab(tokens), "merges": merges
        }
    })
}
