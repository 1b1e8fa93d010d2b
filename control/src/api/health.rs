//! `/livez`, `/readyz`, `/healthz`.

use http::Response;

use crate::api::answer::{self, Body};
use crate::api::path::Query;
use crate::api::serve::Api;

/// The answer at a health path; none at other paths.
pub(crate) async fn answer(api: &Api, query: &Query, place: &str) -> Option<Response<Body>> {
    let mut parts = place.split('/').skip(1);
    let (name, only) = (parts.next()?, parts.next());
    if !matches!(name, "livez" | "readyz" | "healthz") {
        return None;
    }
    // Alive is who answers at all; ready is who can confirm with a majority what it serves.
    let mut checks = vec![("ping", None)];
    if name != "livez" {
        let confirmed = api.registry.store().barrier().await;
        checks.push(("store", confirmed.err().map(|error| error.to_string())));
    }
    checks.retain(|(check, _)| only.is_none_or(|only| only == *check) && query.all("exclude").all(|out| out != *check));
    let failed = checks.iter().any(|(_, failure)| failure.is_some());
    let line = |(check, failure): &(&str, Option<String>)| match failure {
        Some(why) => format!("[-]{check} failed: {why}\n"),
        None => format!("[+]{check} ok\n"),
    };
    let verdict = if failed { format!("{name} check failed\n") } else { format!("{name} check passed\n") };
    let text = if failed || query.get("verbose").is_some() {
        checks.iter().map(line).collect::<String>() + &verdict
    } else {
        "ok".to_owned()
    };
    Some(answer::whole(if failed { 500 } else { 200 }, "text/plain; charset=utf-8", text))
}
