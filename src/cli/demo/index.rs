//! Where a package index serves a file: the simple repository API, as JSON (PEP 691) or HTML (PEP 503).

use serde::Deserialize;
use url::Url;

/// What is asked for; an index that knows no JSON answers with HTML.
pub(super) const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, text/html;q=0.5";

#[derive(Deserialize)]
struct Page {
    files: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    filename: String,
    url: String,
}

/// The page of a project in an index.
///
/// # Errors
/// The index is not an http or https URL.
pub(super) fn project_page(index: &str, project: &str) -> Result<Url, String> {
    let mut page = http_url(index)?;
    page.path_segments_mut()
        .map_err(|()| "the URL has no path".to_owned())?
        .pop_if_empty()
        .extend([project, ""]);
    Ok(page)
}

/// Reads a URL that can be downloaded from.
///
/// # Errors
/// It is none.
pub(super) fn http_url(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        Ok(url) => Err(format!("a URL with https:// or http:// is needed, not {}:", url.scheme())),
        Err(error) => Err(error.to_string()),
    }
}

/// Where a page says that a file is; credentials of the index go along to its own host only.
pub(super) fn file_url(page: &Url, body: &str, filename: &str) -> Option<Url> {
    let address = match serde_json::from_str::<Page>(body) {
        Ok(page) => page.files.into_iter().find(|f| f.filename == filename)?.url,
        Err(_) => link(body, filename)?,
    };
    let mut url = page.join(&address).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    if url.host_str() == page.host_str()
        && url.port() == page.port()
        && url.scheme() == page.scheme()
        && url.username().is_empty()
    {
        let _ = url.set_username(page.username());
        let _ = url.set_password(page.password());
    }
    Some(url)
}

/// The address of the link with this text.
fn link(html: &str, filename: &str) -> Option<String> {
    html.split("<a ").skip(1).find_map(|anchor| {
        let (attributes, rest) = anchor.split_once('>')?;
        let (text, _) = rest.split_once("</a>")?;
        if text.trim() != filename {
            return None;
        }
        let value = attributes.split_once("href=")?.1.trim_start();
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (address, _) = value[1..].split_once(quote)?;
        Some(address.replace("&amp;", "&"))
    })
}

/// A URL without its credentials, for messages.
pub(super) fn shown(url: &Url) -> String {
    let mut plain = url.clone();
    let _ = plain.set_username("");
    let _ = plain.set_password(None);
    plain.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_an_index_are_read() {
        let page = project_page("https://user:secret@example.org/simple", "a-b").unwrap();
        assert_eq!(shown(&page), "https://example.org/simple/a-b/");
        assert_eq!(project_page("http://example.org/simple/", "a").unwrap().path(), "/simple/a/");
        let json = r#"{"files":[{"filename":"x.whl","url":"x"},{"filename":"y.whl","url":"../../files/y.whl#sha256=0"}]}"#;
        let url = file_url(&page, json, "y.whl").unwrap();
        assert_eq!(url.as_str(), "https://user:secret@example.org/files/y.whl#sha256=0");
        let html = "<html><a href='other'>x.whl</a> <a data-x=\"1\" href=\"https://cdn.example.org/y.whl?a=1&amp;b=2\" >y.whl</a>";
        let url = file_url(&page, html, "y.whl").unwrap();
        assert_eq!(url.as_str(), "https://cdn.example.org/y.whl?a=1&b=2", "no credentials for another host");
        assert!(file_url(&page, html, "z.whl").is_none() && file_url(&page, json, "z.whl").is_none());
        assert!(file_url(&page, "<a href=\"file:///etc/passwd\">y.whl</a>", "y.whl").is_none());
        assert!(project_page("ftp://example.org", "a").is_err() && project_page("pypi", "a").is_err());
    }
}
