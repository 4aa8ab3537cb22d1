//! An open model file.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::{Fault, GgufError, Header, Metadata, TensorInfo, parse_header};
use autotune_core::os::mmap::map_file;

/// A GGUF file whose header was read and checked. Tensor data is read on demand: small tensors from the memory map, large ones in
/// chunks through positional reads, so that building a candidate does not make the whole source resident.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    file: File,
    map: Mmap,
    header: Header,
    index: HashMap<String, usize>,
}

impl Gguf {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// The file cannot be read, or is no well-formed GGUF file.
    pub fn open(path: &Path) -> Result<Self, GgufError> {
        let read = |e| Fault::Read(e).at(path);
        let file = File::open(path).map_err(read)?;
        let meta = file.metadata().map_err(read)?;
        if meta.is_dir() {
            return Err(Fault::Folder.at(path));
        }
        if meta.len() == 0 {
            return Err(Fault::Empty.at(path));
        }
        let map = map_file(&file).map_err(read)?;
        let header = parse_header(&map, map.len() as u64).map_err(|fault| fault.at(path))?;
        let index = header.tensors.iter().enumerate().map(|(i, t)| (t.name.clone(), i)).collect();
        Ok(Self { path: path.to_owned(), file, map, header, index })
    }

    /// The file's path as given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file, for copies inside the kernel.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The file's length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.map.len() as u64
    }

    /// Whether the file is empty (an open GGUF file never is).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Key/value pairs.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.header.metadata
    }

    /// Tensors in the file's order.
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.header.tensors
    }

    /// A tensor by name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.index.get(name).map(|&i| &self.header.tensors[i])
    }

    /// A tensor by name, or an error that names the file.
    ///
    /// # Errors
    /// There is no such tensor.
    pub fn require(&self, name: &str) -> Result<&TensorInfo, GgufError> {
        self.tensor(name).ok_or_else(|| Fault::NoTensor { tensor: name.to_owned() }.at(&self.path))
    }

    /// A tensor's bytes in the memory map. For small tensors; reading all of a large one makes it resident.
    #[must_use]
    pub fn bytes(&self, tensor: &TensorInfo) -> &[u8] {
        // Ranges were checked against the file's length when the header was read.
        let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        self.map.get(at(tensor.range.start)..at(tensor.range.end)).unwrap_or_default()
    }

    /// Fills `buf` with the tensor's bytes from `offset` (in bytes from the tensor's start).
    ///
    /// # Errors
    /// The file cannot be read, or was cut since it was opened.
    ///
    /// # Panics
    /// Never; a range outside the tensor is an error.
    pub fn read_at(&self, tensor: &TensorInfo, offset: u64, buf: &mut [u8]) -> Result<(), GgufError> {
        let end = offset.checked_add(buf.len() as u64).filter(|end| *end <= tensor.bytes());
        if end.is_none() {
            let found = offset.saturating_add(buf.len() as u64);
            let fault = Fault::TensorBytes { tensor: tensor.name.clone(), found, expected: tensor.bytes() };
            return Err(fault.at(&self.path));
        }
        self.read_exact(tensor.range.start + offset, buf)
    }

    #[cfg(unix)]
    fn read_exact(&self, at: u64, buf: &mut [u8]) -> Result<(), GgufError> {
        use std::os::unix::fs::FileExt;
        self.file.read_exact_at(buf, at).map_err(|e| Fault::Read(e).at(&self.path))
    }

    #[cfg(not(unix))]
    fn read_exact(&self, at: u64, buf: &mut [u8]) -> Result<(), GgufError> {
        let start = usize::try_from(at).unwrap_or(usize::MAX);
        match self.map.get(start..start.saturating_add(buf.len())) {
            Some(bytes) => buf.copy_from_slice(bytes),
            None => return Err(Fault::Read(std::io::ErrorKind::UnexpectedEof.into()).at(&self.path)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_are_no_model() {
        let dir = tempfile::tempdir().unwrap();
        let open = |p: &Path| Gguf::open(p).unwrap_err();
        assert!(matches!(open(dir.path()).fault, Fault::Folder));
        let missing = open(&dir.path().join("none.gguf"));
        assert!(matches!(missing.fault, Fault::Read(_)));
        assert!(missing.to_string().contains("none.gguf"), "{missing}");
        let text = dir.path().join("readme.gguf");
        std::fs::write(&text, "# A model card").unwrap();
        insta::with_settings!({filters => vec![(r"/\S*/", "[dir]/")]}, {
            insta::assert_snapshot!(open(&text), @r##"model file [dir]/readme.gguf: is a text file that starts with "# A model card", not a GGUF model; check the path, or download it again"##);
        });
        std::fs::write(&text, "").unwrap();
        assert!(matches!(open(&text).fault, Fault::Empty));
    }
}
