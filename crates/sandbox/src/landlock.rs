//! Which files judged code may touch: its interpreter's, read only, and its scratch folder.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope,
};

/// The newest ABI whose rights are handled; older kernels handle what they know.
const NEWEST: ABI = ABI::V7;

/// What a process may touch.
#[derive(Clone, Debug, Default)]
pub(super) struct Paths {
    /// Files and folders that may be read.
    pub read: Vec<PathBuf>,
    /// Files that may be executed (the interpreter and the dynamic loader).
    pub execute: Vec<PathBuf>,
    /// Devices that may be read and written (`/dev/null`).
    pub devices: Vec<PathBuf>,
}

/// The kernel's landlock ABI; 0 where there is none.
#[allow(unsafe_code)]
pub(super) fn abi() -> u32 {
    // SAFETY: asks for the version with a null pointer and zero size, as landlock_create_ruleset(2) says; nothing is written.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0usize, 1u32) };
    u32::try_from(version).unwrap_or(0)
}

/// Rights in the scratch folder: flat regular files only, so that it can be emptied in one pass.
pub(super) fn scratch_rights() -> u64 {
    let rights = AccessFs::ReadFile
        | AccessFs::WriteFile
        | AccessFs::ReadDir
        | AccessFs::MakeReg
        | AccessFs::RemoveFile
        | AccessFs::Truncate;
    let handled = handled(abi());
    (rights & handled).bits()
}

fn handled(abi: u32) -> BitFlags<AccessFs> {
    AccessFs::from_all(ABI::from(abi.min(NEWEST as u32) as i32))
}

/// A ruleset that allows `paths` alone, no TCP, no signals to others; `None` where the kernel has no landlock. The scratch folder's rule
/// is added by the process that mounts it.
pub(super) fn ruleset(paths: &Paths) -> Result<Option<OwnedFd>, RulesetError> {
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    let file = AccessFs::ReadFile;
    let rights = |path: &Path| if path.is_dir() { file | AccessFs::ReadDir } else { file.into() };
    for path in &paths.read {
        ruleset = add(ruleset, path, rights(path))?;
    }
    for path in &paths.execute {
        ruleset = add(ruleset, path, file | AccessFs::Execute)?;
    }
    for path in &paths.devices {
        ruleset = add(ruleset, path, file | AccessFs::WriteFile)?;
    }
    Ok(ruleset.into())
}

/// Paths that do not exist need no rule.
fn add(
    ruleset: landlock::RulesetCreated,
    path: &Path,
    rights: BitFlags<AccessFs>,
) -> Result<landlock::RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(fd) => ruleset.add_rule(PathBeneath::new(fd, rights)),
        Err(_) => Ok(ruleset),
    }
}
