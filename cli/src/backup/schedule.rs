//! `raftsman backup schedule`: how the archive of a running cluster stands.

use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::access::Access;
use crate::endpoints::Endpoints;
use crate::exit::{Failure, say};
use crate::moment::shown as moment;
use crate::show;

/// Names in a member's metrics.
const AGE: &str = "raftsman_archive_age_seconds";
const REVISION: &str = "raftsman_archive_revision";
const TIME: &str = "raftsman_archive_timestamp_seconds";
const BASE: &str = "raftsman_archive_base_timestamp_seconds";
const FAILING: &str = "raftsman_archive_failing";

/// PURE: a number among metrics.
fn number(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// PURE: what a member's metrics say of the archive; none where it does not archive.
fn of_metrics(text: &str) -> Option<Value> {
    let age = number(text, AGE)?;
    let millis = |name| {
        let since = Duration::try_from_secs_f64(number(text, name)?).ok().filter(|since| !since.is_zero())?;
        i64::try_from(since.as_millis()).ok()
    };
    let failing = number(text, FAILING).is_some_and(|failing| failing > 0.0);
    Some(json!({
        "age_ms": Duration::try_from_secs_f64(age).unwrap_or_default().as_millis().to_string().parse::<u64>().ok(),
        "revision": number(text, REVISION).map(|revision| format!("{revision:.0}")).and_then(|text| text.parse::<i64>().ok()),
        "time_ms": millis(TIME), "base_time_ms": millis(BASE),
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
pub(crate) fn line(archive: &Value, now: Timestamp) -> String {
    let seconds = |ms: i64| format!("{}.{} s", ms / 1000, ms % 1000 / 100);
    let place = archive["place"].as_str().map(|place| format!(" in {place}")).unwrap_or_default();
    let newest = archive["time_ms"].as_i64().map_or_else(
        || "no write yet".to_owned(),
        |time| {
            // Clocks of two machines may differ.
            let age = now.as_millisecond().saturating_sub(time).max(0);
            format!("the newest write is {} old (revision {})", seconds(age), archive["revision"])
        },
    );
    let missing = match archive["age_ms"].as_i64().unwrap_or_default() {
        0 => "nothing newer is committed".to_owned(),
        age => format!("what was committed in the last {} is not there yet", seconds(age)),
    };
    // Nothing is archived before a base; a member's clock stands still until the first write.
    let based = archive["base_time_ms"].as_i64().filter(|time| *time > 0);
    let base = match (based, archive["time_ms"].as_i64()) {
        (Some(time), _) => format!("newest base of {}", moment(time)),
        (None, Some(_)) => "newest base from before the first write".to_owned(),
        (None, None) => "no base yet".to_owned(),
    };
    let failure = archive["failure"].as_str().map(|why| format!("; failing: {why}")).unwrap_or_default();
    format!("archived{place}: {newest}, {missing}; {base}{failure}")
}

/// Shows it; refuses one that is too old.
pub(super) async fn run(max_age: Option<Duration>, store: &Endpoints, access: &Access) -> Result<(), Failure> {
    let Some(archive) = standing(store, access).await? else {
        let text = "nothing is archived: start every member with --archive-to PLACE (and --archive-every, --archive-keep-hours, \
                    --archive-keep-days, --archive-recipients)";
        return Err(Failure::refused(text));
    };
    if access.output.is_table() {
        say(&line(&archive, Timestamp::now()))?;
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
        let text = format!("# HELP {AGE} words\n{AGE} 1.25\n{REVISION} 17\n{TIME} 10.5\n{BASE} 0\n{FAILING} 1\n");
        let found = of_metrics(&text).expect("an archive");
        assert_eq!((found["age_ms"].as_u64(), found["revision"].as_i64()), (Some(1250), Some(17)));
        let now = Timestamp::from_millisecond(14_000).expect("a time");
        assert_eq!(
            line(&found, now),
            "archived: the newest write is 3.5 s old (revision 17), what was committed in the last 1.2 s is not there \
             yet; newest base from before the first write; failing: the leader's log says what fails"
        );
        assert_eq!(of_metrics("etcd_server_id 1\n"), None);
        let whole = json!({ "age_ms": 0, "place": "s3://b", "revision": 3, "time_ms": 13_990, "base_time_ms": 1000 });
        assert_eq!(
            line(&whole, now),
            "archived in s3://b: the newest write is 0.0 s old (revision 3), nothing newer is committed; newest base of \
             1970-01-01T00:00:01Z"
        );
        let none = line(&json!({ "age_ms": 0, "place": "p" }), now);
        assert!(none.starts_with("archived in p: no write yet, ") && none.ends_with("; no base yet"), "{none}");
    }
}
