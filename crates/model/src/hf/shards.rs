//! The tensors of one or many safetensors files, memory-mapped.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};

use super::{HfError, HfFault, gguf_name, is_computed};
use crate::GgmlType;
use autotune_core::os::mmap::map_file;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const LFS: &[u8] = b"version https://git-lfs";

/// A tensor's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Elements per dimension, the row length first, as in a GGUF file.
    pub dims: Vec<u64>,
    /// F32, F16 or BF16.
    pub ty: GgmlType,
    shard: usize,
    start: usize,
    end: usize,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    file: File,
    map: Mmap,
}

/// The tensors of a folder by name.
#[derive(Debug)]
pub struct Shards {
    shards: Vec<Shard>,
    tensors: BTreeMap<String, Placed>,
    unknown: Vec<String>,
}

impl Shards {
    /// Maps every file of a folder and reads its header.
    ///
    /// # Errors
    /// A file is missing, is no safetensors file, or holds a weight that is no float; the index names a tensor that its file does not
    /// hold; a tensor is in two files.
    pub fn open(folder: &Path) -> Result<Self, HfError> {
        let mut all = Self { shards: Vec::new(), tensors: BTreeMap::new(), unknown: Vec::new() };
        for (name, tensors) in files(folder)? {
            let path = folder.join(&name);
            let file = File::open(&path).map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound if !tensors.is_empty() => {
                    HfFault::NoShard { index: INDEX.to_owned(), tensors: tensors.len() }.at(&path)
                }
                _ => HfFault::Read(e).at(&path),
            })?;
            let map = map_file(&file).map_err(|e| HfFault::Read(e).at(&path))?;
            if map.starts_with(LFS) {
                return Err(HfFault::LfsPointer.at(&path));
            }
            all.add(Shard { path, file, map }, &tensors)?;
        }
        Ok(all)
    }

    /// Takes in a file whose tensors the index names as `expected` (nothing without an index).
    fn add(&mut self, shard: Shard, expected: &[String]) -> Result<(), HfError> {
        let fail = |fault: HfFault| fault.at(&shard.path);
        let read = SafeTensors::deserialize(&shard.map).map_err(|e| fail(HfFault::Format(e.to_string())))?;
        let begin = shard.map.as_ptr() as usize;
        for tensor in expected {
            if read.tensor(tensor).is_err() {
                let fault = HfFault::NotInShard { index: INDEX.to_owned(), tensor: tensor.clone() };
                return Err(fail(fault));
            }
        }
        for (name, view) in read.iter() {
            if let Some(other) = self.tensors.get(name) {
                let other = self.shards[other.shard].path.clone();
                return Err(fail(HfFault::Twice { tensor: name.to_owned(), other }));
            }
            if gguf_name(name).is_none() {
                self.unknown.extend((!is_computed(name)).then(|| name.to_owned()));
                continue;
            }
            let ty = match view.dtype() {
                Dtype::F32 => GgmlType::F32,
                Dtype::F16 => GgmlType::F16,
                Dtype::BF16 => GgmlType::Bf16,
                other => {
                    return Err(fail(HfFault::Dtype {
                        tensor: name.to_owned(),
                        found: format!("{other:?}"),
                    }));
                }
            };
            let start = view.data().as_ptr() as usize - begin;
            let dims = view.shape().iter().rev().map(|d| *d as u64).collect();
            let placed = Placed { dims, ty, shard: self.shards.len(), start, end: start + view.data().len() };
            self.tensors.insert(name.to_owned(), placed);
        }
        self.shards.push(shard);
        Ok(())
    }

    /// A tensor by its own name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Placed> {
        self.tensors.get(name)
    }

    /// Every tensor, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Placed)> {
        self.tensors.iter().map(|(name, placed)| (name.as_str(), placed))
    }

    /// Tensors that the llama family has no name for; buffers that are computed anew left out.
    #[must_use]
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// A tensor's bytes in the memory map.
    #[must_use]
    pub fn bytes(&self, tensor: &Placed) -> &[u8] {
        self.shards[tensor.shard].map.get(tensor.start..tensor.end).unwrap_or_default()
    }

    /// A tensor's bytes read into memory, without making the map resident.
    ///
    /// # Errors
    /// The file cannot be read.
    #[cfg(unix)]
    pub fn read(&self, tensor: &Placed) -> Result<Vec<u8>, HfError> {
        use std::os::unix::fs::FileExt;
        let shard = &self.shards[tensor.shard];
        let mut buffer = vec![0; tensor.end - tensor.start];
        shard
            .file
            .read_exact_at(&mut buffer, tensor.start as u64)
            .map_err(|e| HfFault::Read(e).at(&shard.path))?;
        Ok(buffer)
    }

    /// Bytes of all files.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.shards.iter().map(|s| s.map.len() as u64).sum()
    }
}

/// The files of a folder in order, with the tensors that the index names for each (none without an index).
fn files(folder: &Path) -> Result<Vec<(String, Vec<String>)>, HfError> {
    let index = folder.join(INDEX);
    let text = match std::fs::read_to_string(&index) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return if folder.join(SINGLE).is_file() {
                Ok(vec![(SINGLE.to_owned(), Vec::new())])
            } else {
                Err(HfFault::NoWeights.at(folder))
            };
        }
        Err(e) => return Err(HfFault::Read(e).at(&index)),
    };
    if text.as_bytes().starts_with(LFS) {
        return Err(HfFault::LfsPointer.at(&index));
    }
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| HfFault::Json(e).at(&index))?;
    let map = json.get("weight_map").and_then(|m| m.as_object());
    let map = map.ok_or_else(|| HfFault::Missing("weight_map").at(&index))?;
    let mut files: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (tensor, value) in map {
        let wrong = |found: String| {
            let expected = "names of files in the same directory";
            HfFault::Value { key: "weight_map", found, expected }.at(&index)
        };
        let name = value.as_str().ok_or_else(|| wrong(format!("{value} for `{tensor}`")))?;
        // A part's name is a file of this folder, wherever the index came from.
        if name.contains(['/', '\\']) || name.starts_with('.') {
            return Err(wrong(format!("`{name}`")));
        }
        files.entry(name.to_owned()).or_default().push(tensor.clone());
    }
    if let Some(stray) = stray(folder, &files) {
        return Err(HfFault::Stray { index: INDEX.to_owned() }.at(&folder.join(stray)));
    }
    Ok(files.into_iter().collect())
}

/// A file of weights beside the index that the index does not name: it belongs to another save, or the index does.
fn stray(folder: &Path, named: &BTreeMap<String, Vec<String>>) -> Option<String> {
    let mut all: Vec<String> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| {
            name.starts_with("model") && name.ends_with(".safetensors") && !named.contains_key(name)
        })
        .collect();
    all.sort();
    all.into_iter().next()
}
