//! Finds `python3` and `node` once: behind version managers' shims, which cost more time than the programs that are judged.

use std::{
    env,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{self, Receiver},
    time::{Duration, Instant},
};

use crate::TaskLanguage;

use super::SandboxError;

/// A usable interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// The real executable, not a shim.
    pub path: PathBuf,
    /// Its version, as it prints it.
    pub version: String,
    /// Folders with its standard library.
    pub library: Vec<PathBuf>,
    /// Folders with the packages that were installed for it, or for the virtual environment in which it was found.
    pub packages: Vec<PathBuf>,
}

impl Interpreter {
    /// Whether a module is one of the packages that were installed for it.
    #[must_use]
    pub fn has_package(&self, module: &str) -> bool {
        let there =
            |folder: &PathBuf| folder.join(module).is_dir() || folder.join(format!("{module}.py")).is_file();
        self.packages.iter().any(there)
    }
}

/// Asks an interpreter where it and its library really are; one that is too old says so before it stumbles over what it has not.
const ASK_PYTHON: &str = "import sys
if sys.version_info < (3, 9): sys.exit('it is Python %d.%d, but 3.9 or newer is needed' % sys.version_info[:2])
import os, sysconfig
import ctypes, resource, select
os.pidfd_open, select.poll
names = ('stdlib', 'platstdlib')
print(os.path.realpath(sys.executable))
print('%d.%d.%d' % sys.version_info[:3])
print('\\n'.join(sorted({os.path.realpath(sysconfig.get_path(n)) for n in names} | {os.path.realpath(os.path.dirname(os.__file__))})))";
/// Asks for the folders of installed packages. The environment's own switches are not heard, as nothing of it reaches judged code.
const ASK_PACKAGES: &str = "import os, site
folders = site.getsitepackages() + ([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])
print('\\n'.join(dict.fromkeys(os.path.realpath(f) for f in folders if os.path.isdir(f))))";
const ASK_NODE: &str =
    "console.log(require('fs').realpathSync(process.execPath)); console.log(process.versions.node)";

/// An interpreter that has not answered by then hangs; a cold one on a slow disk takes a second or two.
const PATIENCE: Duration = Duration::from_secs(10);

/// The names to try, in order.
fn names(language: TaskLanguage) -> &'static [&'static str] {
    match language {
        TaskLanguage::Python => &["python3", "python"],
        TaskLanguage::JavaScript | TaskLanguage::TypeScript => &["node", "nodejs"],
        TaskLanguage::Other => &[],
    }
}

/// The first interpreter on `PATH` that runs and can do what the sandbox needs.
///
/// # Errors
/// None found, with what was tried and why it would not do.
pub fn find(language: TaskLanguage) -> Result<Interpreter, SandboxError> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut reasons = Vec::new();
    for name in names(language) {
        for folder in env::split_paths(&path) {
            let candidate = folder.join(name);
            if !candidate.is_file() {
                continue;
            }
            match ask(language, &candidate) {
                Ok(interpreter) => return Ok(interpreter),
                Err(reason) => reasons.push(format!("{}: {reason}", candidate.display())),
            }
        }
    }
    let reason = if reasons.is_empty() { "none on PATH".to_owned() } else { reasons.join("; ") };
    Err(SandboxError::NoInterpreter {
        language,
        name: names(language).first().copied().unwrap_or("interpreter"),
        reason,
    })
}

fn ask(language: TaskLanguage, candidate: &Path) -> Result<Interpreter, String> {
    let mut command = Command::new(candidate);
    match language {
        TaskLanguage::Python => command.args(["-I", "-S", "-B", "-c", ASK_PYTHON]),
        _ => command.args(["-e", ASK_NODE]).env("OPENSSL_CONF", "/dev/null").env_remove("NODE_OPTIONS"),
    };
    let output = answer(&mut command, PATIENCE)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    if let (true, Some(path), Some(version)) = (output.success, lines.next(), lines.next()) {
        let path = PathBuf::from(path);
        if path.is_file() {
            let library = lines.map(PathBuf::from).collect();
            let packages = if language == TaskLanguage::Python { packages(candidate) } else { Vec::new() };
            return Ok(Interpreter { path, version: version.to_owned(), library, packages });
        }
    }
    let error = String::from_utf8_lossy(&output.stderr);
    let first = text.lines().next().map(|said| format!("it printed `{said}` instead of its path"));
    let last = error.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned);
    Err(last.or(first).unwrap_or_else(|| "it gave no answer".to_owned()))
}

/// Where a Python finds installed packages. One that cannot tell has none.
fn packages(candidate: &Path) -> Vec<PathBuf> {
    let said = answer(Command::new(candidate).args(["-E", "-B", "-c", ASK_PACKAGES]), PATIENCE);
    let Some(said) = said.ok().filter(|said| said.success) else { return Vec::new() };
    let text = String::from_utf8_lossy(&said.stdout);
    text.lines().map(PathBuf::from).filter(|folder| folder.is_absolute()).collect()
}

/// What a program said.
struct Answer {
    success: bool,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Runs a program to its end, for so long at most; it and what it has started are killed then.
fn answer(command: &mut Command, patience: Duration) -> Result<Answer, String> {
    use std::os::unix::process::CommandExt;

    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| error.to_string())?;
    let (stdout, stderr) = (read_all(child.stdout.take()), read_all(child.stderr.take()));
    let begun = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if begun.elapsed() < patience => std::thread::sleep(Duration::from_millis(5)),
            failed => {
                let group = nix::unistd::Pid::from_raw(child.id().cast_signed());
                // It may have ended meanwhile.
                let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
                let _ = child.wait();
                return Err(match failed {
                    Err(error) => error.to_string(),
                    Ok(_) => format!("it did not answer within {} s", patience.as_secs()),
                });
            }
        }
    };
    // What it left running may hold the pipes open for ever: what came by then counts.
    let rest = |pipe: Receiver<Vec<u8>>| pipe.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
    Ok(Answer { success: status.success(), stdout: rest(stdout), stderr: rest(stderr) })
}

/// Reads a pipe to its end on a thread of its own.
fn read_all(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    let _ = std::thread::Builder::new().spawn(move || {
        let mut text = Vec::new();
        // What cannot be read was not said.
        let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut text));
        let _ = send.send(text);
    });
    receive
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shim(text: &str) -> (tempfile::TempDir, PathBuf) {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("python3");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        (folder, path)
    }

    #[test]
    fn a_python_that_hangs_is_given_up() {
        let (_folder, path) = shim("#!/bin/sh\nsleep 1000 & wait\n");
        let patience = Duration::from_millis(100);
        let error = answer(&mut Command::new(path), patience).err().unwrap();
        assert!(error.contains("did not answer"), "{error}");
    }

    #[test]
    fn a_shim_that_fails_is_told_in_its_own_words() {
        let (_folder, path) =
            shim("#!/bin/sh\necho 'version 3.12 is not installed' >&2; echo >&2; exit 127\n");
        let error = ask(TaskLanguage::Python, &path).unwrap_err();
        assert_eq!(error, "version 3.12 is not installed");
        let (_folder, path) = shim("#!/bin/sh\necho Python 3.6.1\n");
        let error = ask(TaskLanguage::Python, &path).unwrap_err();
        assert!(error.contains("Python 3.6.1"), "{error}");
    }
}
