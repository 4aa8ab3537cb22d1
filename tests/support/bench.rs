//! A folder with a mock model in it, the command run there, and what it leaves behind.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::print_stderr, reason = "tests say what they skip")]

#[path = "require.rs"]
pub mod require;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use autotune::store::{DATABASE_FILE, Generation, Store, TrialRecord};
use serde_json::{Value, json};

/// Long enough for any step on a machine that is busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Metrics that are taken with real clocks and meters, also with a scripted engine.
const REAL: [&str; 5] =
    ["load_ms", "worker_cpu_s", "worker_wall_s", "anonymous_memory_bytes", "file_memory_bytes"];

pub struct Bench {
    folder: tempfile::TempDir,
}

/// What the command said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    pub fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts the exit code, showing everything otherwise.
    #[track_caller]
    pub fn code(self, wanted: i32) -> Self {
        assert_eq!(self.code, Some(wanted), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts that an error names something.
    #[track_caller]
    pub fn names(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "`{text}` is not in:\n{}", self.stderr);
        self
    }

    /// Every line of stdout as JSON.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }
}

/// A trial as far as it must be the same in every run: no times, no processes.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    pub number: u64,
    pub origin: String,
    pub candidate: String,
    pub state: String,
    pub rung: String,
    pub failure: Option<String>,
    pub artifact: Option<(String, u64, String)>,
    pub values: BTreeMap<String, String>,
    pub generations: Vec<Generation>,
}

/// The scripts of an issue: what crashes, hangs and grows.
pub fn model(scripts: &Value) -> Value {
    json!({"mock": 1, "peak_bytes_f16": 300_000_000, "layers": 12, "kv_heads": 4, "ffn": 1024, "scripts": scripts})
}

pub fn tasks() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/mock_tasks.jsonl")
}

/// The demo model, where it was set up and llama.cpp is compiled in.
pub fn demo_model() -> Option<PathBuf> {
    let named = std::env::var_os("AUTOTUNE_DEMO_MODEL").map(PathBuf::from);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/models");
    let found = || {
        let files = std::fs::read_dir(folder).ok()?.filter_map(|e| Some(e.ok()?.path()));
        files.filter(|p| p.extension().is_some_and(|e| e == "gguf")).min()
    };
    let model = named.or_else(found).filter(|p| p.is_file() && cfg!(feature = "llama"));
    if model.is_none() {
        require::skip("demo-model", "there is none (`make setup`, or AUTOTUNE_DEMO_MODEL)");
    }
    model
}

impl Bench {
    pub fn new(scripts: Value) -> Self {
        // In memory where that is to be had: a test waits for no disk.
        let memory = tempfile::tempdir_in("/dev/shm");
        let bench = Self { folder: memory.or_else(|_| tempfile::tempdir()).unwrap() };
        std::fs::create_dir(bench.path("tmp")).unwrap();
        bench.write("mock.json", model(&scripts).to_string());
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The command, run in the folder. Ceilings are cached once for all tests; temporary files stay inside.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_autotune"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"))
            .env("TMPDIR", self.path("tmp"))
            .env("AUTOTUNE_TEST_FOLDER", self.folder.path())
            .env_remove("AUTOTUNE_DEMO_MODEL")
            .stdin(Stdio::null());
        command
    }

    /// `tune` on the mock with everything that it needs, and more arguments.
    pub fn tune(&self, more: &[&str]) -> Command {
        let mut command = self.command(&["tune", "--engine", "mock", "--model", "mock.json"]);
        command.args(["--space", "smoke", "--results", "results", "--reports", "reports", "--tasks"]);
        command.arg(tasks()).args(more);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Said {
        Said::of(&self.command(arguments).output().unwrap())
    }

    pub fn run_tune(&self, more: &[&str]) -> Said {
        Said::of(&self.tune(more).output().unwrap())
    }

    pub fn store(&self) -> Store {
        Store::open_existing(&self.path("results").join(DATABASE_FILE)).unwrap()
    }

    pub fn has_study(&self) -> bool {
        let path = self.path("results").join(DATABASE_FILE);
        Store::open_existing(&path).is_ok_and(|store| store.studies().is_ok_and(|all| !all.is_empty()))
    }

    /// The trials of the newest study.
    pub fn trials(&self) -> Vec<TrialRecord> {
        let store = self.store();
        let study = store.study(None).unwrap();
        store.trials(study.id).unwrap().to_vec()
    }

    /// Those that have ended, without what differs from run to run.
    pub fn finished(&self) -> Vec<Finished> {
        let store = self.store();
        self.trials().iter().filter(|t| t.state.is_ended()).map(|t| finished(&store, t)).collect()
    }

    /// Processes that were started in this folder and still run: by their environment, or by the folder they work in.
    pub fn processes(&self) -> Vec<u32> {
        let tag = format!("AUTOTUNE_TEST_FOLDER={}", self.folder.path().display());
        let ours = |pid: u32| {
            let proc = PathBuf::from(format!("/proc/{pid}"));
            let environment = std::fs::read(proc.join("environ")).unwrap_or_default();
            environment.split(|&b| b == 0).any(|v| v == tag.as_bytes())
                || std::fs::read_link(proc.join("cwd")).is_ok_and(|cwd| cwd.starts_with(self.folder.path()))
        };
        let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
        all.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).filter(|&pid| ours(pid)).collect()
    }

    /// Waits until no process of this folder is left.
    #[track_caller]
    pub fn wait_for_silence(&self) {
        let begun = Instant::now();
        while !self.processes().is_empty() {
            assert!(begun.elapsed() < PATIENCE, "processes {:?} live on", self.processes());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn finished(store: &Store, t: &TrialRecord) -> Finished {
    let show = |x: Option<f64>| x.map_or("-".to_owned(), |x| format!("{x:?}"));
    let values = t
        .measurements
        .iter()
        .filter(|(name, _)| !REAL.contains(&name.as_str()))
        .map(|(name, m)| {
            let numbers = [m.value, m.low, m.high].map(show).join(" ");
            (name.clone(), format!("{numbers} {} {} {:?}", m.samples, m.unit, m.rung))
        })
        .collect();
    Finished {
        number: t.number,
        origin: t.origin.to_string(),
        candidate: serde_json::to_string(&t.candidate).unwrap(),
        state: t.state.to_string(),
        rung: format!("{:?}", t.rung),
        failure: t.failure.as_ref().map(|f| f.kind.to_string()),
        artifact: t.artifact.as_ref().map(|a| (a.path.clone(), a.bytes, a.hash.clone())),
        values,
        generations: store.generations(t.id).unwrap(),
    }
}

/// A command that runs in a process group of its own, as in a terminal, and whose stdout is read line by line.
pub struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        use std::os::unix::process::CommandExt;
        command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Reads events until one matches; false when the command ended without it.
    pub fn wait_for(&mut self, wanted: impl Fn(&Value) -> bool) -> bool {
        self.lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| serde_json::from_str(&line).is_ok_and(|v| wanted(&v)))
    }

    /// Sends a signal to the group, as a terminal does.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let group = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::killpg(group, signal).unwrap();
    }

    /// Kills the process alone, as `kill -9` does; false when it had ended already.
    pub fn kill(mut self) -> bool {
        if self.child.try_wait().unwrap().is_some() {
            return false;
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        true
    }

    /// Waits for the end.
    pub fn end(mut self) -> Said {
        let rest: Vec<String> = self.lines.by_ref().map_while(Result::ok).collect();
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        Said { code: self.child.wait().unwrap().code(), stdout: rest.join("\n"), stderr }
    }
}
