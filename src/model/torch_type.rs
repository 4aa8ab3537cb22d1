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
}

/// Weights that share a scale and a zero in [`TorchType::Int4`].
pub const INT4_GROUP: u64 = 32;
/// libtorch packs rows of 4-bit weights in sixteens.
const INT4_ROWS: u64 = 16;

/// What is appended to the name of a matrix of bytes for the scales of its rows.
pub const SCALES: &str = "_scales";
/// The same, where activations are to be rounded, too.
pub const DYNAMIC_SCALES: &str = "_dynamic_scales";

const TABLE: [(TorchType, &str); 6] = [
    (TorchType::F32, "F32"),
    (TorchType::Bf16, "BF16"),
    (TorchType::F16, "F16"),
    (TorchType::Int8, "INT8"),
    (TorchType::Int8Dynamic, "INT8_DYN"),
    (TorchType::Int4, "INT4"),
];

impl TorchType {
    /// Every type, widest first.
    pub const ALL: [TorchType; 6] =
        [Self::F32, Self::Bf16, Self::F16, Self::Int8, Self::Int8Dynamic, Self::Int4];

    /// The name in candidates.
    #[must_use]
    pub fn name(self) -> &'static str {
        TABLE.iter().find(|row| row.0 == self).map_or("F32", |row| row.1)
    }

    /// The type that a matrix gets: 4 bits need whole groups and rows in sixteens, and a matrix that rows are looked up in stays at
    /// 8 bits.
    #[must_use]
    pub fn fit(self, row: u64, rows: u64, looked_up: bool) -> Self {
        if self == Self::Int4 && (looked_up || !Self::packs_int4(row, rows)) { Self::Int8 } else { self }
    }

    /// Whether libtorch has a kernel for a matrix of this shape in 4 bits.
    #[must_use]
    pub fn packs_int4(row: u64, rows: u64) -> bool {
        row.is_multiple_of(INT4_GROUP) && rows.is_multiple_of(INT4_ROWS)
    }

    /// Bytes of a matrix with its scales.
    #[must_use]
    pub fn bytes(self, row: u64, rows: u64) -> u64 {
        match self {
            Self::F32 => row * rows * 4,
            Self::Bf16 | Self::F16 => row * rows * 2,
            Self::Int8 | Self::Int8Dynamic => row * rows + rows * 4,
            Self::Int4 => (row / 2 + row / INT4_GROUP * 4) * rows,
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
#[error("the torch engine has no weight type `{0}`; it has F32, BF16, F16, INT8, INT8_DYN and INT4")]
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
        assert_eq!(TorchType::Int8.bytes(64, 16), 1024 + 64);
    }
}
