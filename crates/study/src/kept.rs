//! Artifacts that are used again: checked against the SHA-256 that they had when they were built, and built again where it differs.

use std::io;
use std::path::Path;

use super::Study;
use super::event::{Event, Observer};
use super::halt::{Ended, Halt};
use super::trial::Climb;
use autotune_core::space::Config;
use autotune_host::identity::sha256_file;
use autotune_store::{Artifact, FailureKind, TrialRecord};

/// A kept artifact compared with its recorded hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is the file that was built and measured.
    Whole,
    /// There is no such file.
    Missing,
    /// It has another content, with this SHA-256.
    Differs(String),
    /// The version that built it recorded no SHA-256; this is the file's now.
    Unrecorded(String),
}

impl Kept {
    /// Reads the file of an artifact.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn of(results: &Path, artifact: &Artifact) -> io::Result<Self> {
        let found = match sha256_file(&results.join(&artifact.path)) {
            Ok(found) => found,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Self::Missing),
            Err(e) => return Err(e),
        };
        Ok(match &artifact.sha256 {
            Some(built) if *built == found => Self::Whole,
            Some(_) => Self::Differs(found),
            // For some formats the hash that names the content is that of the file.
            None if artifact.hash == found => Self::Whole,
            None => Self::Unrecorded(found),
        })
    }
}

impl Climb<'_> {
    /// Makes sure that the artifact of a trial is the one that was built: a missing or damaged file is built again.
    ///
    /// # Errors
    /// It cannot be built again with the same content ([`Halt::Ended`]), or the study breaks.
    pub(super) fn restore(
        &self,
        trial: &TrialRecord,
        config: &Config,
        observer: &mut dyn Observer,
    ) -> Result<(), Halt> {
        let Some(artifact) = &trial.artifact else { return Ok(()) };
        let path = self.cx.results.join(&artifact.path);
        match Kept::of(self.cx.results, artifact)? {
            Kept::Whole | Kept::Unrecorded(_) => return Ok(()),
            Kept::Missing => {}
            Kept::Differs(found) => observer.hear(&Event::Remark {
                text: format!(
                    "{} is not the file that trial {} was measured with (SHA-256 {} now, {} then): it is rebuilt",
                    path.display(),
                    trial.number,
                    short(&found),
                    short(artifact.sha256.as_deref().unwrap_or_default())
                ),
            }),
        }
        self.make(trial.number, config, &path, observer)?;
        match Kept::of(self.cx.results, artifact)? {
            Kept::Differs(found) => {
                let text = format!(
                    "its artifact was damaged or lost, and rebuilding it gives a different file (SHA-256 {}, not {})",
                    short(&found),
                    short(artifact.sha256.as_deref().unwrap_or_default())
                );
                Err(Halt::Ended(Ended::failed(FailureKind::NotReproduced, text)))
            }
            _ => Ok(()),
        }
    }
}

impl Study<'_> {
    /// Of these trials, those whose artifact is there and is the one that was measured. A damaged file is built again; a missing one is
    /// left out, as trials are whose artifact was cleaned away.
    ///
    /// # Errors
    /// The database or the disk broke, or the user stopped the study.
    pub fn with_whole_artifacts(
        &self,
        numbers: &[u64],
        observer: &mut dyn Observer,
    ) -> anyhow::Result<Vec<u64>> {
        let mut whole = Vec::new();
        for &number in numbers {
            let trial = self.cx.store.trial(self.cx.id, number)?;
            let Some(artifact) = &trial.artifact else { continue };
            if Kept::of(self.cx.results, artifact)? == Kept::Missing {
                continue;
            }
            match self.restored(&trial, observer)? {
                Ok(()) => whole.push(number),
                Err(reason) => observer.hear(&Event::Remark { text: format!("trial {number}: {reason}") }),
            }
        }
        Ok(whole)
    }

    /// As [`Climb::restore`], for a trial that has ended; the inner error is why its artifact cannot be had again.
    pub(super) fn restored(
        &self,
        trial: &TrialRecord,
        observer: &mut dyn Observer,
    ) -> anyhow::Result<Result<(), String>> {
        let config = Config::from_candidate(&trial.candidate)?;
        match self.climber(self.problem).restore(trial, &config, observer) {
            Ok(()) => Ok(Ok(())),
            Err(Halt::Ended(ended)) => Ok(Err(ended.into_text())),
            Err(Halt::Study(error)) => Err(error),
        }
    }
}

/// The first digits of a hash, for people.
fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_only_with_the_content_that_was_recorded() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.gguf"), "abc").unwrap();
        let abc = sha256_file(&folder.path().join("a.gguf")).unwrap();
        let of = |path: &str, hash: &str, sha256: Option<&str>| {
            let artifact = Artifact {
                path: path.into(),
                bytes: 3,
                hash: hash.into(),
                sha256: sha256.map(str::to_owned),
            };
            Kept::of(folder.path(), &artifact).unwrap()
        };
        assert_eq!(of("a.gguf", "name", Some(&abc)), Kept::Whole);
        assert_eq!(of("a.gguf", &abc, Some("other")), Kept::Differs(abc.clone()));
        assert_eq!(of("a.gguf", &abc, None), Kept::Whole);
        assert_eq!(of("a.gguf", "name", None), Kept::Unrecorded(abc.clone()));
        assert_eq!(of("b.gguf", "name", Some(&abc)), Kept::Missing);
    }
}
