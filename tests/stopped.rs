//! Programs under judgement when the judge itself is stopped: a laptop that sleeps, a debugger, SIGSTOP.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "support/require.rs"]
mod require;

use std::fs;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use autotune::quality::tasks::TaskLanguage;
use autotune::sandbox::{Sandbox, Settings, probe};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Long enough on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(120);
/// CPU seconds after which a process counts as one that spins; warming up takes a part of it.
const SPINNING_S: f64 = 0.6;

/// Parent, state and CPU seconds of a process.
fn stat(pid: i32) -> Option<(i32, char, f64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |i: usize| fields[i].parse::<f64>().unwrap();
    Some((fields[1].parse().ok()?, fields[0].chars().next()?, (number(11) + number(12)) / 100.0))
}

/// Every process below one, children before their children.
fn descendants(root: i32) -> Vec<i32> {
    let all: Vec<i32> =
        fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect();
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(all.iter().filter(|&&pid| stat(pid).is_some_and(|(p, ..)| p == parent)));
        next += 1;
    }
    found.split_off(1)
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        sleep(Duration::from_millis(50));
    }
}

/// Goes on with the stopped, and ends what is left, however the test ends.
struct Watched(Child);

impl Drop for Watched {
    fn drop(&mut self) {
        let pid = self.0.id() as i32;
        for one in descendants(pid).into_iter().chain([pid]) {
            let _ = kill(Pid::from_raw(one), Signal::SIGCONT);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn executed(language: TaskLanguage) -> bool {
    let there = probe().is_strict()
        && Sandbox::new(Settings { jobs: 1, ..Settings::default() }).unwrap().interpreter(language).is_ok();
    if !there {
        let need = if language == TaskLanguage::JavaScript { "node" } else { "python" };
        require::skip(need, format_args!("{language:?} is not executed here"));
    }
    there
}

/// Judges a program that never ends, stops all that could end it, and waits for the kernel to do it.
fn spin(language: TaskLanguage, task: &str, completion: &str) {
    if !executed(language) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("tasks.jsonl"), task).unwrap();
    let id = serde_json::from_str::<serde_json::Value>(task).unwrap()["task_id"].clone();
    let sample = serde_json::json!({ "task_id": id, "completion": completion });
    fs::write(path("samples.jsonl"), sample.to_string()).unwrap();
    let mut judge = Watched(
        Command::new(env!("CARGO_BIN_EXE_autotune"))
            .args(["score", "passk", "--jobs", "1", "--timeout-s", "4", "--json", "--tasks"])
            .args([path("tasks.jsonl"), path("samples.jsonl")])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let pid = judge.0.id() as i32;
    let spinning = until("a program that spins", || {
        descendants(pid)
            .into_iter()
            .find(|&p| stat(p).is_some_and(|(_, s, cpu)| s == 'R' && cpu > SPINNING_S))
    });
    // The judge, and the fork server where there is one: everything that would kill the program.
    let mut watchers = vec![pid];
    let mut above = stat(spinning).unwrap().0;
    while above != pid {
        watchers.push(above);
        above = stat(above).unwrap().0;
    }
    for &watcher in &watchers {
        kill(Pid::from_raw(watcher), Signal::SIGSTOP).unwrap();
    }
    until("the end of the program", || stat(spinning).is_none_or(|(_, s, _)| s == 'Z').then_some(()));
    assert!(watchers.iter().all(|&w| stat(w).is_some_and(|(_, s, _)| s == 'T')), "nobody else ended it");
    for &watcher in watchers.iter().rev() {
        kill(Pid::from_raw(watcher), Signal::SIGCONT).unwrap();
    }
    let mut said = String::new();
    judge.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(judge.0.wait().unwrap().success());
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["pass_at_k"][0]["mean"], 0.0, "{said}");
    assert!(descendants(pid).is_empty());
}

#[test]
fn a_spinning_javascript_program_outlives_no_stopped_judge() {
    spin(
        TaskLanguage::JavaScript,
        r#"{"task_id":"JavaScript/0","prompt":"const f = () => {\n","canonical_solution":"return 1;\n}","test":"console.assert(f() === 1);","declaration":"const f = () => {\n"}"#,
        "while (true) {}\n}",
    );
}

#[test]
fn a_spinning_python_program_outlives_no_stopped_judge() {
    spin(
        TaskLanguage::Python,
        r#"{"task_id":"T/0","prompt":"def f():\n","canonical_solution":"    return 1\n","test":"def check(c):\n    assert c() == 1\n","entry_point":"f"}"#,
        "    while True:\n        pass\n",
    );
}
