//! Metadata: typed values under ordered keys.

/// The type of a metadata value, with its number in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
#[allow(missing_docs)]
pub enum MetaType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    Str = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl MetaType {
    /// The type with this number.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        use MetaType as T;
        [
            T::U8,
            T::I8,
            T::U16,
            T::I16,
            T::U32,
            T::I32,
            T::F32,
            T::Bool,
            T::Str,
            T::Array,
            T::U64,
            T::I64,
            T::F64,
        ]
        .into_iter()
        .find(|t| *t as u32 == id)
    }

    /// Bytes of a value of fixed size; `None` for strings and arrays.
    #[must_use]
    pub fn size(self) -> Option<u64> {
        match self {
            MetaType::U8 | MetaType::I8 | MetaType::Bool => Some(1),
            MetaType::U16 | MetaType::I16 => Some(2),
            MetaType::U32 | MetaType::I32 | MetaType::F32 => Some(4),
            MetaType::U64 | MetaType::I64 | MetaType::F64 => Some(8),
            MetaType::Str | MetaType::Array => None,
        }
    }
}

/// An array as stored: vocabularies are large, so elements stay in their encoded form and are copied to artifacts unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaArray {
    elem: MetaType,
    len: u64,
    raw: Vec<u8>,
}

impl MetaArray {
    /// An array from its encoded elements. The caller has checked that `raw` holds `len` elements.
    pub(super) fn from_raw(elem: MetaType, len: u64, raw: Vec<u8>) -> Self {
        Self { elem, len, raw }
    }

    /// An array of unsigned numbers, stored as 32-bit integers, as llama.cpp's converter writes them.
    #[must_use]
    pub fn from_u32(values: &[u32]) -> Self {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self { elem: MetaType::U32, len: values.len() as u64, raw }
    }

    /// An array of bytes.
    #[must_use]
    pub fn from_u8(values: &[u8]) -> Self {
        Self { elem: MetaType::U8, len: values.len() as u64, raw: values.to_vec() }
    }

    /// An array of signed numbers.
    #[must_use]
    pub fn from_i32(values: &[i32]) -> Self {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self { elem: MetaType::I32, len: values.len() as u64, raw }
    }

    /// An array of real numbers.
    #[must_use]
    pub fn from_f32(values: &[f32]) -> Self {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self { elem: MetaType::F32, len: values.len() as u64, raw }
    }

    /// An array of texts.
    #[must_use]
    pub fn from_strings<S: AsRef<str>>(values: &[S]) -> Self {
        let mut raw = Vec::new();
        for value in values {
            let bytes = value.as_ref().as_bytes();
            raw.extend((bytes.len() as u64).to_le_bytes());
            raw.extend(bytes);
        }
        Self { elem: MetaType::Str, len: values.len() as u64, raw }
    }

    /// Type of the elements.
    #[must_use]
    pub fn elem(&self) -> MetaType {
        self.elem
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The encoded elements.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The elements as unsigned numbers; `None` when they are not integers or one is negative.
    #[must_use]
    pub fn to_u64(&self) -> Option<Vec<u64>> {
        let size = usize::try_from(self.elem.size()?).ok()?;
        self.raw.chunks_exact(size).map(|b| scalar(self.elem, b).and_then(|v| v.as_u64())).collect()
    }

    /// The texts of a text array, in order; bytes that are not UTF-8 are replaced.
    pub fn strings(&self) -> impl Iterator<Item = String> + '_ {
        let mut rest: &[u8] = if self.elem == MetaType::Str { &self.raw } else { &[] };
        std::iter::from_fn(move || {
            let (len, tail) = rest.split_first_chunk::<8>()?;
            let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
            let text = tail.get(..len)?;
            rest = &tail[len..];
            Some(String::from_utf8_lossy(text).into_owned())
        })
    }
}

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum MetaValue {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(String),
    Array(MetaArray),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// Decodes a value of fixed size; `None` for other types or a wrong number of bytes.
pub(super) fn scalar(ty: MetaType, bytes: &[u8]) -> Option<MetaValue> {
    Some(match ty {
        MetaType::U8 => MetaValue::U8(u8::from_le_bytes(bytes.try_into().ok()?)),
        MetaType::I8 => MetaValue::I8(i8::from_le_bytes(bytes.try_into().ok()?)),
        MetaType::U16 => MetaValue::U16(u16::from_le_bytes(bytes.try_into().ok()?)),
        MetaType::I16 => MetaValue::I16(i16::from_le_bytes(bytes.try_into().ok()?)),
        MetaType::U32 => MetaValue::U32(u32::from_le_bytes(bytes.try_into().ok()?)),
        MetaType::I32 => MetaValue::I32(i32::from_le_bytes(bytes.try_into().ok()?)),
        MetaType::F32 => MetaValue::F32(f32::from_le_bytes(bytes.try_into().ok()?)),
        MetaType::Bool => MetaValue::Bool(u8::from_le_bytes(bytes.try_into().ok()?) != 0),
        MetaType::U64 => MetaValue::U64(u64::from_le_bytes(bytes.try_into().ok()?)),
        MetaType::I64 => MetaValue::I64(i64::from_le_bytes(bytes.try_into().ok()?)),
        MetaType::F64 => MetaValue::F64(f64::from_le_bytes(bytes.try_into().ok()?)),
        MetaType::Str | MetaType::Array => return None,
    })
}

impl MetaValue {
    /// The type.
    #[must_use]
    pub fn ty(&self) -> MetaType {
        match self {
            MetaValue::U8(_) => MetaType::U8,
            MetaValue::I8(_) => MetaType::I8,
            MetaValue::U16(_) => MetaType::U16,
            MetaValue::I16(_) => MetaType::I16,
            MetaValue::U32(_) => MetaType::U32,
            MetaValue::I32(_) => MetaType::I32,
            MetaValue::F32(_) => MetaType::F32,
            MetaValue::Bool(_) => MetaType::Bool,
            MetaValue::Str(_) => MetaType::Str,
            MetaValue::Array(_) => MetaType::Array,
            MetaValue::U64(_) => MetaType::U64,
            MetaValue::I64(_) => MetaType::I64,
            MetaValue::F64(_) => MetaType::F64,
        }
    }

    /// A whole number that is not negative.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            MetaValue::U8(v) => Some(u64::from(*v)),
            MetaValue::U16(v) => Some(u64::from(*v)),
            MetaValue::U32(v) => Some(u64::from(*v)),
            MetaValue::U64(v) => Some(*v),
            MetaValue::I8(v) => u64::try_from(*v).ok(),
            MetaValue::I16(v) => u64::try_from(*v).ok(),
            MetaValue::I32(v) => u64::try_from(*v).ok(),
            MetaValue::I64(v) => u64::try_from(*v).ok(),
            _ => None,
        }
    }

    /// A real number.
    #[must_use]
    pub fn as_f32(&self) -> Option<f32> {
        match self {
            MetaValue::F32(v) => Some(*v),
            MetaValue::F64(v) => Some(*v as f32),
            _ => None,
        }
    }

    /// A text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            MetaValue::Str(v) => Some(v),
            _ => None,
        }
    }

    /// An array.
    #[must_use]
    pub fn as_array(&self) -> Option<&MetaArray> {
        match self {
            MetaValue::Array(v) => Some(v),
            _ => None,
        }
    }

    /// Appends the value as stored, without its type number.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            MetaValue::U8(v) => out.extend(v.to_le_bytes()),
            MetaValue::I8(v) => out.extend(v.to_le_bytes()),
            MetaValue::U16(v) => out.extend(v.to_le_bytes()),
            MetaValue::I16(v) => out.extend(v.to_le_bytes()),
            MetaValue::U32(v) => out.extend(v.to_le_bytes()),
            MetaValue::I32(v) => out.extend(v.to_le_bytes()),
            MetaValue::F32(v) => out.extend(v.to_le_bytes()),
            MetaValue::Bool(v) => out.push(u8::from(*v)),
            MetaValue::U64(v) => out.extend(v.to_le_bytes()),
            MetaValue::I64(v) => out.extend(v.to_le_bytes()),
            MetaValue::F64(v) => out.extend(v.to_le_bytes()),
            MetaValue::Str(v) => {
                out.extend((v.len() as u64).to_le_bytes());
                out.extend(v.as_bytes());
            }
            MetaValue::Array(v) => {
                out.extend((v.elem as u32).to_le_bytes());
                out.extend(v.len.to_le_bytes());
                out.extend(&v.raw);
            }
        }
    }
}

/// Key/value pairs in the file's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata(Vec<(String, MetaValue)>);

impl Metadata {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&MetaValue> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    /// Sets a key, in its place when it exists, else at the end.
    pub fn set(&mut self, key: &str, value: MetaValue) {
        match self.0.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) {
        self.0.retain(|(k, _)| k != key);
    }

    /// Whether the file says to be one of several parts, as a file does whose parts were joined by a tool that left the keys.
    #[must_use]
    pub fn says_split(&self) -> bool {
        self.get("split.count").and_then(MetaValue::as_u64).is_some_and(|n| n > 1)
    }

    /// Removes the keys of a part: a loader that finds them looks for the other parts.
    pub fn remove_split(&mut self) {
        self.0.retain(|(k, _)| !k.starts_with("split."));
    }

    /// Renames every key by a function, in place.
    pub fn rename_keys(&mut self, rename: impl Fn(&str) -> Option<String>) {
        for (key, _) in &mut self.0 {
            if let Some(new) = rename(key) {
                *key = new;
            }
        }
    }

    /// The pairs.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &MetaValue)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// Number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends a pair whose key is known to be new.
    pub(super) fn push(&mut self, key: String, value: MetaValue) {
        self.0.push((key, value));
    }
}
