//! The ways in which the torch engine holds weights.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A way to hold a weight matrix, by its name in candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum TorchType {
    /// 32-bit floats.
    F32,
    /// bfloat16, multiplied as such.
    Bf16,
    /// 16-bit floats, multiplied as such.
    F16,
    /// Signed bytes with a scale for each row; activations stay bfloat16.
    Int8,
    /// Signed bytes with a scale for each row; activations are rounded to bytes as they come (FBGEMM).
    Int8Dynamic,
    /// Four bits with scale and zero for each group of [`INT4_GROUP`], stored as Q4_1; activations stay bfloat16.
    Int4,
    /// Four bits that name one of [`NF4_LEVELS`], with a scale for each group of [`NF4_GROUP`]; multiplied as floats. For a GPU.
    Nf4,
    /// 16-bit floats of which two in four neighbours are zero; a GPU's tensor cores skip those. For a GPU.
    Sparse24,
}

/// Weights that share a scale and a zero in [`TorchType::Int4`].
pub const INT4_GROUP: u64 = 32;
/// libtorch packs rows of 4-bit weights in sixteens.
const INT4_ROWS: u64 = 16;

/// Weights that share a scale in [`TorchType::Nf4`].
pub const NF4_GROUP: u64 = 32;
/// The values of NormalFloat's sixteen codes, about equally likely for weights of a normal distribution whose largest is 1
/// (Dettmers et al. 2023, arXiv:2305.14314, appendix E).
pub const NF4_LEVELS: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];
/// cuSPARSELt multiplies 16-bit matrices whose sides are multiples of these.
const SPARSE_ROW: u64 = 64;
const SPARSE_ROWS: u64 = 32;

/// What is appended to the name of a matrix, stored in the layout of Q4_0, for the values of its codes.
pub const LEVELS: &str = "_levels";
/// What is appended to the name of a matrix with two zeros in four: a mark without content.
pub const TWO_OF_FOUR: &str = "_two_of_four";
/// What is appended to the name of a matrix of bytes for the scales of its rows.
pub const SCALES: &str = "_scales";
/// The same, where activations are to be rounded, too.
pub const DYNAMIC_SCALES: &str = "_dynamic_scales";

const TABLE: [(TorchType, &str); 8] = [
    (TorchType::F32, "F32"),
    (TorchType::Bf16, "BF16"),
    (TorchType::F16, "F16"),
    (TorchType::Int8, "INT8"),
    (TorchType::Int8Dynamic, "INT8_DYN"),
    (TorchType::Int4, "INT4"),
    (TorchType::Nf4, "NF4"),
    (TorchType::Sparse24, "SPARSE24"),
];

impl TorchType {
    /// Every type, widest first.
    pub const ALL: [TorchType; 8] = [
        Self::F32,
        Self::Bf16,
        Self::F16,
        Self::Sparse24,
        Self::Int8,
        Self::Int8Dynamic,
        Self::Int4,
        Self::Nf4,
    ];

    /// The name in candidates.
    #[must_use]
    pub fn name(self) -> &'static str {
        TABLE.iter().find(|row| row.0 == self).map_or("F32", |row| row.1)
    }

    /// The type that a matrix gets: 4 bits need whole groups, `INT4` rows in sixteens, sparse ones whole tiles; a matrix that rows are
    /// looked up in stays at 8 bits, or at bfloat16.
    #[must_use]
    pub fn fit(self, row: u64, rows: u64, looked_up: bool) -> Self {
        match self {
            Self::Int4 if looked_up || !Self::packs_int4(row, rows) => Self::Int8,
            Self::Nf4 if looked_up || !row.is_multiple_of(NF4_GROUP) => Self::Int8,
            Self::Sparse24 if looked_up || !Self::has_sparse_tiles(row, rows) => Self::Bf16,
            ty => ty,
        }
    }

    fn has_sparse_tiles(row: u64, rows: u64) -> bool {
        row.is_multiple_of(SPARSE_ROW) && rows.is_multiple_of(SPARSE_ROWS)
    }

    /// Whether only a GPU gains by it: a processor has no kernel, and would unpack it into floats.
    #[must_use]
    pub fn is_for_gpu(self) -> bool {
        matches!(self, Self::Nf4 | Self::Sparse24)
    }

    /// Whether libtorch has a kernel for a matrix of this shape in 4 bits.
    #[must_use]
    pub fn packs_int4(row: u64, rows: u64) -> bool {
        row.is_multiple_of(INT4_GROUP) && rows.is_multiple_of(INT4_ROWS)
    }

    /// Bytes of a matrix with its scales, as a device holds it.
    #[must_use]
    pub fn bytes(self, row: u64, rows: u64) -> u64 {
        match self {
            Self::F32 => row * rows * 4,
            Self::Bf16 | Self::F16 => row * rows * 2,
            Self::Int8 | Self::Int8Dynamic => row * rows + rows * 4,
            Self::Int4 => (row / 2 + row / INT4_GROUP * 4) * rows,
            Self::Nf4 => (row / 2 + row / NF4_GROUP * 2) * rows,
            // Half of the values, and two bits for the place of each.
            Self::Sparse24 => (row + row / 8) * rows,
        }
    }
}

impl fmt::Display for TorchType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<TorchType> for String {
    fn from(ty: TorchType) -> Self {
        ty.name().to_owned()
    }
}

impl TryFrom<String> for TorchType {
    type Error = UnknownTorchType;

    fn try_from(name: String) -> Result<Self, UnknownTorchType> {
        name.parse()
    }
}

/// A text that names no such type.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "the torch engine has no weight type `{0}`; it has F32, BF16, F16, INT8, INT8_DYN, INT4, NF4 and SPARSE24"
)]
pub struct UnknownTorchType(String);

impl FromStr for TorchType {
    type Err = UnknownTorchType;

    fn from_str(text: &str) -> Result<Self, UnknownTorchType> {
        TABLE
            .iter()
            .find(|row| row.1.eq_ignore_ascii_case(text))
            .map(|row| row.0)
            .ok_or_else(|| UnknownTorchType(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sizes() {
        for ty in TorchType::ALL {
            assert_eq!(ty.name().parse::<TorchType>().unwrap(), ty);
        }
        assert!("Q4_K".parse::<TorchType>().unwrap_err().to_string().contains("INT8_DYN"));
        assert_eq!(TorchType::Int4.fit(576, 192, false), TorchType::Int4);
        assert_eq!(TorchType::Int4.fit(576, 100, false), TorchType::Int8);
        assert_eq!(TorchType::Int4.fit(576, 192, true), TorchType::Int8);
        assert_eq!(TorchType::Int4.bytes(64, 16), 512 + 128);
        assert_eq!(TorchType::Nf4.bytes(64, 16), 512 + 64);
        assert_eq!(TorchType::Sparse24.bytes(64, 32), 64 * 32 * 9 / 8);
        assert_eq!(TorchType::Nf4.fit(576, 100, false), TorchType::Nf4);
        assert_eq!(TorchType::Nf4.fit(100, 576, false), TorchType::Int8);
        assert_eq!(TorchType::Sparse24.fit(576, 192, false), TorchType::Sparse24);
        assert_eq!(TorchType::Sparse24.fit(576, 192, true), TorchType::Bf16);
        assert_eq!(TorchType::Sparse24.fit(576, 100, false), TorchType::Bf16);
        assert!(NF4_LEVELS.is_sorted());
        assert_eq!(TorchType::Int8.bytes(64, 16), 1024 + 64);
    }
}
