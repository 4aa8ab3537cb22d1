//! Programs that try to cheat or to reach the machine: each must get its verdict, and leave nothing behind.
//!
//! The programs are in `tests/hostile/`. They run as this user and, when that is root, once more as an ordinary user; with all layers of this
//! machine, and with those of a container that grants no namespaces.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]

#[path = "support/require.rs"]
mod require;

use std::{
    collections::BTreeSet,
    env, fs, io,
    net::TcpListener,
    os::unix::{fs::PermissionsExt, net::UnixListener, process::CommandExt},
    path::Path,
    process::{self, Command},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use autotune::quality::tasks::{Program, TaskLanguage};
use autotune::sandbox::{Judge, Judgement, Layers, Limits, Sandbox, SandboxError, Settings, Verdict, probe};

const PYTHON: &str = include_str!("hostile/python.txt");
const JAVASCRIPT: &str = include_str!("hostile/javascript.txt");

/// The user that the suite is run as a second time by root.
const NOBODY: u32 = 65534;
/// Set in the process that runs the suite as another user.
const AS_NOBODY: &str = "AUTOTUNE_HOSTILE_AS_NOBODY";

/// Set in the process that is killed: `1` with namespaces, `0` without.
const OWNER: &str = "AUTOTUNE_HOSTILE_OWNER";

const PYTHON_TESTS: &str = "
def check(candidate):
    assert candidate(3) == 9
    assert candidate(-2) == 4
    assert not candidate(0)
    assert abs(candidate(1.5) - 2.25) < 1e-9
    assert isinstance(candidate(4), int) and candidate(4) != 17
    assert sorted([candidate(i) for i in (3, 1, 2)]) == [1, 4, 9]
    assert len([candidate(2)]) == 1
check(f)
";
const JAVASCRIPT_TESTS: &str = "
const assert = require('assert');
console.assert(f(3) === 9);
console.assert(JSON.stringify(f(2)) === '4');
console.assert(f(5) == 25);
assert.deepStrictEqual([f(1), f(4)], [1, 16]);
assert.strictEqual(String(f(0)), '0');
";

/// The tests look at what this process has started: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One program of the suite.
struct Hostile {
    name: String,
    expected: Vec<Verdict>,
    language: TaskLanguage,
    source: String,
}

fn read(text: &str, language: TaskLanguage) -> Vec<Hostile> {
    text.split("==== ")
        .skip(1)
        .map(|part| {
            let (head, source) = part.split_once('\n').unwrap();
            let fields: Vec<&str> = head.split(" | ").collect();
            let verdict = |name: &str| serde_json::from_str(&format!("\"{name}\"")).unwrap();
            Hostile {
                name: format!("{language:?}/{}", fields[0]),
                expected: fields[1].split(',').map(verdict).collect(),
                language,
                source: source.to_owned(),
            }
        })
        .collect()
}

fn suite() -> Vec<Hostile> {
    [read(PYTHON, TaskLanguage::Python), read(JAVASCRIPT, TaskLanguage::JavaScript)]
        .into_iter()
        .flatten()
        .collect()
}

fn limits() -> Limits {
    Limits {
        cpu: Duration::from_secs(1),
        wall: Duration::from_secs(3),
        memory_bytes: 256 << 20,
        ..Limits::default()
    }
}

fn square(source: &str, language: TaskLanguage) -> Program {
    let python = language == TaskLanguage::Python;
    Program {
        task_id: "square".into(),
        language,
        solution: source.to_owned(),
        prelude: String::new(),
        setup: String::new(),
        tests: if python { PYTHON_TESTS } else { JAVASCRIPT_TESTS }.to_owned(),
        entry_point: "f".into(),
    }
}

/// Things on the machine that the programs go for.
struct Bait {
    _folder: tempfile::TempDir,
    canary: String,
    socket: String,
    nonce: String,
    unix: UnixListener,
    tcp: TcpListener,
}

const SECRET: &str = "a secret of the user\n";

impl Bait {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("autotune-bait-").tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (canary, socket) = (path("canary"), path("socket"));
        fs::write(&canary, SECRET).unwrap();
        let (unix, tcp) = (UnixListener::bind(&socket).unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        unix.set_nonblocking(true).unwrap();
        tcp.set_nonblocking(true).unwrap();
        Self {
            nonce: format!("{}-{:?}", process::id(), std::thread::current().id()).replace(['(', ')'], ""),
            _folder: folder,
            canary,
            socket,
            unix,
            tcp,
        }
    }

    fn set(&self, source: &str) -> String {
        let folder = Path::new(&self.canary).parent().unwrap().to_str().unwrap();
        source
            .replace("@CANARY@", &self.canary)
            .replace("@SOCKET@", &self.socket)
            .replace("@FOLDER@", folder)
            .replace("@NONCE@", &self.nonce)
            .replace("@PID@", &process::id().to_string())
            .replace("@PORT@", &self.tcp.local_addr().unwrap().port().to_string())
    }

    fn assert_untouched(&self) {
        assert_eq!(fs::read_to_string(&self.canary).unwrap(), SECRET);
        assert_eq!(fs::metadata(&self.canary).unwrap().permissions().mode() & 0o002, 0);
        let names: BTreeSet<String> = fs::read_dir(Path::new(&self.canary).parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(names, BTreeSet::from(["canary".to_owned(), "socket".to_owned()]));
        assert!(self.tcp.accept().is_err(), "somebody called home");
        assert!(self.unix.accept().is_err(), "somebody reached a local service");
        for folder in ["/tmp", "/var/tmp", "/dev/shm", "/run", "/home", "/root", "/", "/mnt"] {
            let planted = Path::new(folder).join(format!("autotune-hostile-{}", self.nonce));
            assert!(!planted.exists(), "{} was written", planted.display());
        }
    }
}

/// Living processes that descend from this one, by name.
fn descendants() -> Vec<String> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((head, rest)) = stat.rsplit_once(") ") else { continue };
        let mut fields = rest.split(' ');
        let (state, parent) =
            (fields.next().unwrap_or(""), fields.next().and_then(|p| p.parse::<u32>().ok()));
        parents.push((pid, parent.unwrap_or(0), format!("{head}) {state}")));
    }
    let mut family = vec![process::id()];
    let mut names = Vec::new();
    while let Some(at) =
        parents.iter().position(|(pid, parent, _)| family.contains(parent) && !family.contains(pid))
    {
        let (pid, _, name) = parents.swap_remove(at);
        family.push(pid);
        names.push(name);
    }
    names
}

/// System V objects of this user: shared memory, queues, semaphores.
fn ipc_objects() -> usize {
    ["shm", "msg", "sem"]
        .iter()
        .map(|kind| {
            fs::read_to_string(format!("/proc/sysvipc/{kind}")).map_or(0, |text| text.lines().count())
        })
        .sum()
}

fn scratch_folders(owner: u32) -> usize {
    let ours = format!("autotune-scratch-{owner}-");
    let entries = fs::read_dir(env::temp_dir()).unwrap().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&ours)).count()
}

/// Control groups of a process.
fn control_groups(folder: &Path, owner: u32) -> usize {
    let ours = format!("autotune-sandbox-{owner}-");
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders
        .map(|entry| {
            usize::from(entry.file_name().to_string_lossy().starts_with(&ours))
                + control_groups(&entry.path(), owner)
        })
        .sum()
}

/// What [`require::skip`] calls a language's interpreter.
fn interpreter(language: TaskLanguage) -> &'static str {
    if language == TaskLanguage::JavaScript { "node" } else { "python" }
}

fn judge_suite(layers: Layers) {
    let bait = Bait::new();
    let ipc = ipc_objects();
    let mut sandbox =
        Sandbox::with_layers(Settings { limits: limits(), jobs: 2, ..Settings::default() }, layers).unwrap();
    let mut suite = suite();
    for language in [TaskLanguage::Python, TaskLanguage::JavaScript] {
        if let Err(error) = sandbox.interpreter(language) {
            require::skip(interpreter(language), error);
            suite.retain(|hostile| hostile.language != language);
        }
    }
    assert!(suite.len() >= 40);
    let programs: Vec<Program> =
        suite.iter().map(|hostile| square(&bait.set(&hostile.source), hostile.language)).collect();
    let judgements = sandbox.judge(&programs).unwrap();
    let mut wrong = Vec::new();
    for (hostile, judgement) in suite.iter().zip(&judgements) {
        println!(
            "{:32} {:?} {:.0} ms: {}",
            hostile.name, judgement.verdict, judgement.cpu_ms, judgement.detail
        );
        assert_ne!(judgement.verdict, Verdict::Passed, "{} got away with it", hostile.name);
        if !hostile.expected.contains(&judgement.verdict) {
            wrong.push(format!("{}: {:?}, {}", hostile.name, judgement.verdict, judgement.detail));
        }
    }
    assert!(wrong.is_empty(), "verdicts other than expected:\n{}", wrong.join("\n"));

    // Whoever came through all this still judges honest programs rightly.
    let honest = [
        square("def f(x):\n    return x * x\n", TaskLanguage::Python),
        square("def f(x):\n    return x + x\n", TaskLanguage::Python),
    ];
    let verdicts: Vec<Verdict> = sandbox.judge(&honest).unwrap().iter().map(|j| j.verdict).collect();
    assert_eq!(verdicts, [Verdict::Passed, Verdict::Failed]);

    drop(sandbox);
    assert_eq!(descendants(), Vec::<String>::new(), "processes are left");
    assert_eq!(scratch_folders(process::id()), 0, "scratch folders are left");
    assert_eq!(control_groups(Path::new("/sys/fs/cgroup"), process::id()), 0, "control groups are left");
    assert!(ipc_objects() <= ipc, "shared memory is left");
    bait.assert_untouched();
}

#[test]
fn hostile_programs_are_contained() {
    let _alone = alone();
    let layers = probe();
    if !layers.is_strict() {
        require::skip("sandbox", format_args!("this machine lacks {}", layers.missing()));
        return;
    }
    println!("layers: {layers:?}");
    judge_suite(layers);
    if layers.namespaces || layers.cgroups {
        println!("without namespaces and control groups:");
        judge_suite(Layers { namespaces: false, user_namespace: false, cgroups: false, ..layers });
    }
}

/// Without landlock files can be read, but nothing can be written, started or reached.
#[test]
fn without_landlock_nothing_can_be_written() {
    let _alone = alone();
    let layers = Layers { landlock_abi: 0, namespaces: false, user_namespace: false, ..probe() };
    if !layers.seccomp {
        require::skip("sandbox", "there is no seccomp");
        return;
    }
    let bait = Bait::new();
    let chosen = [
        "write_outside",
        "change_canary",
        "fork",
        "subprocess_run",
        "sockets",
        "kill_parent",
        "many_files",
        "examiner_descriptors",
    ];
    let suite: Vec<Hostile> = suite()
        .into_iter()
        .filter(|hostile| chosen.iter().any(|name| hostile.name.ends_with(&format!("/{name}"))))
        .collect();
    let programs: Vec<Program> =
        suite.iter().map(|hostile| square(&bait.set(&hostile.source), hostile.language)).collect();
    let mut sandbox =
        Sandbox::with_layers(Settings { limits: limits(), jobs: 1, ..Settings::default() }, layers).unwrap();
    if sandbox.interpreter(TaskLanguage::JavaScript).is_err() {
        require::skip("node", "JavaScript is not executed here");
        return;
    }
    for (hostile, judgement) in suite.iter().zip(sandbox.judge(&programs).unwrap()) {
        assert!(
            hostile.expected.contains(&judgement.verdict),
            "{}: {:?}, {}",
            hostile.name,
            judgement.verdict,
            judgement.detail
        );
    }
    bait.assert_untouched();
}

/// Root runs the suite again as nobody, in a copy of this program that nobody may read.
#[test]
fn hostile_programs_are_contained_as_an_ordinary_user() {
    let _alone = alone();
    if env::var_os(AS_NOBODY).is_some() {
        return;
    }
    // SAFETY-free way to learn the user: the owner of our own process.
    let uid = {
        use std::os::unix::fs::MetadataExt;
        fs::metadata("/proc/self").unwrap().uid()
    };
    if uid != 0 {
        require::skip(
            "other-user",
            "not root, so the other tests of this file already ran as an ordinary user",
        );
        return;
    }
    let folder = tempfile::Builder::new().prefix("autotune-nobody-").tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let program = folder.path().join("hostile");
    fs::copy(env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(&program);
    command
        .args(["--nocapture", "--test-threads", "1"])
        .env(AS_NOBODY, "1")
        .env("TMPDIR", folder.path())
        .env("HOME", "/nonexistent")
        .current_dir(folder.path())
        .uid(NOBODY)
        .gid(NOBODY);
    // A process that another test forks meanwhile may still hold the copy open for writing.
    let output = loop {
        match command.output() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(20))
            }
            result => break result.unwrap(),
        }
    };
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "the suite failed as nobody");
    assert!(text.contains("Python/fork_bomb") || text.contains("skipped"), "the suite did not run");
}

/// The process that the next test kills: it judges programs that never end.
#[test]
fn owner_to_be_killed() {
    let Some(with_namespaces) = env::var_os(OWNER) else { return };
    let layers = probe();
    let layers = if with_namespaces == "1" {
        layers
    } else {
        Layers { namespaces: false, user_namespace: false, cgroups: false, ..layers }
    };
    let limits = Limits::with_timeout(Duration::from_secs(600));
    let mut sandbox =
        Sandbox::with_layers(Settings { limits, jobs: 2, ..Settings::default() }, layers).unwrap();
    let mut programs = vec![square("def f(x):\n    while True: pass\n", TaskLanguage::Python)];
    if sandbox.interpreter(TaskLanguage::JavaScript).is_ok() {
        programs.push(square("function f() { for (;;) {} }", TaskLanguage::JavaScript));
    }
    drop(sandbox.judge(&programs));
}

/// When its owner is killed, a sandbox ends by itself.
#[test]
fn nothing_outlives_a_killed_owner() {
    let _alone = alone();
    if !probe().is_strict() {
        require::skip("sandbox", format_args!("this machine lacks {}", probe().missing()));
        return;
    }
    for with_namespaces in ["1", "0"] {
        let mut owner = Command::new(env::current_exe().unwrap())
            .args(["--exact", "owner_to_be_killed"])
            .env(OWNER, with_namespaces)
            .stdout(process::Stdio::null())
            .spawn()
            .unwrap();
        // The server, a candidate and an examiner in Python; two processes of node where there is one.
        let wait_until = |done: &dyn Fn() -> bool| {
            let deadline = Instant::now() + Duration::from_secs(20);
            while !done() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(50));
            }
            done()
        };
        assert!(wait_until(&|| pids_below(owner.id()).len() >= 3), "nothing was started");
        std::thread::sleep(Duration::from_millis(500));
        let running = pids_below(owner.id());
        owner.kill().unwrap();
        owner.wait().unwrap();
        let gone = |pid: &u32| !Path::new(&format!("/proc/{pid}")).exists();
        assert!(wait_until(&|| running.iter().all(gone)), "processes outlived their owner");
        // A folder or a group that only the owner could remove is removed by the next sandbox.
        let none = Layers { namespaces: false, user_namespace: false, ..probe() };
        let mut next = Sandbox::with_layers(Settings { jobs: 1, ..Settings::default() }, none).unwrap();
        next.judge(&[square("def f(x):\n    return x * x\n", TaskLanguage::Python)]).unwrap();
        drop(next);
        assert_eq!(scratch_folders(owner.id()), 0, "scratch folders are left");
        assert_eq!(control_groups(Path::new("/sys/fs/cgroup"), owner.id()), 0, "control groups are left");
    }
}

/// All living processes below one.
fn pids_below(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut at = 0;
    while at < found.len() {
        let children = format!("/proc/{0}/task", found[at]);
        for thread in fs::read_dir(children).into_iter().flatten().flatten() {
            let text = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            found.extend(text.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        at += 1;
    }
    found.split_off(1)
}

#[test]
fn strict_mode_refuses_a_machine_without_all_layers() {
    let _alone = alone();
    let bare = Layers { rlimits: true, ..Layers::default() };
    for mode in ["auto", "strict"] {
        let settings =
            Settings { mode: serde_json::from_str(&format!("\"{mode}\"")).unwrap(), ..Settings::default() };
        let error = Sandbox::with_layers(settings, bare).unwrap_err();
        assert!(matches!(error, SandboxError::Unprotected { .. }), "{error}");
        assert!(error.to_string().contains("landlock, seccomp"), "{error}");
    }
    let seccomp_only = Layers { seccomp: true, rlimits: true, ..Layers::default() };
    assert!(Sandbox::with_layers(Settings::default(), seccomp_only).is_ok());
}

/// What a judgement of a program says, for the tests below.
fn judge_one(source: &str, language: TaskLanguage) -> Option<Judgement> {
    if !probe().is_strict() {
        require::skip("sandbox", format_args!("this machine lacks {}", probe().missing()));
        return None;
    }
    let mut sandbox = Sandbox::new(Settings { limits: limits(), jobs: 1, ..Settings::default() }).unwrap();
    if let Err(error) = sandbox.interpreter(language) {
        require::skip(interpreter(language), error);
        return None;
    }
    sandbox.judge(&[square(source, language)]).unwrap().pop()
}

#[test]
fn threads_and_scratch_files_are_allowed() {
    let _alone = alone();
    let source = "
import threading
def f(x):
    with open('note', 'w') as file:
        file.write(str(x * x))
    result = []
    thread = threading.Thread(target=lambda: result.append(type(x)(open('note').read())))
    thread.start()
    thread.join()
    return result[0]
";
    if let Some(judgement) = judge_one(source, TaskLanguage::Python) {
        assert_eq!(judgement.verdict, Verdict::Passed, "{}", judgement.detail);
    }
    let source = "const fs = require('fs');
function f(x) { fs.writeFileSync('note', String(x * x)); return Number(fs.readFileSync('note', 'utf8')); }";
    if let Some(judgement) = judge_one(source, TaskLanguage::JavaScript) {
        assert_eq!(judgement.verdict, Verdict::Passed, "{}", judgement.detail);
    }
}

#[test]
fn syntax_errors_and_missing_functions_are_told() {
    let _alone = alone();
    for (source, verdict, text) in [
        ("def f(x:\n", Verdict::SyntaxError, "line 1"),
        ("def g(x):\n    return 1\n", Verdict::Failed, "defines no f"),
        ("import nothing_like_it\n", Verdict::Failed, "nothing_like_it"),
        ("def f(x):\n    return x / 0\n", Verdict::Failed, "line 2"),
        ("def f(x):\n    return 9\n", Verdict::Failed, "test line 4"),
    ] {
        if let Some(judgement) = judge_one(source, TaskLanguage::Python) {
            assert_eq!(judgement.verdict, verdict, "{source}: {}", judgement.detail);
            assert!(judgement.detail.contains(text), "{source}: {}", judgement.detail);
        }
    }
    for (source, verdict, text) in [
        ("function f(x {", Verdict::SyntaxError, "SyntaxError"),
        ("function g(x) { return 1; }", Verdict::Failed, "defines no f"),
        ("function f(x) {\n  return x.y.z;\n}", Verdict::Failed, "line 2"),
        ("function f(x) { return 9; }", Verdict::Failed, "test line 4"),
    ] {
        if let Some(judgement) = judge_one(source, TaskLanguage::JavaScript) {
            assert_eq!(judgement.verdict, verdict, "{source}: {}", judgement.detail);
            assert!(judgement.detail.contains(text), "{source}: {}", judgement.detail);
        }
    }
}

/// The examiner stays for the next program: nothing of an earlier one's tests may be seen by a later one's.
#[test]
fn what_tests_change_is_not_seen_by_the_next_program() {
    let _alone = alone();
    if !probe().is_strict() {
        require::skip("sandbox", format_args!("this machine lacks {}", probe().missing()));
        return;
    }
    let program = |tests: &str| Program {
        tests: tests.to_owned(),
        ..square("def f(x):\n    return x * x\n", TaskLanguage::Python)
    };
    let drawn =
        program("import random\nassert random.random() == random.Random(2).random()\nassert f(2) == 4");
    let programs = [
        program("import builtins\nleft = 1\nbuiltins.abs = lambda x: 0\nassert f(2) == 4"),
        program("assert abs(-2) == 2 and 'left' not in globals() and f(2) == 4"),
        drawn.clone(),
        drawn,
        program("assert f(2) == 5"),
        program("import sys\nsys.setrecursionlimit(60)\nassert f(2) == 4"),
        program("import sys\nassert sys.getrecursionlimit() > 500 and f(2) == 4"),
    ];
    let mut sandbox = Sandbox::new(Settings { limits: limits(), jobs: 1, ..Settings::default() }).unwrap();
    if let Err(error) = sandbox.interpreter(TaskLanguage::Python) {
        require::skip("python", error);
        return;
    }
    let verdicts: Vec<Verdict> = sandbox.judge(&programs).unwrap().into_iter().map(|j| j.verdict).collect();
    use Verdict::{Failed, Passed};
    assert_eq!(verdicts, [Passed, Passed, Passed, Passed, Failed, Passed, Passed]);
}
