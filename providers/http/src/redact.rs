//! URLs that may be shown: without credentials and without the values of their queries.
use url::Url;

/// Host and path, the queries by name only.
pub fn url(url: &Url) -> String {
    let mut shown = url.clone();
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_fragment(None);
    let names: Vec<String> = url.query_pairs().map(|(name, _)| name.into_owned()).collect();
    shown.set_query(None);
    if names.is_empty() {
        return shown.into();
    }
    format!("{shown}?{}", names.iter().map(|name| format!("{name}=…")).collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn credentials_and_query_values_are_left_out() {
        let url = url::Url::parse("https://me:secret@host/path?token=abc&n=1#x").expect("url");
        assert_eq!(super::url(&url), "https://host/path?token=…&n=…");
    }
}
