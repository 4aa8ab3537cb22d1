//! Tensor names of GGUF in the words of Hugging Face.

const LAYER: [(&str, &str); 9] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];
const GLOBAL: [(&str, &str); 3] = [
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", "lm_head.weight"),
];

/// The name of a GGUF tensor in a checkpoint of Hugging Face; none where there is no such tensor.
#[must_use]
pub fn hf_name(gguf: &str) -> Option<String> {
    if let Some((_, name)) = GLOBAL.iter().find(|row| row.0 == gguf) {
        return Some((*name).to_owned());
    }
    let (layer, rest) = gguf.strip_prefix("blk.")?.split_once('.')?;
    let (role, kind) = rest.rsplit_once('.')?;
    let (_, name) = LAYER.iter().find(|row| row.0 == role)?;
    Some(format!("model.layers.{layer}.{name}.{kind}"))
}

/// Whether a tensor of such a checkpoint is one that we run (others, like stored rotary frequencies, are computed anew).
#[must_use]
pub fn is_known_hf_name(name: &str) -> bool {
    if GLOBAL.iter().any(|row| row.1 == name) {
        return true;
    }
    let rest = name.strip_prefix("model.layers.").and_then(|r| r.split_once('.')).map(|r| r.1);
    rest.and_then(|r| r.rsplit_once('.')).is_some_and(|(role, _)| LAYER.iter().any(|row| row.1 == role))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_translated() {
        assert_eq!(hf_name("blk.12.ffn_down.weight").unwrap(), "model.layers.12.mlp.down_proj.weight");
        assert_eq!(hf_name("blk.0.attn_q.bias").unwrap(), "model.layers.0.self_attn.q_proj.bias");
        assert_eq!(hf_name("token_embd.weight").unwrap(), "model.embed_tokens.weight");
        assert_eq!(hf_name("rope_freqs.weight"), None);
        assert!(is_known_hf_name("model.layers.12.mlp.down_proj.weight"));
        assert!(!is_known_hf_name("model.layers.0.self_attn.rotary_emb.inv_freq"));
    }
}
