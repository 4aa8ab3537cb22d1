//! Finds `python3` and `node` once: behind version managers' shims, which cost more time than the programs that are judged.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::quality::tasks::TaskLanguage;

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

/// Asks an interpreter where it and its library really are.
const ASK_PYTHON: &str = "import os, sys, sysconfig
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
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    if let (true, Some(path), Some(version)) = (output.status.success(), lines.next(), lines.next()) {
        let path = PathBuf::from(path);
        if path.is_file() {
            let library = lines.map(PathBuf::from).collect();
            let packages = if language == TaskLanguage::Python { packages(candidate) } else { Vec::new() };
            return Ok(Interpreter { path, version: version.to_owned(), library, packages });
        }
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(error.lines().last().unwrap_or("gave no answer").trim().to_owned())
}

/// Where a Python finds installed packages. One that cannot tell has none.
fn packages(candidate: &Path) -> Vec<PathBuf> {
    let output = Command::new(candidate).args(["-E", "-B", "-c", ASK_PACKAGES]).stdin(Stdio::null()).output();
    let Ok(output) = output.map_err(drop).and_then(|o| if o.status.success() { Ok(o) } else { Err(()) })
    else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(PathBuf::from).filter(|folder| folder.is_absolute()).collect()
}
