//! `raftsman backup schedule`: how the archive of a running cluster stands.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::access::Access;
use crate::endpoints::Endpoints;
use crate::exit::{Failure, say};
use crate::moment::shown as moment;
use crate::show;

/// Names in a member's metrics.
const AGE: &str = "raftsman_archive_age_seconds";
const REVISION: &str = "raftsman_archive_revision";
const BASE: &str = "raftsman_archive_base_timestamp_seconds";
const FAILING: &str = "raftsman_archive_failing";

/// PURE: a number among metrics.
fn number(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// PURE: what a member's metrics say of the archive; none where it does not archive.
fn of_metrics(text: &str) -> Option<Value> {
    let age = number(text, AGE)?;
    let base = number(text, BASE).filter(|seconds| *seconds > 0.0).map(|seconds| format!("{seconds:.0}"));
    let base = base.and_then(|seconds| seconds.parse::<i64>().ok()).map(|seconds| seconds * 1000);
    let failing = number(text, FAILING).is_some_and(|failing| failing > 0.0);
    Some(json!({
        "age_ms": Duration::try_from_secs_f64(age).unwrap_or_default().as_millis().to_string().parse::<u64>().ok(),
        "revision": number(text, REVISION).map(|revision| format!("{revision:.0}")).and_then(|text| text.parse::<i64>().ok()),
        "base_time_ms": base,
        "failure": failing.then_some("the leader's log says what fails"),
    }))
}

async fn standing(store: &Endpoints, access: &Access) -> Result<Option<Value>, Failure> {
    if store.endpoints.is_empty() {
        let status = access.ask(Method::GET, "status", Vec::new()).await?;
        return Ok(Some(status["archive"].clone()).filter(|archive| !archive.is_null()));
    }
    Ok(of_metrics(&store.members().await?.text("/metrics").await?))
}

/// PURE: an archive in a line.
pub(crate) fn line(archive: &Value) -> String {
    let age = archive["age_ms"].as_u64().unwrap_or_default();
    let place = archive["place"].as_str().map(|place| format!(" in {place}")).unwrap_or_default();
    let base = archive["base_time_ms"]
        .as_i64()
        .map_or_else(|| "no base yet".to_owned(), |time| format!("newest base of {}", moment(time)));
    let failure = archive["failure"].as_str().map(|why| format!("; failing: {why}")).unwrap_or_default();
    let newest = if age == 0 {
        "everything that is committed".to_owned()
    } else {
        format!("what was committed more than {}.{} s ago", age / 1000, age % 1000 / 100)
    };
    format!("archived{place}: {newest}, up to revision {}, {base}{failure}", archive["revision"])
}

/// Shows it; refuses one that is too old.
pub(super) async fn run(max_age: Option<Duration>, store: &Endpoints, access: &Access) -> Result<(), Failure> {
    let Some(archive) = standing(store, access).await? else {
        let text = "nothing is archived: start every member with --archive-to PLACE (and --archive-every, --archive-keep-hours, \
                    --archive-keep-days, --archive-recipients)";
        return Err(Failure::refused(text));
    };
    if access.output.is_table() {
        say(&line(&archive))?;
    } else {
        show::documents(access.output, vec![archive.clone()])?;
    }
    let age = Duration::from_millis(archive["age_ms"].as_u64().unwrap_or_default());
    match max_age.filter(|most| age > *most) {
        Some(most) => {
            Err(Failure::refused(format!("the archive is {} s old; {} s are allowed", age.as_secs(), most.as_secs())))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_tells_of_its_archive_in_its_metrics() {
        let text = format!("# HELP {AGE} words\n{AGE} 1.25\n{REVISION} 17\n{BASE} 0\n{FAILING} 1\n");
        let found = of_metrics(&text).expect("an archive");
        assert_eq!((found["age_ms"].as_u64(), found["revision"].as_i64()), (Some(1250), Some(17)));
        let said = line(&found);
        assert!(said.contains("more than 1.2 s ago, up to revision 17, no base yet; failing"), "{said}");
        assert_eq!(of_metrics("etcd_server_id 1\n"), None);
        assert!(
            line(&json!({ "age_ms": 0, "place": "s3://b", "revision": 3, "base_time_ms": 0 }))
                .contains("in s3://b: everything")
        );
    }
}
