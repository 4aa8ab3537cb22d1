//! What of a candidate decides the artifact's content.

use serde_json::json;
use sha2::{Digest, Sha256};

use super::layout::Layout;
use autotune_core::space::Config;
use autotune_model::Architecture;

/// The part of a candidate that decides the artifact's content, as JSON: candidates that differ only in how they are run share one artifact.
pub(super) fn recipe_json(config: &Config) -> String {
    let mut recipe = json!({
        "weights": config.weights,
        "keep_kv_heads": config.keep_kv_heads,
        "keep_ffn": config.keep_ffn,
        "drop_layers": config.drop_layers,
    });
    // Said only where it is so: recipes of older artifacts do not know the word.
    if config.tie {
        recipe["tie"] = true.into();
    }
    recipe.to_string()
}

/// The first 16 hexadecimal digits of the SHA-256 of `recipe_json`: a name for the artifact of a candidate. Candidates that differ only in
/// how they are run (KV types, batch, threads) have the same.
#[must_use]
pub fn recipe_key(config: &Config) -> String {
    let digest = Sha256::digest(recipe_json(config).as_bytes());
    autotune_core::hex::encode(&digest[..8])
}

/// Bytes that an artifact's header takes over that of its source: new keys, tensor infos apart.
pub(super) fn added_bytes(arch: &Architecture, layout: &Layout, plan_is_full: bool, recipe: &str) -> u64 {
    let fixed = 220 + recipe.len() as u64;
    if plan_is_full && layout.kind == arch.kind {
        return fixed;
    }
    let layers = layout.shapes.len() as u64;
    let heads: u64 = layout.shapes.iter().map(|s| u64::from(s.kv_heads)).sum();
    let width = arch.layers.first().map_or(0, |s| u64::from(s.ffn));
    fixed + 200 + layers * 4 * 4 + heads * 4 + layers * width.div_ceil(8)
}
