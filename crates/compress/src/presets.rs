//! The mixes that llama.cpp's quantizer makes, by name, and the types it gives to each tensor.
//!
//! The artifact of a preset is made by llama.cpp itself; the rules here only predict its size. They restate `llama_tensor_get_type_impl`
//! and `tensor_type_fallback` of `llama-quant.cpp` (llama.cpp 0.6.0-dev) for dense llama-like models without importance data. A test
//! compares every tensor of every preset with what the linked library makes.

use std::fmt;
use std::str::FromStr;

use super::{CompressError, Fallback, fit_type};
use autotune_model::{ArchKind, GgmlType, LayerShape, TensorName, TensorRole};

/// The name of the source file itself in place of a preset.
pub const AS_SHIPPED: &str = "as-shipped";

/// A mix by llama.cpp's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, non_camel_case_types)]
pub enum Preset {
    F16,
    Bf16,
    Q8_0,
    Q6_K,
    Q5_K_M,
    Q5_K_S,
    Q5_0,
    Q5_1,
    Q4_K_M,
    Q4_K_S,
    Q4_0,
    Q4_1,
    Iq4Nl,
    Iq4Xs,
    Q3_K_L,
    Q3_K_M,
    Q3_K_S,
    Q2_K,
}

/// Preset, name, number of `enum llama_ftype`, default type.
const TABLE: [(Preset, &str, u32, GgmlType); 18] = [
    (Preset::F16, "F16", 1, GgmlType::F16),
    (Preset::Bf16, "BF16", 32, GgmlType::Bf16),
    (Preset::Q8_0, "Q8_0", 7, GgmlType::Q8_0),
    (Preset::Q6_K, "Q6_K", 18, GgmlType::Q6_K),
    (Preset::Q5_K_M, "Q5_K_M", 17, GgmlType::Q5_K),
    (Preset::Q5_K_S, "Q5_K_S", 16, GgmlType::Q5_K),
    (Preset::Q5_0, "Q5_0", 8, GgmlType::Q5_0),
    (Preset::Q5_1, "Q5_1", 9, GgmlType::Q5_1),
    (Preset::Q4_K_M, "Q4_K_M", 15, GgmlType::Q4_K),
    (Preset::Q4_K_S, "Q4_K_S", 14, GgmlType::Q4_K),
    (Preset::Q4_0, "Q4_0", 2, GgmlType::Q4_0),
    (Preset::Q4_1, "Q4_1", 3, GgmlType::Q4_1),
    (Preset::Iq4Nl, "IQ4_NL", 25, GgmlType::Iq4Nl),
    (Preset::Iq4Xs, "IQ4_XS", 30, GgmlType::Iq4Xs),
    (Preset::Q3_K_L, "Q3_K_L", 13, GgmlType::Q3_K),
    (Preset::Q3_K_M, "Q3_K_M", 12, GgmlType::Q3_K),
    (Preset::Q3_K_S, "Q3_K_S", 11, GgmlType::Q3_K),
    (Preset::Q2_K, "Q2_K", 10, GgmlType::Q2_K),
];

/// What the rules look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct TensorShape<'a> {
    pub name: &'a str,
    pub dims: &'a [u64],
    pub ty: GgmlType,
}

impl Preset {
    /// Every preset, widest first.
    pub fn all() -> impl Iterator<Item = Preset> {
        TABLE.iter().map(|row| row.0)
    }

    fn row(self) -> &'static (Preset, &'static str, u32, GgmlType) {
        TABLE.iter().find(|row| row.0 == self).unwrap_or(&TABLE[0])
    }

    /// llama.cpp's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Its number in `enum llama_ftype`.
    #[must_use]
    pub fn ftype(self) -> u32 {
        self.row().2
    }

    fn default_type(self) -> GgmlType {
        self.row().3
    }

    /// The multiple that pruned FFN widths must have.
    pub(super) fn ffn_multiple(self) -> u32 {
        if self.default_type().block_len() > 32 { 256 } else { 32 }
    }

    /// The types that the quantizer gives to these tensors, and where shapes forced another. `first` is the first layer's shape.
    pub(super) fn types(
        self,
        tensors: &[TensorShape<'_>],
        first: LayerShape,
        layers: usize,
        arch: ArchKind,
    ) -> (Vec<GgmlType>, Vec<Fallback>) {
        let mut order: Vec<usize> = (0..tensors.len()).collect();
        // The library visits tensors by layer, then by name; its counters depend on it.
        let key =
            |i: usize| (TensorName::parse(tensors[i].name).layer.map_or(-1, i64::from), tensors[i].name);
        order.sort_by(|&a, &b| key(a).cmp(&key(b)));
        let mut mix = Mix {
            preset: self,
            tied: !tensors.iter().any(|t| t.name == "output.weight"),
            gqa: first.group(),
            layers,
            values: tensors.iter().filter(|t| t.name.contains("attn_v.weight")).count(),
            // Only a llama of 80 layers with grouped heads is "70B" to the library.
            is_70b: arch == ArchKind::Llama && layers == 80 && first.heads != first.kv_heads,
            i_value: 0,
            i_down: 0,
        };
        let mut types: Vec<GgmlType> = tensors.iter().map(|t| t.ty).collect();
        let mut fallbacks = Vec::new();
        for i in order {
            let t = tensors[i];
            if t.dims.len() < 2 || !t.name.ends_with("weight") || t.name.contains("_norm.weight") {
                continue;
            }
            let row = t.dims.first().copied().unwrap_or(1);
            let asked = mix.choose(TensorName::parse(t.name).role, row);
            types[i] = if self.default_type().is_quantized() { fit_type(asked, row, true) } else { asked };
            if types[i] != asked {
                fallbacks.push(Fallback { tensor: t.name.to_owned(), asked, got: types[i] });
            }
        }
        (types, fallbacks)
    }
}

/// The library's state while it walks the tensors.
struct Mix {
    preset: Preset,
    tied: bool,
    gqa: u32,
    layers: usize,
    values: usize,
    is_70b: bool,
    i_value: usize,
    i_down: usize,
}

/// `use_more_bits`: the first and last eighth, and every third layer between.
fn more_bits(i: usize, n: usize) -> bool {
    i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2
}

impl Mix {
    fn choose(&mut self, role: TensorRole, row: u64) -> GgmlType {
        use GgmlType as T;
        use Preset as P;
        let default = self.preset.default_type();
        if !default.is_quantized() {
            return default;
        }
        match role {
            TensorRole::Output => self.output(row),
            TensorRole::TokenEmbd if self.tied => self.output(row),
            TensorRole::AttnV => {
                let i = self.i_value;
                self.i_value += 1;
                let ty = match self.preset {
                    P::Q2_K if self.gqa >= 4 => T::Q4_K,
                    P::Q2_K => T::Q3_K,
                    P::Q3_K_M if i < 2 => T::Q5_K,
                    P::Q3_K_M => T::Q4_K,
                    P::Q3_K_L => T::Q5_K,
                    P::Iq4Nl | P::Iq4Xs if self.gqa >= 4 => T::Q5_K,
                    P::Q4_K_M | P::Q5_K_M if more_bits(i, self.values) => T::Q6_K,
                    P::Q4_K_S if i < 4 => T::Q5_K,
                    _ => default,
                };
                if self.is_70b && matches!(ty, T::Q3_K | T::Q4_K) { T::Q5_K } else { ty }
            }
            TensorRole::FfnDown => {
                let (i, n) = (self.i_down, self.layers);
                self.i_down += 1;
                match self.preset {
                    P::Q2_K => T::Q3_K,
                    P::Q3_K_M if i < n / 16 => T::Q5_K,
                    P::Q3_K_M => T::Q4_K,
                    P::Q3_K_L => T::Q5_K,
                    P::Q4_K_M | P::Q5_K_M if more_bits(i, n) => T::Q6_K,
                    P::Iq4Nl | P::Iq4Xs if i < n / 8 => T::Q5_K,
                    P::Q4_K_S if i < n / 8 => T::Q5_K,
                    _ => default,
                }
            }
            TensorRole::AttnOutput => match self.preset {
                P::Q2_K => T::Q3_K,
                P::Q3_K_M => T::Q4_K,
                P::Q3_K_L => T::Q5_K,
                _ => default,
            },
            _ => default,
        }
    }

    /// The output matrix, or the embeddings that serve as one.
    fn output(&self, row: u64) -> GgmlType {
        let default = self.preset.default_type();
        if default == GgmlType::Q8_0 || !row.is_multiple_of(default.block_len()) {
            GgmlType::Q8_0
        } else {
            GgmlType::Q6_K
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Preset {
    type Err = CompressError;

    fn from_str(text: &str) -> Result<Self, CompressError> {
        TABLE.iter().find(|row| row.1.eq_ignore_ascii_case(text)).map(|row| row.0).ok_or_else(|| {
            let known: Vec<_> = Preset::all().map(Preset::name).collect();
            CompressError::Preset { found: text.to_owned(), known: known.join(", ") }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_found_by_name() {
        assert_eq!("q4_k_m".parse::<Preset>().unwrap(), Preset::Q4_K_M);
        assert!("Q4_K_X".parse::<Preset>().unwrap_err().to_string().contains("Q4_K_M"));
        for p in Preset::all() {
            assert_eq!(p.row().0, p);
        }
    }

    #[test]
    fn more_bits_for_the_ends_and_every_third() {
        let chosen: Vec<usize> = (0..16).filter(|&i| more_bits(i, 16)).collect();
        assert_eq!(chosen, [0, 1, 4, 7, 10, 13, 14, 15]);
    }
}
