//! `--model hf:owner/repo/file` against a hub on loopback: fetched once, then found in the cache with the hub gone.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use assert_cmd::Command;

const MODEL: &str = r#"{"mock":1,"peak_bytes_f16":300000000,"layers":12,"kv_heads":4,"ffn":1024}"#;

/// Answers range requests for one file as a hub does, and counts them.
fn answer(stream: TcpStream, requests: &AtomicUsize) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    let (mut first, mut range) = (String::new(), None);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            let (from, to) = value.trim().split_once('-').unwrap();
            range = Some((from.parse::<usize>().unwrap(), to.parse::<usize>().ok()));
        }
    }
    requests.fetch_add(1, Ordering::SeqCst);
    if !first.contains("/owner/repo/resolve/main/sub/model.json") {
        return write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let (from, to) = range.unwrap_or((0, None));
    let end = to.unwrap_or(MODEL.len() - 1).min(MODEL.len() - 1);
    let body = &MODEL[from..=end];
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{end}/{}\r\nAccept-Ranges: bytes\r\n\
         ETag: \"0123456789abcdef\"\r\nx-repo-commit: 1111111111111111111111111111111111111111\r\nConnection: close\r\n\r\n{body}",
        body.len(),
        MODEL.len()
    )
}

fn hub() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away is its own affair.
            let _ = answer(stream, &counted);
        }
    });
    (address, requests)
}

fn plan(endpoint: &str, home: &Path, model: &str) -> assert_cmd::assert::Assert {
    Command::cargo_bin("autotune")
        .unwrap()
        .args(["plan", "--engine", "mock", "--budget", "1GB", "--space", "smoke", "--json", "--model", model])
        .env("HF_ENDPOINT", endpoint)
        .env("HF_HOME", home)
        .env_remove("HTTP_PROXY")
        .env_remove("http_proxy")
        .env("NO_PROXY", "127.0.0.1")
        .assert()
}

#[test]
fn a_hub_model_is_fetched_once_and_then_needs_no_hub() {
    let home = tempfile::tempdir().unwrap();
    let (endpoint, requests) = hub();
    let model = "hf:owner/repo/sub/model.json";
    plan(&endpoint, home.path(), model).success();
    let fetched = requests.load(Ordering::SeqCst);
    assert!(fetched > 0);
    // A port where nobody listens: the cache must be enough.
    plan("http://127.0.0.1:9", home.path(), model).success();
    assert_eq!(requests.load(Ordering::SeqCst), fetched);
}

#[test]
fn a_file_that_the_hub_does_not_have_is_named() {
    let home = tempfile::tempdir().unwrap();
    let (endpoint, _) = hub();
    let failed = plan(&endpoint, home.path(), "hf:owner/repo/absent.gguf").failure().code(4);
    let text = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert!(text.contains("absent.gguf") && text.contains("owner/repo"), "{text}");
}
