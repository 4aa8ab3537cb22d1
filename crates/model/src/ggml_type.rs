//! The storage types of ggml tensors: identifiers, names, blocks.
//!
//! The numbers are those of `enum ggml_type` in `ggml.h`; a test under the `llama` feature compares the table with the linked library.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A storage type. Only types that are found in current GGUF files are listed. Serialized as its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[allow(missing_docs, non_camel_case_types)]
pub enum GgmlType {
    F32,
    F16,
    Bf16,
    F64,
    I8,
    I16,
    I32,
    I64,
    Q1_0,
    Q2_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q8_1,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    Q8_K,
    Iq1S,
    Iq1M,
    Iq2Xxs,
    Iq2Xs,
    Iq2S,
    Iq3Xxs,
    Iq3S,
    Iq4Nl,
    Iq4Xs,
    Tq1_0,
    Tq2_0,
    Mxfp4,
    Nvfp4,
}

/// Identifier, upper-case name, elements a block, bytes a block.
const TABLE: [(GgmlType, u32, &str, u64, u64); 35] = [
    (GgmlType::F32, 0, "F32", 1, 4),
    (GgmlType::F16, 1, "F16", 1, 2),
    (GgmlType::Bf16, 30, "BF16", 1, 2),
    (GgmlType::F64, 28, "F64", 1, 8),
    (GgmlType::I8, 24, "I8", 1, 1),
    (GgmlType::I16, 25, "I16", 1, 2),
    (GgmlType::I32, 26, "I32", 1, 4),
    (GgmlType::I64, 27, "I64", 1, 8),
    (GgmlType::Q1_0, 41, "Q1_0", 128, 18),
    (GgmlType::Q2_0, 42, "Q2_0", 64, 18),
    (GgmlType::Q4_0, 2, "Q4_0", 32, 18),
    (GgmlType::Q4_1, 3, "Q4_1", 32, 20),
    (GgmlType::Q5_0, 6, "Q5_0", 32, 22),
    (GgmlType::Q5_1, 7, "Q5_1", 32, 24),
    (GgmlType::Q8_0, 8, "Q8_0", 32, 34),
    (GgmlType::Q8_1, 9, "Q8_1", 32, 36),
    (GgmlType::Q2_K, 10, "Q2_K", 256, 84),
    (GgmlType::Q3_K, 11, "Q3_K", 256, 110),
    (GgmlType::Q4_K, 12, "Q4_K", 256, 144),
    (GgmlType::Q5_K, 13, "Q5_K", 256, 176),
    (GgmlType::Q6_K, 14, "Q6_K", 256, 210),
    (GgmlType::Q8_K, 15, "Q8_K", 256, 292),
    (GgmlType::Iq1S, 19, "IQ1_S", 256, 50),
    (GgmlType::Iq1M, 29, "IQ1_M", 256, 56),
    (GgmlType::Iq2Xxs, 16, "IQ2_XXS", 256, 66),
    (GgmlType::Iq2Xs, 17, "IQ2_XS", 256, 74),
    (GgmlType::Iq2S, 22, "IQ2_S", 256, 82),
    (GgmlType::Iq3Xxs, 18, "IQ3_XXS", 256, 98),
    (GgmlType::Iq3S, 21, "IQ3_S", 256, 110),
    (GgmlType::Iq4Nl, 20, "IQ4_NL", 32, 18),
    (GgmlType::Iq4Xs, 23, "IQ4_XS", 256, 136),
    (GgmlType::Tq1_0, 34, "TQ1_0", 256, 54),
    (GgmlType::Tq2_0, 35, "TQ2_0", 256, 66),
    (GgmlType::Mxfp4, 39, "MXFP4", 32, 17),
    (GgmlType::Nvfp4, 40, "NVFP4", 64, 36),
];

impl GgmlType {
    /// Every type of the table.
    pub fn all() -> impl Iterator<Item = GgmlType> {
        TABLE.iter().map(|row| row.0)
    }

    fn row(self) -> &'static (GgmlType, u32, &'static str, u64, u64) {
        // The table lists every variant (a test counts them), so the first row is never taken for want of another.
        TABLE.iter().find(|row| row.0 == self).unwrap_or(&TABLE[0])
    }

    /// The number used in files and by the library.
    #[must_use]
    pub fn id(self) -> u32 {
        self.row().1
    }

    /// The type with this number.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == id).map(|row| row.0)
    }

    /// The name in candidates: upper case, as in `Q4_K`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// Elements a block; a row's length must be a multiple of it.
    #[must_use]
    pub fn block_len(self) -> u64 {
        self.row().3
    }

    /// Bytes a block.
    #[must_use]
    pub fn block_bytes(self) -> u64 {
        self.row().4
    }

    /// Bits an element, scales included.
    #[must_use]
    pub fn bits(self) -> f64 {
        (self.block_bytes() * 8) as f64 / self.block_len() as f64
    }

    /// Bytes of a row of `n` elements; `None` when `n` is no multiple of the block or the product overflows.
    #[must_use]
    pub fn row_bytes(self, n: u64) -> Option<u64> {
        if !n.is_multiple_of(self.block_len()) {
            return None;
        }
        (n / self.block_len()).checked_mul(self.block_bytes())
    }

    /// F32, F16 or BF16: weights as they were trained, not a rounding of them.
    #[must_use]
    pub fn is_float(self) -> bool {
        matches!(self, GgmlType::F32 | GgmlType::F16 | GgmlType::Bf16)
    }

    /// Whether the type holds weights in blocks (neither floats nor integers).
    #[must_use]
    pub fn is_quantized(self) -> bool {
        self.block_len() > 1
    }

    /// Whether ggml aborts when it quantizes to this type without importance data.
    #[must_use]
    pub fn needs_imatrix(self) -> bool {
        matches!(self, GgmlType::Iq2Xxs | GgmlType::Iq2Xs | GgmlType::Iq1S)
    }

    /// Whether a candidate may ask for this type: floats and the types that ggml quantizes trained weights to. Left out are those of
    /// activations, of single GPUs, and of models trained with two or three values a weight.
    #[must_use]
    pub fn is_target(self) -> bool {
        use GgmlType as T;
        self.is_float()
            || (self.is_quantized()
                && !matches!(
                    self,
                    T::Q8_1 | T::Q8_K | T::Nvfp4 | T::Mxfp4 | T::Q1_0 | T::Q2_0 | T::Tq1_0 | T::Tq2_0
                ))
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<GgmlType> for String {
    fn from(ty: GgmlType) -> Self {
        ty.name().to_owned()
    }
}

impl TryFrom<String> for GgmlType {
    type Error = UnknownType;

    fn try_from(name: String) -> Result<Self, UnknownType> {
        name.parse()
    }
}

/// A text that names no storage type.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown tensor type `{0}`: expected one of {known}", known = known_names())]
pub struct UnknownType(pub String);

fn known_names() -> String {
    let names: Vec<_> = GgmlType::all().filter(|t| t.is_target()).map(GgmlType::name).collect();
    names.join(", ")
}

impl FromStr for GgmlType {
    type Err = UnknownType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        TABLE
            .iter()
            .find(|row| row.2.eq_ignore_ascii_case(text))
            .map(|row| row.0)
            .ok_or_else(|| UnknownType(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_inverse() {
        for t in GgmlType::all() {
            assert_eq!(GgmlType::from_id(t.id()), Some(t));
            assert_eq!(t.name().parse(), Ok(t));
            assert_eq!(t.row().0, t);
        }
        assert_eq!(GgmlType::from_id(4), None);
        assert!("Q9_K".parse::<GgmlType>().unwrap_err().to_string().contains("Q4_K"));
    }

    #[test]
    fn rows_need_whole_blocks() {
        assert_eq!(GgmlType::Q4_K.row_bytes(512), Some(288));
        assert_eq!(GgmlType::Q4_K.row_bytes(576), None);
        assert_eq!(GgmlType::Q8_0.row_bytes(576), Some(612));
        assert_eq!(GgmlType::F32.row_bytes(u64::MAX), None);
    }
}
