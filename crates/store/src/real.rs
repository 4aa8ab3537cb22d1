//! Real numbers that survive SQLite, which has no NaN: a NaN is stored as the text `nan`, a missing value as NULL, infinities as they are.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

/// A real number or none, for columns of type `ANY`.
pub(super) struct Real(pub Option<f64>);

impl ToSql for Real {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            None => ToSqlOutput::Borrowed(ValueRef::Null),
            Some(x) if x.is_nan() => ToSqlOutput::Borrowed(ValueRef::Text(b"nan")),
            Some(x) => ToSqlOutput::Borrowed(ValueRef::Real(x)),
        })
    }
}

impl FromSql for Real {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Null => Ok(Self(None)),
            ValueRef::Real(x) => Ok(Self(Some(x))),
            ValueRef::Text(b"nan") => Ok(Self(Some(f64::NAN))),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

/// Samples as little-endian bytes, eight each.
pub(super) fn pack(samples: &[f64]) -> Option<Vec<u8>> {
    (!samples.is_empty()).then(|| samples.iter().flat_map(|x| x.to_le_bytes()).collect())
}

/// The samples of a blob; bytes behind the last whole number are ignored.
pub(super) fn unpack(bytes: &[u8]) -> Vec<f64> {
    bytes.as_chunks::<8>().0.iter().map(|chunk| f64::from_le_bytes(*chunk)).collect()
}
