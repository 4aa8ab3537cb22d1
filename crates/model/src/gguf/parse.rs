//! The header of a GGUF file, read from bytes that nobody vouches for.
//!
//! Every length is checked against what is left of the file before anything is allocated, every sum and product for overflow. A
//! header that parses describes tensors that lie inside the file, aligned, without overlap, in whole blocks.

use std::collections::HashSet;
use std::ops::Range;

use super::value::{MetaArray, MetaType, MetaValue, Metadata, scalar};
use super::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, Fault, MAGIC, MAX_NAME, padded};
use crate::GgmlType;

/// Most key/value pairs and most tensors of a header; real models stay two orders below.
const MAX_PAIRS: u64 = 1 << 16;
const MAX_TENSORS: u64 = 1 << 18;
/// Longest key, as in the specification.
const MAX_KEY: u64 = (1 << 16) - 1;
/// Largest alignment in bytes: it decides how much padding is written.
const MAX_ALIGNMENT: u32 = 1 << 20;

/// What a header says.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Format version, 2 or 3.
    pub version: u32,
    /// Key/value pairs.
    pub metadata: Metadata,
    /// Tensors in the file's order.
    pub tensors: Vec<TensorInfo>,
    /// Alignment of tensor data in bytes.
    pub alignment: u64,
    /// Where tensor data begins, in bytes from the start of the file.
    pub data_start: u64,
}

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name, at most 63 bytes.
    pub name: String,
    /// Elements per dimension, the row length first.
    pub dims: Vec<u64>,
    /// Storage type.
    pub ty: GgmlType,
    /// Place in the file, in bytes from its start.
    pub range: Range<u64>,
}

impl TensorInfo {
    /// Row length in elements.
    #[must_use]
    pub fn n_per_row(&self) -> u64 {
        self.dims.first().copied().unwrap_or(1)
    }

    /// Number of rows over all further dimensions.
    #[must_use]
    pub fn n_rows(&self) -> u64 {
        self.dims.iter().skip(1).product()
    }

    /// Number of elements.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.dims.iter().product()
    }

    /// Size in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// Reads the header at the start of `bytes`, the content of a whole file of `file_len` bytes (which may be more than is passed, as
/// long as the header is complete).
///
/// # Errors
/// Anything that is not a well-formed GGUF header whose tensors lie in the file.
pub fn parse_header(bytes: &[u8], file_len: u64) -> Result<Header, Fault> {
    check_magic(bytes, file_len)?;
    let mut c = Cursor { bytes, at: MAGIC.len(), file_len };
    let version = c.u32("the version")?;
    match version {
        2 | 3 => {}
        v if v & 0xffff == 0 && v != 0 => return Err(Fault::BigEndian),
        found => return Err(Fault::Version { found }),
    }
    let n_tensors = c.count("tensors", MAX_TENSORS)?;
    let n_pairs = c.count("key/value pairs", MAX_PAIRS)?;
    let metadata = read_metadata(&mut c, n_pairs)?;
    let alignment = alignment_of(&metadata)?;
    let mut tensors = Vec::new();
    let mut names = HashSet::new();
    for _ in 0..n_tensors {
        let tensor = read_tensor(&mut c, alignment)?;
        if !names.insert(tensor.name.clone()) {
            return Err(Fault::Duplicate { what: "tensor", name: tensor.name });
        }
        tensors.push(tensor);
    }
    let data_start = padded(c.at as u64, alignment);
    place(&mut tensors, data_start, file_len)?;
    let end = tensors.iter().map(|t| t.range.end).max().unwrap_or(data_start);
    refuse_part(&metadata, n_tensors, [end, padded(end, alignment)].map(|at| bytes_at(bytes, at)))?;
    Ok(Header { version, metadata, tensors, alignment, data_start })
}

/// The bytes from a place on.
fn bytes_at(bytes: &[u8], at: u64) -> &[u8] {
    usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default()
}

/// Refuses one part of a split model; `rests` is what follows its tensors. A file that holds all of the tensors may say so still: tools
/// that join parts leave the keys.
fn refuse_part(metadata: &Metadata, tensors: u64, rests: [&[u8]; 2]) -> Result<(), Fault> {
    let number = |key: &str| metadata.get(key).and_then(MetaValue::as_u64);
    let Some(parts) = number("split.count").filter(|n| *n > 1) else { return Ok(()) };
    let all = number("split.tensors.count");
    if all.is_some_and(|all| all == tensors) {
        return Ok(());
    }
    // Joined with `cat`, the next part's header follows.
    if rests.into_iter().any(is_header) {
        return Err(Fault::Concatenated { parts });
    }
    Err(Fault::Split { part: number("split.no").map_or(1, |n| n.saturating_add(1)), parts })
}

/// Whether a header begins here: the magic and a version that is read.
fn is_header(bytes: &[u8]) -> bool {
    let rest = bytes.strip_prefix(&MAGIC);
    rest.is_some_and(|r| r.starts_with(&2u32.to_le_bytes()) || r.starts_with(&3u32.to_le_bytes()))
}

/// Tells other files apart by their first bytes, so that the message can say what the file is.
fn check_magic(bytes: &[u8], file_len: u64) -> Result<(), Fault> {
    if file_len == 0 {
        return Err(Fault::Empty);
    }
    if bytes.starts_with(&MAGIC) {
        return Ok(());
    }
    let head = &bytes[..bytes.len().min(512)];
    if head.starts_with(b"version https://git-lfs.github.com/spec/") {
        let size = String::from_utf8_lossy(head)
            .lines()
            .find_map(|l| l.strip_prefix("size ").and_then(|n| n.trim().parse().ok()));
        return Err(Fault::LfsPointer { size });
    }
    let others: [(&[u8], &'static str); 5] = [
        (b"PK\x03\x04", "a zip archive (a PyTorch checkpoint?)"),
        (b"lmgg", "the old GGML format"),
        (b"tjgg", "the old GGJT format"),
        (b"fmgg", "the old GGMF format"),
        (b"\x1f\x8b", "a gzip archive"),
    ];
    if let Some((_, found)) = others.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(Fault::OtherFormat { found });
    }
    if head.len() > 9 && head[8] == b'{' && head[4..8] == [0; 4] {
        return Err(Fault::OtherFormat { found: "a safetensors file" });
    }
    let is_text = |b: &u8| matches!(b, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..);
    if head.iter().all(is_text) {
        let start: String = String::from_utf8_lossy(head).chars().take(24).collect();
        return Err(Fault::Text { start });
    }
    Err(Fault::Magic { found: head[..head.len().min(4)].to_vec() })
}

fn read_metadata(c: &mut Cursor<'_>, n: u64) -> Result<Metadata, Fault> {
    let mut metadata = Metadata::default();
    let mut keys = HashSet::new();
    for _ in 0..n {
        let at = c.at as u64;
        let key = c.string("a key", MAX_KEY)?;
        if key.is_empty() {
            return Err(Fault::NoName { what: "key", at });
        }
        if !keys.insert(key.clone()) {
            return Err(Fault::Duplicate { what: "key", name: key });
        }
        let value = read_value(c, &key)?;
        metadata.push(key, value);
    }
    Ok(metadata)
}

fn read_value(c: &mut Cursor<'_>, key: &str) -> Result<MetaValue, Fault> {
    let ty = c.value_type(key)?;
    match ty {
        MetaType::Str => Ok(MetaValue::Str(c.string("a text", u64::MAX)?)),
        MetaType::Array => {
            let elem = c.value_type(key)?;
            let len = c.u64("an array length")?;
            let start = c.at;
            match elem {
                MetaType::Array => return Err(Fault::ValueType { key: key.to_owned(), found: elem as u32 }),
                MetaType::Str => {
                    for _ in 0..len {
                        let n = c.u64("a text length")?;
                        c.take(n, "a text of an array")?;
                    }
                }
                _ => {
                    let size = elem.size().unwrap_or(1);
                    let total = len.checked_mul(size).ok_or(Fault::Limit {
                        what: "array elements",
                        found: len,
                        limit: c.file_len,
                    })?;
                    c.take(total, "an array")?;
                }
            }
            Ok(MetaValue::Array(MetaArray::from_raw(elem, len, c.bytes[start..c.at].to_vec())))
        }
        _ => {
            let bytes = c.take(ty.size().unwrap_or(1), "a value")?;
            scalar(ty, bytes).ok_or_else(|| Fault::ValueType { key: key.to_owned(), found: ty as u32 })
        }
    }
}

fn alignment_of(metadata: &Metadata) -> Result<u64, Fault> {
    match metadata.get(ALIGNMENT_KEY) {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(MetaValue::U32(n)) if n.is_power_of_two() && *n <= MAX_ALIGNMENT => Ok(u64::from(*n)),
        Some(MetaValue::U32(n)) => Err(Fault::Alignment { found: n.to_string() }),
        Some(other) => Err(Fault::Alignment { found: format!("of type {:?}", other.ty()) }),
    }
}

/// Reads a tensor info; its range still counts from the start of the data.
fn read_tensor(c: &mut Cursor<'_>, alignment: u64) -> Result<TensorInfo, Fault> {
    let at = c.at as u64;
    let name = c.string("a tensor name", MAX_NAME as u64)?;
    if name.is_empty() {
        return Err(Fault::NoName { what: "tensor", at });
    }
    let n_dims = c.u32("a number of dimensions")?;
    if !(1..=4).contains(&n_dims) {
        return Err(Fault::Dimensions { tensor: name, found: n_dims });
    }
    let dims = (0..n_dims).map(|_| c.u64("a dimension")).collect::<Result<Vec<_>, _>>()?;
    let id = c.u32("a tensor type")?;
    let offset = c.u64("a tensor offset")?;
    let Some(ty) = GgmlType::from_id(id) else { return Err(Fault::TensorType { tensor: name, id }) };
    let elements = dims.iter().try_fold(1u64, |n, d| n.checked_mul(*d)).filter(|n| i64::try_from(*n).is_ok());
    if elements.is_none() || dims.contains(&0) {
        return Err(Fault::Shape { tensor: name, dims });
    }
    let row = dims[0];
    if !row.is_multiple_of(ty.block_len()) {
        return Err(Fault::Block { tensor: name, row, block: ty.block_len(), ty: ty.name() });
    }
    let rows: u64 = dims.iter().skip(1).product();
    let end = ty
        .row_bytes(row)
        .and_then(|b| b.checked_mul(rows))
        .and_then(|bytes| offset.checked_add(bytes))
        .filter(|end| i64::try_from(*end).is_ok());
    let Some(end) = end else { return Err(Fault::Shape { tensor: name, dims }) };
    if !offset.is_multiple_of(alignment) {
        return Err(Fault::Misaligned { tensor: name, offset, alignment });
    }
    Ok(TensorInfo { name, dims, ty, range: offset..end })
}

/// Moves the ranges to the file's start and checks that they lie in the file, apart from each other.
fn place(tensors: &mut [TensorInfo], data_start: u64, file_len: u64) -> Result<(), Fault> {
    for t in tensors.iter_mut() {
        let moved = t.range.start.checked_add(data_start).zip(t.range.end.checked_add(data_start));
        let (start, end) =
            moved.ok_or_else(|| Fault::Shape { tensor: t.name.clone(), dims: t.dims.clone() })?;
        if end > file_len {
            return Err(Fault::OutOfFile { tensor: t.name.clone(), start, end, len: file_len });
        }
        t.range = start..end;
    }
    let mut order: Vec<&TensorInfo> = tensors.iter().collect();
    order.sort_by_key(|t| t.range.start);
    for pair in order.windows(2) {
        if pair[1].range.start < pair[0].range.end {
            return Err(Fault::Overlap { first: pair[0].name.clone(), second: pair[1].name.clone() });
        }
    }
    Ok(())
}

/// A position in the bytes; reads never pass their end.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    file_len: u64,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n: u64, what: &'static str) -> Result<&'a [u8], Fault> {
        let truncated = Fault::Truncated { what, at: self.at as u64, need: n, len: self.file_len };
        let Ok(len) = usize::try_from(n) else { return Err(truncated) };
        let Some(end) = self.at.checked_add(len) else { return Err(truncated) };
        let Some(slice) = self.bytes.get(self.at..end) else { return Err(truncated) };
        self.at = end;
        Ok(slice)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, Fault> {
        let bytes = self.take(4, what)?;
        Ok(bytes.iter().rev().fold(0, |n, b| n << 8 | u32::from(*b)))
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, Fault> {
        let bytes = self.take(8, what)?;
        Ok(bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    fn count(&mut self, what: &'static str, limit: u64) -> Result<u64, Fault> {
        let found = self.u64(what)?;
        if found > limit { Err(Fault::Limit { what, found, limit }) } else { Ok(found) }
    }

    fn string(&mut self, what: &'static str, limit: u64) -> Result<String, Fault> {
        let len = self.u64(what)?;
        let at = self.at as u64;
        let bytes = self.take(len, what)?;
        if len > limit {
            return Err(Fault::Limit { what: "bytes in a name", found: len, limit });
        }
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Fault::Utf8 { what, at })
    }

    fn value_type(&mut self, key: &str) -> Result<MetaType, Fault> {
        let found = self.u32("a value type")?;
        MetaType::from_id(found).ok_or_else(|| Fault::ValueType { key: key.to_owned(), found })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{TensorDecl, header_bytes};
    use super::*;

    /// A small file: two tensors and a few keys.
    fn sample() -> Vec<u8> {
        let mut metadata = Metadata::default();
        metadata.set("general.architecture", MetaValue::Str("llama".into()));
        metadata.set("llama.block_count", MetaValue::U32(2));
        metadata.set("tokens", MetaValue::Array(MetaArray::from_strings(&["a", "é", ""])));
        metadata.set("scores", MetaValue::Array(MetaArray::from_f32(&[0.5, -1.0])));
        let decls = [
            TensorDecl { name: "a.weight".into(), dims: vec![64, 3], ty: GgmlType::Q8_0 },
            TensorDecl { name: "b.weight".into(), dims: vec![5], ty: GgmlType::F32 },
        ];
        let mut bytes = header_bytes(&metadata, &decls, 32);
        bytes.resize(bytes.len() + 224 + 20, 7);
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<Header, Fault> {
        parse_header(bytes, bytes.len() as u64)
    }

    #[test]
    fn a_sample_is_read() {
        let bytes = sample();
        let h = parse(&bytes).unwrap();
        assert_eq!(h.version, 3);
        assert_eq!(h.metadata.get("llama.block_count").and_then(MetaValue::as_u64), Some(2));
        let tokens: Vec<_> =
            h.metadata.get("tokens").and_then(MetaValue::as_array).unwrap().strings().collect();
        assert_eq!(tokens, ["a", "é", ""]);
        assert_eq!(h.tensors[0].bytes(), 204);
        assert_eq!(h.tensors[1].range.end, bytes.len() as u64);
    }

    #[test]
    fn every_cut_is_an_error() {
        let bytes = sample();
        for n in 0..bytes.len() {
            assert!(parse(&bytes[..n]).is_err(), "cut at {n}");
        }
    }

    #[test]
    fn foreign_files_are_named() {
        let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 98362432\n";
        assert!(parse(lfs).unwrap_err().to_string().contains("Git LFS pointer (to a file of 98.4 MB)"));
        assert!(matches!(parse(b"hello, I am a text"), Err(Fault::Text { .. })));
        assert!(matches!(parse(b"PK\x03\x04aaaa"), Err(Fault::OtherFormat { .. })));
        assert!(matches!(parse(b"\x10\0\0\0\0\0\0\0{\"a\":1}"), Err(Fault::OtherFormat { .. })));
        assert!(matches!(parse(b""), Err(Fault::Empty)));
        assert!(matches!(parse(b"\x7fELF"), Err(Fault::Magic { .. })));
        assert!(matches!(parse(b"GGUF\x01\0\0\0"), Err(Fault::Version { found: 1 })));
        assert!(matches!(parse(b"GGUF\0\0\0\x03"), Err(Fault::BigEndian)));
    }

    /// Replaces the one occurrence of `old` by `new` of the same length.
    fn lie(old: &[u8], new: &[u8]) -> Fault {
        let mut bytes = sample();
        let at: Vec<_> = (0..bytes.len()).filter(|&i| bytes[i..].starts_with(old)).collect();
        assert_eq!(at.len(), 1, "{old:?} is not unique");
        bytes[at[0]..at[0] + new.len()].copy_from_slice(new);
        parse(&bytes).unwrap_err()
    }

    #[test]
    fn lies_are_found() {
        assert!(matches!(lie(b"b.weight", b"a.weight"), Fault::Duplicate { what: "tensor", .. }));
        assert!(matches!(lie(b"llama.block_count", b"\xff\xffama.block_count"), Fault::Utf8 { .. }));
        let mut name = b"a.weight\x02\0\0\0".to_vec();
        assert!(matches!(lie(&name, b"a.weight\x05\0\0\0"), Fault::Dimensions { found: 5, .. }));
        name.extend(64u64.to_le_bytes());
        let with = |dim: u64| [b"a.weight\x02\0\0\0".as_slice(), &dim.to_le_bytes()].concat();
        assert!(matches!(lie(&name, &with(u64::MAX)), Fault::Shape { .. }));
        assert!(matches!(lie(&name, &with(0)), Fault::Shape { .. }));
        assert!(matches!(lie(&name, &with(65)), Fault::Block { row: 65, .. }));
        assert!(matches!(lie(&name, &with(1 << 40)), Fault::OutOfFile { .. }));
    }

    #[test]
    fn tensors_on_top_of_each_other_are_refused() {
        let mut bytes = sample();
        let old = [b"a.weight\x02\0\0\0".as_slice(), &64u64.to_le_bytes()].concat();
        let at = bytes.windows(old.len()).position(|w| w == old).unwrap() + 12;
        bytes[at..at + 8].copy_from_slice(&128u64.to_le_bytes());
        assert!(matches!(parse_header(&bytes, 1 << 20), Err(Fault::Overlap { .. })));
    }

    #[test]
    fn counts_are_limited_before_memory_is_taken() {
        let mut bytes = sample();
        bytes[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(parse(&bytes), Err(Fault::Limit { what: "tensors", .. })));
        let mut bytes = sample();
        bytes[16..24].copy_from_slice(&(1u64 << 40).to_le_bytes());
        assert!(matches!(parse(&bytes), Err(Fault::Limit { what: "key/value pairs", .. })));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), framed: bool) {
            if framed {
                let head = [b"GGUF".as_slice(), &3u32.to_le_bytes(), &1u64.to_le_bytes(), &1u64.to_le_bytes()].concat();
                bytes.splice(0..0, head);
            }
            let _ = parse(&bytes);
        }

        #[test]
        fn damaged_files_never_panic(changes in proptest::collection::vec((0usize..600, any::<u8>()), 1..8)) {
            let mut bytes = sample();
            for (at, value) in changes {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            if let Ok(header) = parse(&bytes) {
                for t in &header.tensors {
                    prop_assert!(t.range.end <= bytes.len() as u64);
                }
            }
        }

        #[test]
        fn headers_round_trip(
            ints in proptest::collection::vec(any::<i64>(), 0..5),
            texts in proptest::collection::vec(".{0,12}", 0..5),
            rows in proptest::collection::vec(1u64..9, 1..5),
        ) {
            let mut metadata = Metadata::default();
            for (i, v) in ints.iter().enumerate() {
                metadata.set(&format!("int.{i}"), MetaValue::I64(*v));
            }
            metadata.set("texts", MetaValue::Array(MetaArray::from_strings(&texts)));
            let decls: Vec<_> = rows.iter().enumerate().map(|(i, r)| TensorDecl {
                name: format!("t{i}"), dims: vec![32, *r], ty: GgmlType::Q4_0,
            }).collect();
            let mut bytes = header_bytes(&metadata, &decls, 32);
            let data: u64 = rows.iter().map(|r| padded(18 * r, 32)).sum();
            bytes.resize(bytes.len() + data as usize, 0);
            let header = parse(&bytes).unwrap();
            prop_assert_eq!(&header.metadata, &metadata);
            prop_assert_eq!(header_bytes(&header.metadata, &decls, 32), &bytes[..header.data_start as usize]);
            for (t, d) in header.tensors.iter().zip(&decls) {
                prop_assert_eq!((&t.name, &t.dims, t.ty), (&d.name, &d.dims, d.ty));
            }
        }
    }
}
