//! `/livez`, `/readyz`, `/healthz`.
//!
//! Source: k8s.io/apiserver `pkg/server/healthz/healthz.go`.

use http::Response;

use crate::api::answer::{self, Body};
use crate::api::path::Query;
use crate::api::serve::Api;

/// The paths that lie here.
pub(crate) const NAMES: [&str; 3] = ["healthz", "livez", "readyz"];

/// What is checked. Alive is who answers at all; ready is who can confirm with a majority what it serves.
pub(crate) fn checks(name: &str) -> &'static [&'static str] {
    if name == "livez" { &["ping"] } else { &["ping", "etcd"] }
}

/// The answer at a health path; none at other paths.
pub(crate) async fn answer(api: &Api, query: &Query, place: &str) -> Option<Response<Body>> {
    let (name, only) = match place.strip_prefix('/')?.split_once('/') {
        Some((name, only)) => (name, Some(only)),
        None => (place.strip_prefix('/')?, None),
    };
    if !NAMES.contains(&name) {
        return None;
    }
    if only.is_some_and(|only| !checks(name).contains(&only)) {
        return Some(answer::no_page());
    }
    let mut results = Vec::new();
    for check in checks(name).iter().filter(|check| only.is_none_or(|only| only == **check)) {
        let excluded = only.is_none() && query.all("exclude").any(|word| word == *check);
        let healthy = excluded || *check == "ping" || api.registry.store().barrier().await.is_ok();
        results.push(Checked { check, excluded, healthy });
    }
    let unknown: Vec<&str> = query.all("exclude").filter(|word| !checks(name).contains(word)).collect();
    let unknown = if only.is_some() { Vec::new() } else { unknown };
    let (code, text) = report(name, &results, &unknown, query.get("verbose").is_some());
    Some(answer::text(code, text))
}

/// What a check found.
struct Checked<'a> {
    check: &'a str,
    excluded: bool,
    healthy: bool,
}

/// The status and the text of an answer. Why a check failed is not for everybody: it is in the log.
fn report(name: &str, results: &[Checked<'_>], unknown: &[&str], verbose: bool) -> (u16, String) {
    let mut lines = String::new();
    for Checked { check, excluded, healthy } in results {
        lines.push_str(&match (excluded, healthy) {
            (true, _) => format!("[+]{check} excluded: ok\n"),
            (false, true) => format!("[+]{check} ok\n"),
            (false, false) => format!("[-]{check} failed: reason withheld\n"),
        });
    }
    if !unknown.is_empty() {
        let words: Vec<String> = unknown.iter().map(|word| format!("{word:?}")).collect();
        lines.push_str(&format!("warn: some health checks cannot be excluded: no matches for {}\n", words.join(", ")));
    }
    if results.iter().any(|result| !result.healthy) {
        (500, format!("{lines}{name} check failed\n"))
    } else if verbose {
        (200, format!("{lines}{name} check passed\n"))
    } else {
        (200, "ok".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_say_what_was_left_out_and_what_failed() {
        let of = |check, excluded, healthy| Checked { check, excluded, healthy };
        assert_eq!(report("livez", &[of("ping", false, true)], &["bogus"], false), (200, "ok".to_owned()));
        let text = "[+]ping excluded: ok\n[+]etcd ok\nwarn: some health checks cannot be excluded: no matches for \"bogus\"\n\
                    readyz check passed\n";
        let results = [of("ping", true, true), of("etcd", false, true)];
        assert_eq!(report("readyz", &results, &["bogus"], true), (200, text.to_owned()));
        let failed = "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n";
        assert_eq!(
            report("readyz", &[of("ping", false, true), of("etcd", false, false)], &[], false),
            (500, failed.to_owned())
        );
    }
}
