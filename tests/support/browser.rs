//! A headless Chromium, where one is installed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a page left behind.
pub struct Visit {
    /// The document after its scripts ran.
    pub dom: String,
    /// Every message on the console.
    pub console: Vec<String>,
}

/// Opens a local page at a width. None where no Chromium is installed.
pub fn visit(page: &Path, width: u32) -> Option<Visit> {
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    let browser = names.into_iter().find(|name| {
        Command::new(name)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    })?;
    let profile = tempfile::tempdir().unwrap();
    let output = |name: &str| profile.path().join(name);
    let file = |name: &str| std::fs::File::create(output(name)).unwrap();
    let mut child = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
        ])
        .args(["--enable-logging=stderr", "--v=0", "--dump-dom"])
        .arg(format!("--window-size={width},1000"))
        .arg(format!("--user-data-dir={}", profile.path().join("profile").display()))
        .arg(format!("file://{}", page.display()))
        .stdout(file("out"))
        .stderr(file("err"))
        .spawn()
        .unwrap();
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begin.elapsed() > Duration::from_secs(120) {
            child.kill().unwrap();
            panic!("{browser} did not finish in two minutes");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let read = |name: &str| String::from_utf8_lossy(&std::fs::read(output(name)).unwrap()).into_owned();
    let console = read("err").lines().filter(|l| l.contains(":CONSOLE")).map(str::to_owned).collect();
    Some(Visit { dom: read("out"), console })
}
