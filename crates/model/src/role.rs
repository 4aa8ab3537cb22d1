//! What a tensor is for, by its name in a GGUF file.

use std::fmt;

/// The part that a tensor plays in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TensorRole {
    /// Token embeddings; with tied embeddings also the output matrix.
    TokenEmbd,
    /// The output matrix, where it is a tensor of its own.
    Output,
    /// The norm before the output.
    OutputNorm,
    /// Frequency factors of the rotary embedding.
    RopeFreqs,
    /// The norm before attention.
    AttnNorm,
    /// Query projection.
    AttnQ,
    /// Key projection.
    AttnK,
    /// Value projection.
    AttnV,
    /// Attention output projection.
    AttnOutput,
    /// The norm before the feed-forward part.
    FfnNorm,
    /// Gate projection.
    FfnGate,
    /// Up projection.
    FfnUp,
    /// Down projection.
    FfnDown,
    /// Anything else.
    Other,
}

/// The group of weights that share a type in a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WeightGroup {
    /// Q, K, V and output projections.
    Attn,
    /// Gate, up and down projections.
    Ffn,
    /// Token embeddings and the output matrix.
    Embd,
}

impl WeightGroup {
    /// The group's name in candidates.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            WeightGroup::Attn => "attn",
            WeightGroup::Ffn => "ffn",
            WeightGroup::Embd => "embd",
        }
    }
}

/// A tensor's name, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TensorName {
    /// What it is for.
    pub role: TensorRole,
    /// The layer it belongs to, for names of the form `blk.N.…`.
    pub layer: Option<u32>,
    /// Whether it is a bias rather than a weight.
    pub is_bias: bool,
}

const GLOBAL: [(&str, TensorRole); 4] = [
    ("token_embd", TensorRole::TokenEmbd),
    ("output", TensorRole::Output),
    ("output_norm", TensorRole::OutputNorm),
    ("rope_freqs", TensorRole::RopeFreqs),
];

const LAYER: [(&str, TensorRole); 10] = [
    ("attn_norm", TensorRole::AttnNorm),
    ("attn_q", TensorRole::AttnQ),
    ("attn_k", TensorRole::AttnK),
    ("attn_v", TensorRole::AttnV),
    ("attn_output", TensorRole::AttnOutput),
    ("ffn_norm", TensorRole::FfnNorm),
    ("ffn_gate", TensorRole::FfnGate),
    ("ffn_up", TensorRole::FfnUp),
    ("ffn_down", TensorRole::FfnDown),
    ("rope_freqs", TensorRole::RopeFreqs),
];

impl TensorName {
    /// Takes a name apart; an unknown name has the role [`TensorRole::Other`].
    #[must_use]
    pub fn parse(name: &str) -> Self {
        let (stem, is_bias) = match name.strip_suffix(".bias") {
            Some(stem) => (stem, true),
            None => (name.strip_suffix(".weight").unwrap_or(name), false),
        };
        let find = |table: &[(&str, TensorRole)], stem: &str| {
            table.iter().find(|row| row.0 == stem).map_or(TensorRole::Other, |row| row.1)
        };
        if let Some((number, rest)) = stem.strip_prefix("blk.").and_then(|s| s.split_once('.'))
            && let Ok(layer) = number.parse::<u32>()
        {
            return TensorName { role: find(&LAYER, rest), layer: Some(layer), is_bias };
        }
        TensorName { role: find(&GLOBAL, stem), layer: None, is_bias }
    }

    /// The group whose type it takes; `None` for norms, biases and unknown tensors, which are kept as they are.
    #[must_use]
    pub fn group(self) -> Option<WeightGroup> {
        use TensorRole as R;
        if self.is_bias {
            return None;
        }
        match self.role {
            R::AttnQ | R::AttnK | R::AttnV | R::AttnOutput => Some(WeightGroup::Attn),
            R::FfnGate | R::FfnUp | R::FfnDown => Some(WeightGroup::Ffn),
            R::TokenEmbd | R::Output => Some(WeightGroup::Embd),
            R::OutputNorm | R::RopeFreqs | R::AttnNorm | R::FfnNorm | R::Other => None,
        }
    }
}

impl fmt::Display for TensorRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = GLOBAL.iter().chain(&LAYER).find(|row| row.1 == *self).map_or("other", |row| row.0);
        f.pad(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let n = TensorName::parse("blk.12.ffn_down.weight");
        assert_eq!((n.role, n.layer, n.is_bias), (TensorRole::FfnDown, Some(12), false));
        assert_eq!(n.group(), Some(WeightGroup::Ffn));
        let n = TensorName::parse("blk.0.attn_q.bias");
        assert_eq!((n.role, n.layer, n.is_bias), (TensorRole::AttnQ, Some(0), true));
        assert_eq!(n.group(), None);
        assert_eq!(TensorName::parse("output.weight").role, TensorRole::Output);
        assert_eq!(TensorName::parse("output_norm.weight").group(), None);
    }

    #[test]
    fn foreign_names_are_other() {
        for name in
            ["", "blk.", "blk.x.attn_q.weight", "blk.99999999999.attn_q.weight", "v.patch_embd.weight"]
        {
            assert_eq!(TensorName::parse(name).role, TensorRole::Other, "{name}");
        }
    }
}
