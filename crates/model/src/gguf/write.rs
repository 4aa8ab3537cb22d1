//! The streaming writer: header first, then each tensor's bytes in order, into a temporary file that takes its name when complete.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::disk::reserve;
use super::value::{MetaValue, Metadata};
use super::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, Fault, GgufError, MAGIC};
use crate::GgmlType;
use autotune_core::atomic_file::{publish, temp_beside};

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorDecl {
    /// Name, at most 63 bytes.
    pub name: String,
    /// Elements per dimension, the row length first.
    pub dims: Vec<u64>,
    /// Storage type; rows must be whole blocks.
    pub ty: GgmlType,
}

impl TensorDecl {
    /// Size in bytes; `None` when rows are no whole blocks or the size overflows.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        let rows = self.dims.iter().skip(1).try_fold(1u64, |n, d| n.checked_mul(*d))?;
        self.ty.row_bytes(self.dims.first().copied()?)?.checked_mul(rows)
    }
}

/// `n` rounded up to a multiple of `alignment` (a power of two), saturating.
#[must_use]
pub fn padded(n: u64, alignment: u64) -> u64 {
    n.checked_next_multiple_of(alignment).unwrap_or(u64::MAX)
}

/// The whole header (version 3) with the padding before the data. Tensors that cannot be sized count as empty; the writer refuses them.
#[must_use]
pub fn header_bytes(metadata: &Metadata, tensors: &[TensorDecl], alignment: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 << 16);
    out.extend(MAGIC);
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    let text = |out: &mut Vec<u8>, s: &str| {
        out.extend((s.len() as u64).to_le_bytes());
        out.extend(s.as_bytes());
    };
    for (key, value) in metadata.iter() {
        text(&mut out, key);
        out.extend((value.ty() as u32).to_le_bytes());
        value.encode(&mut out);
    }
    let mut offset = 0u64;
    for t in tensors {
        text(&mut out, &t.name);
        out.extend((t.dims.len() as u32).to_le_bytes());
        for d in &t.dims {
            out.extend(d.to_le_bytes());
        }
        out.extend(t.ty.id().to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset = offset.saturating_add(padded(t.bytes().unwrap_or(0), alignment));
    }
    let end = padded(out.len() as u64, alignment);
    out.resize(usize::try_from(end).unwrap_or(out.len()), 0);
    out
}

/// Writes a GGUF file tensor by tensor. Dropped before [`finish`](Self::finish), it leaves nothing behind.
#[derive(Debug)]
pub struct GgufWriter {
    path: PathBuf,
    temp: PathBuf,
    file: File,
    /// Name and size of each tensor, in order.
    tensors: Vec<(String, u64)>,
    current: usize,
    /// Bytes of the current tensor that were written.
    written: u64,
    alignment: u64,
    total: u64,
}

impl GgufWriter {
    /// Begins a file: reserves its space where the file system can, and writes the header. The alignment is the one in the metadata, else 32.
    ///
    /// # Errors
    /// A tensor whose rows are no whole blocks, or a file that cannot be written.
    pub fn create(path: &Path, metadata: &Metadata, tensors: &[TensorDecl]) -> Result<Self, GgufError> {
        let alignment =
            metadata.get(ALIGNMENT_KEY).and_then(MetaValue::as_u64).unwrap_or(DEFAULT_ALIGNMENT).max(1);
        let mut sizes = Vec::with_capacity(tensors.len());
        for t in tensors {
            let Some(bytes) = t.bytes() else {
                let fault = Fault::Block {
                    tensor: t.name.clone(),
                    row: t.dims.first().copied().unwrap_or(0),
                    block: t.ty.block_len(),
                    ty: t.ty.name(),
                };
                return Err(fault.at(path));
            };
            sizes.push((t.name.clone(), bytes));
        }
        let header = header_bytes(metadata, tensors, alignment);
        let total =
            sizes.iter().fold(header.len() as u64, |n, (_, b)| n.saturating_add(padded(*b, alignment)));
        let temp = temp_beside(path);
        let file = File::create(&temp).map_err(|e| Fault::Write(e).at(path))?;
        let mut writer = Self {
            path: path.to_owned(),
            temp,
            file,
            tensors: sizes,
            current: 0,
            written: 0,
            alignment,
            total,
        };
        reserve(&writer.file, total).map_err(|e| match e.kind() {
            io::ErrorKind::StorageFull => Fault::NoSpace { bytes: total }.at(path),
            _ => writer.fault(e),
        })?;
        writer.file.write_all(&header).map_err(|e| writer.fault(e))?;
        Ok(writer)
    }

    /// The size of the finished file in bytes.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.total
    }

    /// Appends bytes to the current tensor; the next tensor begins when it is full.
    ///
    /// # Errors
    /// More bytes than the tensor has, or a file that cannot be written.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), GgufError> {
        self.check_room(bytes.len() as u64)?;
        self.file.write_all(bytes).map_err(|e| self.fault(e))?;
        self.advance(bytes.len() as u64)
    }

    /// Appends `len` bytes of another file from `offset`, inside the kernel where it can (`copy_file_range`).
    ///
    /// # Errors
    /// More bytes than the tensor has, a source that ends early, or files that cannot be read or written.
    pub fn copy_from(&mut self, source: &mut File, offset: u64, len: u64) -> Result<(), GgufError> {
        self.check_room(len)?;
        source.seek(SeekFrom::Start(offset)).map_err(|e| self.fault(e))?;
        let copied = io::copy(&mut source.take(len), &mut self.file).map_err(|e| self.fault(e))?;
        if copied != len {
            return Err(self.fault(io::ErrorKind::UnexpectedEof.into()));
        }
        self.advance(len)
    }

    fn check_room(&self, n: u64) -> Result<(), GgufError> {
        let Some((name, size)) = self.tensors.get(self.current) else {
            let fault = Fault::TensorBytes { tensor: "(after the last)".into(), found: n, expected: 0 };
            return Err(fault.at(&self.path));
        };
        let found = self.written.saturating_add(n);
        if found > *size {
            return Err(Fault::TensorBytes { tensor: name.clone(), found, expected: *size }.at(&self.path));
        }
        Ok(())
    }

    fn advance(&mut self, n: u64) -> Result<(), GgufError> {
        self.written += n;
        let size = self.tensors[self.current].1;
        if self.written == size {
            let pad = usize::try_from(padded(size, self.alignment) - size).unwrap_or(0);
            self.file.write_all(&vec![0; pad]).map_err(|e| self.fault(e))?;
            self.current += 1;
            self.written = 0;
        }
        Ok(())
    }

    /// Checks that every tensor is complete and gives the file its name; with `sync`, waits until it is on the disk. Returns its size.
    ///
    /// # Errors
    /// A tensor is missing bytes, or the file cannot be written or renamed.
    pub fn finish(self, sync: bool) -> Result<u64, GgufError> {
        if let Some((name, size)) = self.tensors.get(self.current) {
            let fault = Fault::TensorBytes { tensor: name.clone(), found: self.written, expected: *size };
            return Err(fault.at(&self.path));
        }
        let named = if sync { publish(&self.temp, &self.path) } else { fs::rename(&self.temp, &self.path) };
        named.map_err(|e| self.fault(e))?;
        Ok(self.total)
    }

    fn fault(&self, error: io::Error) -> GgufError {
        Fault::Write(error).at(&self.path)
    }
}

impl Drop for GgufWriter {
    fn drop(&mut self) {
        // After `finish` the temporary name is gone and this fails silently, as it should.
        let _ = fs::remove_file(&self.temp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::Gguf;

    fn decls() -> Vec<TensorDecl> {
        vec![
            TensorDecl { name: "a".into(), dims: vec![3], ty: GgmlType::F32 },
            TensorDecl { name: "b".into(), dims: vec![32, 2], ty: GgmlType::Q8_0 },
        ]
    }

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        let mut metadata = Metadata::default();
        metadata.set("k", MetaValue::F64(0.25));
        let mut w = GgufWriter::create(&path, &metadata, &decls()).unwrap();
        w.write(&[1; 12]).unwrap();
        w.write(&[2; 30]).unwrap();
        let other = dir.path().join("other");
        fs::write(&other, [3u8; 50]).unwrap();
        w.copy_from(&mut File::open(&other).unwrap(), 12, 38).unwrap();
        assert!(!path.exists());
        let total = w.finish(true).unwrap();
        let g = Gguf::open(&path).unwrap();
        assert_eq!((g.len(), g.metadata()), (total, &metadata));
        assert_eq!(g.bytes(g.tensor("a").unwrap()), [1; 12]);
        let mut b = [0; 68];
        g.read_at(g.require("b").unwrap(), 0, &mut b).unwrap();
        assert_eq!(b[..30], [2; 30]);
        assert_eq!(b[30..], [3; 38]);
        assert!(g.read_at(g.require("b").unwrap(), 60, &mut [0; 9]).is_err());
        assert!(g.require("c").is_err());
    }

    #[test]
    fn unfinished_files_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.gguf");
        let mut w = GgufWriter::create(&path, &Metadata::default(), &decls()).unwrap();
        w.write(&[1; 12]).unwrap();
        assert!(w.write(&[1; 69]).unwrap_err().to_string().contains("69 bytes for tensor `b` of 68"));
        assert!(w.finish(false).unwrap_err().to_string().contains("0 bytes for tensor `b` of 68"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_row_of_broken_blocks_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let decl = TensorDecl { name: "a".into(), dims: vec![100, 2], ty: GgmlType::Q4_K };
        let e = GgufWriter::create(&dir.path().join("m"), &Metadata::default(), &[decl]).unwrap_err();
        assert!(matches!(e.fault, Fault::Block { row: 100, block: 256, .. }));
    }
}
