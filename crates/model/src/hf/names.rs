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

/// The name that a tensor of such a checkpoint has in a GGUF file; none for tensors that are no parameters of the llama family.
#[must_use]
pub fn gguf_name(hf: &str) -> Option<String> {
    if let Some((name, _)) = GLOBAL.iter().find(|row| row.1 == hf) {
        return Some((*name).to_owned());
    }
    let (layer, rest) = hf.strip_prefix("model.layers.")?.split_once('.')?;
    layer.parse::<u32>().ok()?;
    let (role, kind) = rest.rsplit_once('.')?;
    let (name, _) = LAYER.iter().find(|row| row.1 == role)?;
    matches!(kind, "weight" | "bias").then(|| format!("blk.{layer}.{name}.{kind}"))
}

/// Whether a tensor is a buffer that the model computes anew when it is loaded: rotary frequencies and their tables, causal masks,
/// positions.
#[must_use]
pub fn is_computed(hf: &str) -> bool {
    const BUFFERS: [&str; 9] = [
        "rotary_emb.inv_freq",
        "rotary_emb.original_inv_freq",
        "rotary_emb.cos_cached",
        "rotary_emb.sin_cached",
        "self_attn.masked_bias",
        "attn.masked_bias",
        "self_attn.bias",
        "attn.bias",
        "position_ids",
    ];
    BUFFERS.iter().any(|b| hf.strip_suffix(b).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
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
        for name in
            ["blk.12.ffn_down.weight", "blk.0.attn_output.bias", "output.weight", "output_norm.weight"]
        {
            assert_eq!(gguf_name(&hf_name(name).unwrap()).as_deref(), Some(name));
        }
        for name in [
            "model.layers.0.self_attn.rotary_emb.inv_freq",
            "model.layers.3.self_attn.q_norm.weight",
            "model.layers.0.mlp.down_proj.qweight",
            "model.layers.x.mlp.down_proj.weight",
        ] {
            assert_eq!(gguf_name(name), None, "{name}");
        }
        assert!(is_computed("model.layers.0.self_attn.rotary_emb.inv_freq"));
        assert!(is_computed("model.layers.0.attn.masked_bias") && is_computed("rotary_emb.inv_freq"));
        assert!(
            !is_computed("model.layers.0.self_attn.q_proj.bias") && !is_computed("my_rotary_emb.inv_freq")
        );
    }
}
