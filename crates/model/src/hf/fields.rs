//! Accounts for every field of `config.json`: each is read, known to change nothing, or refused by name.
//!
//! A field that we do not know may change what the model computes (a multiplier, a norm, a window). Leaving it out would convert
//! another model under the same name, so the default is to refuse.

use serde_json::Value;

use super::HfFault;

/// Fields that [`super::HfConfig`] reads.
const READ: &[&str] = &[
    "model_type",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "max_position_embeddings",
    "original_max_position_embeddings",
    "tie_word_embeddings",
    "rms_norm_eps",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "eos_token_id",
    "bos_token_id",
    "hidden_act",
    "attention_bias",
    "mlp_bias",
    "num_local_experts",
    "num_experts",
    "n_routed_experts",
    "sliding_window",
    "use_sliding_window",
    "layer_types",
    "max_window_layers",
];

/// Fields that change nothing of what the model computes at inference: names and versions, training, text generation defaults, the
/// router of experts where there are none.
const HARMLESS: &[&str] = &[
    "architectures",
    "auto_map",
    "custom_pipelines",
    "torch_dtype",
    "dtype",
    "transformers_version",
    "transformers.js_config",
    "_name_or_path",
    "name_or_path",
    "model_name",
    "license",
    "_commit_hash",
    "_attn_implementation",
    "_attn_implementation_autoset",
    "attn_implementation",
    "_flash_attn_2_enabled",
    "use_flash_attn",
    "use_flash_attention",
    "unsloth_version",
    "unsloth_fixed",
    "unsloth_processed",
    "use_cache",
    "use_bfloat16",
    "torchscript",
    "tokenizer_class",
    "pretraining_tp",
    "tp_degree",
    "gradient_checkpointing",
    "initializer_range",
    "initializer_factor",
    "attention_dropout",
    "attn_dropout",
    "attn_pdrop",
    "hidden_dropout",
    "hidden_dropout_prob",
    "resid_pdrop",
    "resid_dropout",
    "embd_pdrop",
    "embd_dropout",
    "mlp_dropout",
    "dropout",
    "classifier_dropout",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "router_z_loss_coef",
    "output_router_logits",
    "num_experts_per_tok",
    "num_experts_per_token",
    "expert_capacity",
    "moe_intermediate_size",
    "norm_topk_prob",
    "decoder_sparse_step",
    "pad_token_id",
    "unk_token_id",
    "sep_token_id",
    "cls_token_id",
    "mask_token_id",
    "decoder_start_token_id",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "return_dict",
    "return_dict_in_generate",
    "chunk_size_feed_forward",
    "id2label",
    "label2id",
    "num_labels",
    "problem_type",
    "task_specific_params",
    "finetuning_task",
    "prefix",
    "do_sample",
    "early_stopping",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
    "repetition_penalty",
    "length_penalty",
    "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size",
    "diversity_penalty",
    "num_beams",
    "num_beam_groups",
    "num_return_sequences",
    "max_length",
    "min_length",
    "max_new_tokens",
    "remove_invalid_values",
    "tie_encoder_decoder",
    "max_sequence_length",
    "model_max_length",
];

/// Fields that change nothing at one value alone.
const NEUTRAL: &[(&str, f64)] = &[
    ("logit_scale", 1.0),
    ("logits_scaling", 1.0),
    ("logits_scale", 1.0),
    ("lm_head_multiplier", 1.0),
    ("output_multiplier_scale", 1.0),
    ("embedding_multiplier", 1.0),
    ("embedding_multiplier_scale", 1.0),
    ("embedding_scale", 1.0),
    ("scale_emb", 1.0),
    ("residual_multiplier", 1.0),
    ("residual_scale", 1.0),
    ("key_multiplier", 1.0),
    ("mup_multiplier", 1.0),
    ("width_multiplier", 1.0),
    ("partial_rotary_factor", 1.0),
    ("rotary_pct", 1.0),
    ("rope_percent", 1.0),
    ("attention_value_scale", 1.0),
    ("multi_token_prediction_layers", 0.0),
];

/// Whether a value says "not used": null, false, nothing in it.
fn is_absent(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(all) => all.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// Refuses the fields of a configuration that would be left out although they may change what the model computes.
///
/// # Errors
/// A quantized checkpoint, or fields that are neither read nor known to be harmless; all of them are named.
pub(super) fn account(json: &Value) -> Result<(), HfFault> {
    for key in ["quantization_config", "compression_config"] {
        if let Some(config) = json.get(key).filter(|v| !is_absent(v)) {
            let method = ["quant_method", "quantization_method", "format"]
                .iter()
                .find_map(|k| config.get(*k).and_then(Value::as_str));
            return Err(HfFault::Quantized { key, method: method.unwrap_or("unknown").to_owned() });
        }
    }
    let mut unknown = Vec::new();
    for (key, value) in json.as_object().into_iter().flatten() {
        let name = key.as_str();
        let neutral = NEUTRAL.iter().find(|row| row.0 == name).map(|row| row.1);
        let known = READ.contains(&name) || HARMLESS.contains(&name) || is_absent(value);
        let is_neutral =
            neutral.is_some_and(|n| value.as_f64() == Some(n)) || is_neutral_here(json, name, value);
        if !known && !is_neutral {
            unknown.push(format!("`{name}`: {}", short(value)));
        }
    }
    if unknown.is_empty() { Ok(()) } else { Err(HfFault::Fields { fields: unknown }) }
}

/// Fields whose neutral value depends on others, or is a word.
fn is_neutral_here(json: &Value, name: &str, value: &Value) -> bool {
    let head_dim = || {
        let number = |key: &str| json.get(key).and_then(Value::as_f64);
        number("head_dim").or_else(|| Some(number("hidden_size")? / number("num_attention_heads")?))
    };
    match name {
        // The usual scale of attention scores, 1 / sqrt(head_dim), stated.
        "attention_multiplier" | "attention_scale" => {
            head_dim().zip(value.as_f64()).is_some_and(|(d, v)| (v * d.sqrt() - 1.0).abs() < 1e-6)
        }
        "query_pre_attn_scalar" => head_dim() == value.as_f64(),
        "rotary_dim" | "rotary_emb_dim" => head_dim() == value.as_f64(),
        "is_decoder" | "is_causal" => value == &Value::Bool(true),
        "hidden_activation" | "activation_function" => value == "silu" || value == "swish",
        "norm_type" | "normalization_type" => value == "rmsnorm" || value == "rms_norm",
        "position_embedding_type" | "pos_emb_type" => value == "rope" || value == "rotary",
        _ => false,
    }
}

/// A value in few characters.
fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 40 {
        text
    } else {
        format!("{}…", text.chars().take(39).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_multiplier_of_a_llama_look_alike_is_refused_by_name_and_a_neutral_one_is_not() {
        let with = |key: &str, value: Value| {
            let mut json = json!({"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4});
            json[key] = value;
            account(&json).map_err(|e| e.to_string())
        };
        for key in ["logit_scale", "embedding_multiplier", "residual_multiplier", "partial_rotary_factor"] {
            let error = with(key, json!(0.5)).unwrap_err();
            assert!(error.contains(&format!("`{key}`: 0.5")), "{error}");
            assert_eq!(with(key, json!(1.0)), Ok(()), "{key}");
            assert_eq!(with(key, Value::Null), Ok(()), "{key}");
        }
        assert_eq!(with("attention_multiplier", json!(0.25)), Ok(()));
        assert!(with("attention_multiplier", json!(0.2)).is_err());
        assert!(with("attn_logit_softcapping", json!(50.0)).unwrap_err().contains("attn_logit_softcapping"));
        assert!(with("use_qk_norm", json!(true)).unwrap_err().contains("use_qk_norm"));
        assert_eq!(with("use_qk_norm", json!(false)), Ok(()));
        assert_eq!(with("transformers_version", json!("5.0")), Ok(()));
    }

    #[test]
    fn a_quantized_checkpoint_is_named_with_its_method() {
        for method in ["gptq", "awq", "bitsandbytes"] {
            let json = json!({"quantization_config": {"quant_method": method, "bits": 4}});
            let error = account(&json).unwrap_err().to_string();
            assert!(error.contains("quantization_config") && error.contains(method), "{error}");
        }
    }
}
