//! Added tokens that stand beside `tokenizer.json`: `added_tokens_decoder` of `tokenizer_config.json`, and `added_tokens.json`.

use std::path::Path;

use serde_json::{Value, json};

use super::{HfError, HfFault, TOKENIZER};

/// The text of `tokenizer.json` with the added tokens of the other files, which transformers adds when it loads the tokenizer.
///
/// # Errors
/// A file that is no JSON, or a token that has another text or number there than in `tokenizer.json`.
pub(super) fn with_added_tokens(folder: &Path, text: String) -> Result<String, HfError> {
    let path = folder.join(TOKENIZER);
    let stated = stated(folder)?;
    if stated.is_empty() {
        return Ok(text);
    }
    let mut json: Value = serde_json::from_str(&text).map_err(|e| HfFault::Json(e).at(&path))?;
    let mut missing = Vec::new();
    for (id, token) in stated {
        let content = token.get("content").and_then(Value::as_str).unwrap_or_default().to_owned();
        match number_of(&json, &content) {
            Some(known) if known == id => {}
            Some(known) => {
                let found = format!("{id} in tokenizer_config.json or added_tokens.json");
                let detail = format!("the token {content:?} has the number {known} here and {found}");
                return Err(HfFault::Tokens(detail).at(&path));
            }
            None => missing.push(token),
        }
    }
    if missing.is_empty() {
        return Ok(text);
    }
    match json.get_mut("added_tokens").and_then(Value::as_array_mut) {
        Some(all) => all.extend(missing),
        None => json["added_tokens"] = Value::Array(missing),
    }
    Ok(json.to_string())
}

/// The number of a token in `tokenizer.json`.
fn number_of(json: &Value, content: &str) -> Option<u64> {
    let added = json.get("added_tokens").and_then(Value::as_array).into_iter().flatten();
    let of = |t: &&Value| t.get("content").and_then(Value::as_str) == Some(content);
    let vocabulary = || json.pointer("/model/vocab")?.get(content)?.as_u64();
    added.into_iter().find(of).and_then(|t| t.get("id")?.as_u64()).or_else(vocabulary)
}

/// The added tokens of the files beside `tokenizer.json`, in the form that it has them.
fn stated(folder: &Path) -> Result<Vec<(u64, Value)>, HfError> {
    let read = |name: &str| -> Result<Value, HfError> {
        let path = folder.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map_err(|e| HfFault::Json(e).at(&path)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Value::Null),
            Err(e) => Err(HfFault::Read(e).at(&path)),
        }
    };
    let mut tokens = Vec::new();
    let config = read("tokenizer_config.json")?;
    for (id, token) in config.get("added_tokens_decoder").and_then(Value::as_object).into_iter().flatten() {
        let Ok(id) = id.parse::<u64>() else { continue };
        let mut token = token.clone();
        token["id"] = id.into();
        tokens.push((id, token));
    }
    for (content, id) in read("added_tokens.json")?.as_object().into_iter().flatten() {
        let Some(id) = id.as_u64().filter(|id| !tokens.iter().any(|t| t.0 == *id)) else { continue };
        let token = json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": false});
        tokens.push((id, token));
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_other_files_are_added_and_a_contradiction_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let write =
            |name: &str, value: Value| std::fs::write(dir.path().join(name), value.to_string()).unwrap();
        let tokenizer = json!({"added_tokens": [{"id": 3, "content": "<end>", "special": true}],
            "model": {"vocab": {"a": 0, "b": 1}}});
        let merged = || {
            let text = with_added_tokens(dir.path(), tokenizer.to_string())?;
            Ok::<Value, HfError>(serde_json::from_str(&text).unwrap())
        };
        assert_eq!(merged().unwrap(), tokenizer);
        write("added_tokens.json", json!({"<end>": 3, "<tool>": 5}));
        let decoder =
            json!({"4": {"content": "<fim>", "special": true}, "0": {"content": "a", "special": false}});
        write("tokenizer_config.json", json!({"added_tokens_decoder": decoder}));
        let all = merged().unwrap()["added_tokens"].clone();
        let ids: Vec<u64> = all.as_array().unwrap().iter().map(|t| t["id"].as_u64().unwrap()).collect();
        assert_eq!(ids, [3, 4, 5]);
        write("added_tokens.json", json!({"b": 7}));
        let error = merged().unwrap_err().to_string();
        assert!(error.contains("\"b\" has the number 1 here and 7"), "{error}");
    }
}
