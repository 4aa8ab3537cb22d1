//! The hash of a handed-over GGUF's tensors in its own metadata: a single file, too, can be checked wherever it goes.

use sha2::{Digest, Sha256};

use autotune_model::gguf::{Gguf, GgufError, MetaValue};

/// The metadata key of the SHA-256 over the bytes of all tensors, in the order of the file, without the padding between them.
pub const TENSORS_SHA256: &str = "autotune.tensors.sha256";

/// SHA-256 over the bytes of all tensors, hexadecimal.
///
/// # Errors
/// The file cannot be read.
pub fn tensors_sha256(gguf: &Gguf) -> Result<String, GgufError> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    for tensor in gguf.tensors() {
        let mut at = 0;
        while at < tensor.bytes() {
            let n = usize::try_from(tensor.bytes() - at).unwrap_or(usize::MAX).min(buffer.len());
            gguf.read_at(tensor, at, &mut buffer[..n])?;
            digest.update(&buffer[..n]);
            at += n as u64;
        }
    }
    Ok(digest.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

/// What a file says of its tensors and what they are, where the two differ; none where they agree, or where it says nothing.
///
/// # Errors
/// The file cannot be read.
pub fn damaged_tensors(gguf: &Gguf) -> Result<Option<(String, String)>, GgufError> {
    let Some(stated) = gguf.metadata().get(TENSORS_SHA256).and_then(MetaValue::as_str) else {
        return Ok(None);
    };
    let found = tensors_sha256(gguf)?;
    Ok((stated != found).then(|| (stated.to_owned(), found)))
}
