#!/usr/bin/env python3
"""Makes tiny models with transformers, in each form that convert must carry over, and records their logits.

    python3 scripts/transformers_models.py OUT_FOLDER          # needs `torch` and `transformers` (any recent ones)
    AUTOTUNE_TRANSFORMERS_MODELS=OUT_FOLDER cargo test --release --locked --test reports convert

Each model is a folder of its own (config.json, model.safetensors, logits.json) beside one tokenizer.json that all share. The weights are
seeded random numbers of F16, the logits are computed in F32. `logits.json` has the tokens, the context that the model is run with, and
the logits of a few positions. tests/data/transformers is what `--record` writes: the smaller set that the repository carries.
"""

import argparse
import json
from pathlib import Path

import torch
import transformers
from transformers import LlamaConfig, MistralConfig, Qwen2Config

# Enough to tell rotary scalings apart: the positions go beyond the contexts that they stretch.
TOKENS = 56
POSITIONS = (7, 31, 55)
# Every so many entries of the vocabulary are recorded.
STRIDE = 6

SHAPE = dict(
    vocab_size=264, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, head_dim=8,
    num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=10000.0,
    bos_token_id=None, eos_token_id=257, tie_word_embeddings=True,
)  # fmt: skip


def llama(**changes):
    return LlamaConfig(**{**SHAPE, **changes})


def qwen2(**changes):
    # llama.cpp's qwen2 wants heads that fill the hidden size.
    return Qwen2Config(**{**SHAPE, "num_attention_heads": 2, "num_key_value_heads": 1, **changes})


def rope(kind, **parameters):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=10000.0, **parameters))


LONG = dict(short_factor=[1.0, 1.1, 1.3, 1.7], long_factor=[1.0, 1.5, 3.0, 6.0], factor=4.0)

MODELS = {
    "llama-untied": lambda: llama(tie_word_embeddings=False, num_attention_heads=2, head_dim=None),
    "llama-biases": lambda: llama(attention_bias=True, mlp_bias=True),
    "llama-norm-eps": lambda: llama(rms_norm_eps=1e-2),
    "qwen2": qwen2,
    "qwen2-yarn": lambda: qwen2(**rope("yarn", factor=4.0, original_max_position_embeddings=16)),
    "llama-linear": lambda: llama(**rope("linear", factor=3.0)),
    "llama-dynamic": lambda: llama(**rope("dynamic", factor=4.0)),
    "llama-llama3": lambda: llama(
        **rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
    ),
    "llama-yarn-ramp": lambda: llama(
        **rope("yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=4.0, attention_factor=1.3)
    ),
    "llama-longrope": lambda: llama(**rope("longrope", original_max_position_embeddings=32, **LONG)),
}
# What the repository does not carry.
MORE = {
    "llama": llama,
    "llama-attention-bias": lambda: llama(attention_bias=True),
    "llama-mlp-bias": lambda: llama(mlp_bias=True, tie_word_embeddings=False),
    "llama-no-groups": lambda: llama(num_key_value_heads=4),
    "llama-yarn": lambda: llama(**rope("yarn", factor=4.0, original_max_position_embeddings=16)),
    "llama-yarn-mscale": lambda: llama(
        **rope("yarn", factor=4.0, original_max_position_embeddings=16, mscale=1.2, mscale_all_dim=0.7)
    ),
    "llama-yarn-untruncated": lambda: llama(
        **rope("yarn", factor=4.0, original_max_position_embeddings=16, truncate=False)
    ),
    # llama.cpp takes the factors by the context that it is made for, at least 256 tokens; transformers by the text so far.
    "llama-longrope-short": lambda: llama(
        **rope("longrope", original_max_position_embeddings=512, **LONG), max_position_embeddings=2048
    ),
    "qwen2-untied": lambda: qwen2(tie_word_embeddings=False),
    "qwen2-llama3": lambda: qwen2(
        **rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
    ),
    "mistral": lambda: MistralConfig(**{**SHAPE, "sliding_window": None}),
    "mistral-window": lambda: MistralConfig(**{**SHAPE, "sliding_window": 60, "max_position_embeddings": 128}),
}


def randomize(model):
    """Weights of the scale of a trained network, biases and norms that show when they are missing, all exact in F16."""
    generator = torch.Generator().manual_seed(14)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            draw = torch.randn(parameter.shape, generator=generator)
            if name.endswith("norm.weight"):
                draw = 1 + 0.3 * draw
            elif parameter.dim() == 1:
                draw = 0.4 * draw
            elif "embed_tokens" in name or "lm_head" in name:
                draw = 0.5 * draw
            else:
                draw = draw * 1.2 / parameter.shape[1] ** 0.5
            parameter.copy_(draw.to(torch.float16).to(parameter.dtype))


def bytes_to_letters():
    """GPT-2's way to write bytes as letters."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return {byte: chr(byte) if byte in keep else chr(next(others)) for byte in range(256)}


def tokenizer():
    """A byte-level BPE with a single merge and a token that ends a text."""
    vocabulary = {letter: byte for byte, letter in bytes_to_letters().items()}
    vocabulary["th"] = 256
    end = dict(id=257, content="<|endoftext|>", special=True, single_word=False, lstrip=False, rstrip=False, normalized=False)
    level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True)
    model = dict(type="BPE", unk_token=None, byte_fallback=False, vocab=vocabulary, merges=[["t", "h"]])
    return dict(version="1.0", added_tokens=[end], normalizer=None, pre_tokenizer=level, decoder=level, model=model)


def write(folder, make):
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(make(), dtype=torch.float32)
    randomize(model)
    model.eval()
    tokens = [(17 * i * i + 5 * i + 3) % 256 for i in range(TOKENS)]
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0]
    model.to(torch.float16).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    rows = {p: [round(float(x), 5) for x in logits[p][::STRIDE]] for p in POSITIONS}
    record = dict(transformers=transformers.__version__, tokens=tokens, stride=STRIDE, logits=rows)
    (folder / "logits.json").write_text(json.dumps(record), encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--record", action="store_true", help="only the models that the repository carries")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(tokenizer(), ensure_ascii=False)
    (args.out / "tokenizer.json").write_text(text, encoding="utf-8")
    for name, make in {**MODELS, **({} if args.record else MORE)}.items():
        folder = args.out / name
        folder.mkdir(exist_ok=True)
        write(folder, make)
        print(name)


if __name__ == "__main__":
    main()
