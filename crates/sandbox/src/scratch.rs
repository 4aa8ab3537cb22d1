//! The folder in which a judged program may write.
//!
//! With a mount namespace it is a small file system in memory that only the sandbox sees and that vanishes with it. Without one it is a
//! folder in the temporary folder; one that a killed process left behind is removed by the next sandbox.

use std::{
    ffi::CString,
    fs,
    os::unix::{ffi::OsStrExt, fs::DirBuilderExt},
    path::{Path, PathBuf},
};

use super::{Interpreter, Layers, SandboxError, orphans, spawn::Tmpfs};

const PREFIX: &str = "autotune-scratch-";
/// Size and entries of the file system in memory.
const OPTIONS: &std::ffi::CStr = c"size=16m,nr_inodes=128,mode=0700";
/// Folders of every system that nothing of an interpreter lies in, in order of preference.
const COVERABLE: &[&str] = &["/mnt", "/media", "/srv", "/tmp", "/var/tmp", "/opt"];

/// A mount like those of a scratch folder, to see whether the kernel grants it.
pub(super) fn any_tmpfs() -> Option<Tmpfs> {
    let place = COVERABLE.iter().map(Path::new).find(|place| place.is_dir())?;
    Some(Tmpfs { at: text(place).ok()?, options: OPTIONS.to_owned() })
}

/// A scratch folder, removed when dropped.
#[derive(Debug)]
pub(super) enum Scratch {
    /// Mounted over this folder in the child's namespace.
    Memory(CString),
    /// A real folder of ours.
    Folder(PathBuf, CString),
}

impl Scratch {
    /// Chooses the place.
    pub(super) fn new(layers: &Layers, interpreter: &Interpreter) -> Result<Self, SandboxError> {
        if layers.namespaces
            && let Some(place) = COVERABLE.iter().find(|place| {
                let place = Path::new(place);
                let needed = interpreter.library.iter().chain([&interpreter.path]);
                place.is_dir()
                    && !place.is_symlink()
                    && needed.into_iter().all(|path| !path.starts_with(place))
            })
        {
            return Ok(Self::Memory(text(Path::new(place))?));
        }
        let parent = std::env::temp_dir();
        orphans::sweep(&parent, PREFIX, |folder| drop(fs::remove_dir_all(folder)));
        let folder = parent.join(orphans::name(PREFIX));
        fs::DirBuilder::new().mode(0o700).create(&folder).map_err(|e| {
            SandboxError::broken("make a scratch folder", format!("{}: {e}", folder.display()))
        })?;
        let path = text(&folder)?;
        Ok(Self::Folder(folder, path))
    }

    /// Where it is, as the child sees it.
    pub(super) fn folder(&self) -> CString {
        match self {
            Self::Memory(path) | Self::Folder(_, path) => path.clone(),
        }
    }

    /// What the child must mount.
    pub(super) fn tmpfs(&self) -> Option<Tmpfs> {
        match self {
            Self::Memory(path) => Some(Tmpfs { at: path.clone(), options: OPTIONS.to_owned() }),
            Self::Folder(..) => None,
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Self::Folder(folder, _) = self {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

fn text(path: &Path) -> Result<CString, SandboxError> {
    CString::new(path.as_os_str().as_bytes()).map_err(|e| SandboxError::broken("name a scratch folder", e))
}
