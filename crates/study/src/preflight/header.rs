//! Faults of a vocabulary that a GGUF header shows, and on which llama.cpp aborts or says little.

use std::collections::HashMap;

use autotune_model::gguf::{Gguf, MetaArray, MetaValue};

/// Special tokens that a model uses while it generates.
const SPECIAL: [&str; 4] = ["bos", "eos", "eot", "eom"];

/// Checks the tokenizer of a file against itself and against the embedding.
///
/// # Errors
/// The fault, as it follows the name of the file.
pub(super) fn check(gguf: &Gguf) -> Result<(), String> {
    let metadata = gguf.metadata();
    let Some(tokens) = metadata.get("tokenizer.ggml.tokens").and_then(MetaValue::as_array) else {
        return Err("it has no vocabulary (tokenizer.ggml.tokens is missing); reconvert the model, with its tokenizer"
            .to_owned());
    };
    let count = tokens.len();
    if let Some((text, first, second)) = duplicate(tokens) {
        return Err(format!(
            "its vocabulary has the token {text:?} twice, as numbers {first} and {second} of {count}, on which llama.cpp aborts; reconvert \
             the model from its original folder"
        ));
    }
    if let Some(embedding) = gguf.tensor("token_embd.weight")
        && let rows = embedding.n_rows()
        && rows != count
    {
        return Err(format!(
            "its embedding has {rows} rows but its vocabulary {count} tokens, and llama.cpp wants as many; reconvert the model with a \
             converter that fills the vocabulary up with unused tokens"
        ));
    }
    for name in SPECIAL {
        let key = format!("tokenizer.ggml.{name}_token_id");
        if let Some(id) = metadata.get(&key).and_then(MetaValue::as_u64)
            && id >= count
        {
            let what = if name == "bos" { "beginning" } else { "end" };
            return Err(format!(
                "its token of the {what} ({key}) is number {id}, beyond its vocabulary of {count} tokens; reconvert the model"
            ));
        }
    }
    Ok(())
}

/// A text that stands twice in the vocabulary, with its two numbers. Empty texts are renamed by the library.
fn duplicate(tokens: &MetaArray) -> Option<(String, usize, usize)> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (number, text) in tokens.strings().enumerate().filter(|(_, text)| !text.is_empty()) {
        if let Some(first) = seen.insert(text.clone(), number) {
            return Some((text, first, number));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use autotune_model::gguf::{GgufWriter, Metadata};
    use autotune_model::synthetic::Shapes;
    use autotune_model::{ArchKind, GgmlType};

    fn checked(change: impl FnOnce(&mut Metadata)) -> Result<(), String> {
        let dir = tempfile::tempdir().unwrap();
        let (sound, changed) = (dir.path().join("sound.gguf"), dir.path().join("changed.gguf"));
        let shapes = Shapes::tiny(ArchKind::Llama);
        shapes.write(&sound, GgmlType::F16, 1, None).unwrap();
        let sound = Gguf::open(&sound).unwrap();
        let mut metadata = sound.metadata().clone();
        change(&mut metadata);
        let decls = shapes.tensors(GgmlType::F16);
        let mut writer = GgufWriter::create(&changed, &metadata, &decls).unwrap();
        for decl in &decls {
            writer.write(sound.bytes(sound.tensor(&decl.name).unwrap())).unwrap();
        }
        writer.finish(false).unwrap();
        check(&Gguf::open(&changed).unwrap())
    }

    fn tokens(change: impl FnOnce(&mut Vec<String>)) -> impl FnOnce(&mut Metadata) {
        |metadata| {
            let key = "tokenizer.ggml.tokens";
            let mut all: Vec<String> = metadata.get(key).unwrap().as_array().unwrap().strings().collect();
            change(&mut all);
            metadata.set(key, MetaValue::Array(MetaArray::from_strings(&all)));
        }
    }

    #[test]
    fn a_sound_vocabulary_passes() {
        assert_eq!(checked(|_| {}), Ok(()));
    }

    #[test]
    fn a_duplicate_token_is_named_with_both_numbers() {
        let error = checked(tokens(|all| all[300] = all[12].clone())).unwrap_err();
        assert!(error.contains("12 and 300 of 320"), "{error}");
    }

    #[test]
    fn a_padded_embedding_is_told_with_both_sizes() {
        let error = checked(tokens(|all| all.truncate(310))).unwrap_err();
        assert!(error.contains("320 rows") && error.contains("310 tokens"), "{error}");
    }

    #[test]
    fn an_end_token_beyond_the_vocabulary_is_told() {
        let set = |m: &mut Metadata| m.set("tokenizer.ggml.eos_token_id", MetaValue::U32(5000));
        let error = checked(set).unwrap_err();
        assert!(error.contains("5000") && error.contains("320 tokens"), "{error}");
    }
}
