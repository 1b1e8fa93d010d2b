//! `raftsman store get`, `history` and `diff`: a store as it was.

use std::ffi::OsString;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Parser, ValueEnum};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use store::archive::{Change, Difference};

use crate::changes;
use crate::endpoints::{Endpoints, Members};
use crate::exit::{Failure, say};
use crate::moment::time;

const WINDOW: &str = "\
A member keeps what compaction took from clients for a day, or as much of it as a tenth of the disk holds \
(--history-retention and --history-bytes of `raftsman store`). Times are those of the members that took the writes; what is \
shown is what was the newest at the end of that second.

Exit codes: 0 ok, 1 failed, 2 usage, 3 no endpoint answers, 4 refused: not kept any more, or not allowed.";

/// Keys as they were at a revision or a time
#[derive(Parser)]
#[command(name = "raftsman store get", bin_name = "raftsman store get", after_long_help = WINDOW)]
struct Get {
    /// The key; with --prefix, what keys begin with
    #[arg(value_name = "KEY")]
    named: String,
    /// All keys that begin with KEY
    #[arg(long)]
    prefix: bool,
    #[command(flatten)]
    at: AtFlags,
    /// Names alone
    #[arg(long)]
    keys_only: bool,
    #[command(flatten)]
    asked: Asked,
}

#[derive(Args)]
#[group(multiple = false)]
struct AtFlags {
    /// As of this revision [default: the newest]
    #[arg(long, value_name = "REVISION", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(1..))]
    at_revision: Option<i64>,
    /// As of this time: 2026-01-31T12:00:00Z, or how long ago: -2h, -90s, "-1d 2h"
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    at_time: Option<String>,
}

/// What happened to a key, the newest first
#[derive(Parser)]
#[command(name = "raftsman store history", bin_name = "raftsman store history", after_long_help = WINDOW)]
struct History {
    /// The key
    #[arg(value_name = "KEY")]
    named: String,
    /// Changes that are shown at most
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = at_least_one)]
    limit: usize,
    /// Without values
    #[arg(long)]
    keys_only: bool,
    #[command(flatten)]
    asked: Asked,
}

/// Which keys are not the same at two moments
#[derive(Parser)]
#[command(name = "raftsman store diff", bin_name = "raftsman store diff", after_long_help = WINDOW)]
struct Diff {
    /// The earlier moment: a revision, or a time as --at-time of `raftsman store get` takes it
    #[arg(allow_hyphen_values = true)]
    from: String,
    /// The later one [default: now]
    #[arg(allow_hyphen_values = true)]
    to: Option<String>,
    /// Only keys that begin with this
    #[arg(long, value_name = "KEY", default_value = "")]
    prefix: String,
    /// Names alone
    #[arg(long)]
    keys_only: bool,
    #[command(flatten)]
    asked: Asked,
}

/// Whom to ask, and how it is shown.
#[derive(Args)]
struct Asked {
    #[command(flatten)]
    members: Endpoints,
    /// For people, or for programs: a JSON object per line, with keys and values in base64 as etcdctl writes them
    #[arg(long, short = 'o', value_enum, default_value_t = Form::Text)]
    output: Form,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    Json,
}

/// A key and its value, as etcd's JSON has them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Pair {
    key: String,
    value: String,
    mod_revision: String,
    version: String,
}

fn at_least_one(word: &str) -> Result<usize, String> {
    word.parse().ok().filter(|number| *number > 0).ok_or_else(|| "a number from 1 on".to_owned())
}

/// Runs what the first word asks for; none where it is none of these.
pub(super) async fn run(arguments: &[OsString]) -> Option<Result<(), Failure>> {
    let rest = || std::iter::once(OsString::from("raftsman store")).chain(arguments.iter().skip(1).cloned());
    match arguments.first()?.to_str()? {
        "get" => Some(get(super::moving::parsed(rest())).await),
        "history" => Some(history(super::moving::parsed(rest())).await),
        "diff" => Some(diff(super::moving::parsed(rest())).await),
        _ => None,
    }
}

/// PURE: a moment that is a revision or a time.
fn moment(text: &str, now: Timestamp) -> Result<Value, String> {
    match text.parse::<i64>() {
        Ok(revision) if revision >= 0 => Ok(json!({ "revision": revision.to_string() })),
        _ => time(text, now).map(|time| json!({ "time_ms": time.to_string() })),
    }
}

/// PURE: bytes in base64 as text, with what is no text escaped.
fn shown(encoded: &str) -> String {
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    match String::from_utf8(bytes) {
        Ok(text) if text.chars().all(|letter| !letter.is_control() || letter == '\n' || letter == '\t') => text,
        Ok(text) => text.escape_debug().to_string(),
        Err(error) => error.as_bytes().escape_ascii().to_string(),
    }
}

/// PURE: the keys of a range in etcd's words, in base64.
fn bounds(key: &str, prefix: bool) -> (String, String) {
    let mut end = if prefix { key.as_bytes().to_vec() } else { Vec::new() };
    if prefix {
        while end.last() == Some(&0xff) {
            end.pop();
        }
        match end.last_mut() {
            Some(last) => *last += 1,
            None => end = vec![0],
        }
    }
    let key = if prefix && key.is_empty() { &[0][..] } else { key.as_bytes() };
    (STANDARD.encode(key), STANDARD.encode(end))
}

async fn members(asked: &Asked) -> Result<Members, Failure> {
    if asked.members.endpoints.is_empty() {
        return Err(Failure::usage("--endpoints names whom to ask: http://127.0.0.1:2379"));
    }
    asked.members.members().await
}

/// All pages of an answer, one after the other, with the moments as they were understood first.
async fn pages(
    members: &Members,
    call: &str,
    mut request: Value,
    fix: impl Fn(&mut Value, &Value),
    mut each: impl FnMut(&Value) -> Result<(), Failure>,
) -> Result<(), Failure> {
    loop {
        let page = members.ask(call, &request).await.map_err(foreign)?;
        each(&page)?;
        let next = page["next_key"].as_str().unwrap_or_default();
        if next.is_empty() {
            return Ok(());
        }
        fix(&mut request, &page);
        request["key"] = json!(next);
        if request["range_end"] == json!("") {
            return Ok(());
        }
    }
}

/// An etcd does not know these calls.
fn foreign(failure: Failure) -> Failure {
    if !failure.is_not_found() {
        return failure;
    }
    Failure::refused(format!(
        "{}: no `raftsman store` answers there, and nobody else keeps its history",
        failure.text()
    ))
}

fn items<'a>(page: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    page[name].as_array().into_iter().flatten()
}

fn pair(value: &Value) -> Pair {
    serde_json::from_value(value.clone()).unwrap_or_default()
}

async fn get(flags: Get) -> Result<(), Failure> {
    let members = members(&flags.asked).await?;
    let at = match (flags.at.at_revision, &flags.at.at_time) {
        (Some(revision), _) => json!({ "revision": revision.to_string() }),
        (None, Some(text)) => {
            json!({ "time_ms": time(text, Timestamp::now()).map_err(Failure::usage)?.to_string() })
        }
        (None, None) => json!({}),
    };
    let (key, range_end) = bounds(&flags.named, flags.prefix);
    let request = json!({ "key": key, "range_end": range_end, "at": at });
    let mut found = 0;
    let fix = |request: &mut Value, page: &Value| request["at"] = json!({ "revision": page["revision"] });
    pages(&members, "history/range", request, fix, |page| {
        items(page, "kvs").try_for_each(|kv| {
            found += 1;
            if flags.asked.output == Form::Json {
                return say(&kv.to_string());
            }
            let kv = pair(kv);
            say(&shown(&kv.key))?;
            if flags.keys_only { Ok(()) } else { say(&shown(&kv.value)) }
        })
    })
    .await?;
    if found == 0 && !flags.prefix {
        return Err(Failure::failed(format!("{:?} was not there", flags.named)));
    }
    Ok(())
}

async fn history(flags: History) -> Result<(), Failure> {
    let members = members(&flags.asked).await?;
    let key = bounds(&flags.named, false).0;
    let (mut until, mut left, mut found) = (json!({}), flags.limit, false);
    loop {
        let request = json!({ "key": key, "until": until, "limit": left.to_string() });
        let page = members.ask("history/changes", &request).await.map_err(foreign)?;
        let mut last = 0;
        for change in items(&page, "changes") {
            (left, found) = (left.saturating_sub(1), true);
            last = pair(&change["kv"]).mod_revision.parse::<i64>().unwrap_or_default();
            show_change(change, &flags)?;
        }
        if !found {
            return Err(Failure::failed(format!("{:?}: nothing that happened to it is kept", flags.named)));
        }
        if left == 0 || last <= 1 || page["more"] != json!(true) {
            return Ok(());
        }
        until = json!({ "revision": (last - 1).to_string() });
    }
}

fn show_change(change: &Value, flags: &History) -> Result<(), Failure> {
    if flags.asked.output == Form::Json {
        return say(&change.to_string());
    }
    let kv = pair(&change["kv"]);
    let millis = change["time_ms"].as_str().and_then(|millis| millis.parse().ok()).unwrap_or(0);
    let when = if millis == 0 { None } else { Timestamp::from_millisecond(millis).ok() };
    let when = when.map_or_else(|| "unknown".to_owned(), |when| when.to_string());
    if change["deleted"] == json!(true) {
        return say(&format!("revision {}  {when}  deleted", kv.mod_revision));
    }
    say(&format!("revision {}  {when}  version {}", kv.mod_revision, kv.version))?;
    if flags.keys_only { Ok(()) } else { say(&format!("  {}", shown(&kv.value).replace('\n', "\n  "))) }
}

async fn diff(flags: Diff) -> Result<(), Failure> {
    let members = members(&flags.asked).await?;
    let now = Timestamp::now();
    let from = moment(&flags.from, now).map_err(Failure::usage)?;
    let to = flags.to.as_deref().map_or(Ok(json!({})), |text| moment(text, now)).map_err(Failure::usage)?;
    let (key, range_end) = bounds(&flags.prefix, true);
    let request = json!({ "key": key, "range_end": range_end, "from": from, "to": to });
    let fix = |request: &mut Value, page: &Value| {
        request["from"] = json!({ "revision": page["from_revision"] });
        request["to"] = json!({ "revision": page["to_revision"] });
    };
    let (mut found, mut moments) = (Difference::default(), (String::new(), String::new()));
    pages(&members, "history/diff", request, fix, |page| {
        let text = |name: &str| page[name].as_str().unwrap_or_default().to_owned();
        moments = (text("from_revision"), text("to_revision"));
        items(page, "differences").try_for_each(|one| {
            let (before, after) =
                (one.get("before").filter(|kv| !kv.is_null()), one.get("after").filter(|kv| !kv.is_null()));
            let change = match (before, after) {
                (None, _) => Change::Added,
                (_, None) => Change::Removed,
                _ => Change::Changed,
            };
            found.count(change);
            if flags.asked.output == Form::Json {
                return say(&one.to_string());
            }
            let (before, after) = (before.map(pair), after.map(pair));
            let name = before.as_ref().or(after.as_ref()).map(|kv| shown(&kv.key)).unwrap_or_default();
            say(&changes::line(change, &name))?;
            if flags.keys_only {
                return Ok(());
            }
            let lines = [('-', &before), ('+', &after)].into_iter().filter_map(|(sign, kv)| Some((sign, kv.as_ref()?)));
            lines.into_iter().try_for_each(|(sign, kv)| say(&format!("    {sign} {}", shown(&kv.value))))
        })
    })
    .await?;
    if flags.asked.output == Form::Json {
        return Ok(());
    }
    say(&format!("from revision {} to {}: {}", moments.0, moments.1, changes::counts(&found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_revisions_or_times() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().expect("a time");
        assert_eq!(moment("17", now), Ok(json!({ "revision": "17" })));
        assert_eq!(moment("-5s", now), Ok(json!({ "time_ms": (now.as_millisecond() - 5000).to_string() })));
        assert!(moment("-17", now).is_err_and(|error| error.contains("no time")));
    }

    #[test]
    fn an_etcd_keeps_no_history() {
        let failure = foreign(Failure::failed("Not Found").not_found());
        assert!(failure.is_refused() && failure.text().contains("no `raftsman store`"));
        assert_eq!(foreign(Failure::failed("full")).text(), "full");
    }

    #[test]
    fn prefixes_are_ranges_and_bytes_are_shown() {
        let decoded = |(key, end): (String, String)| {
            (STANDARD.decode(key).expect("base64"), STANDARD.decode(end).expect("base64"))
        };
        assert_eq!(decoded(bounds("a", false)), (b"a".to_vec(), Vec::new()));
        assert_eq!(decoded(bounds("a", true)), (b"a".to_vec(), b"b".to_vec()));
        assert_eq!(decoded(bounds("", true)), (vec![0], vec![0]));
        assert_eq!(shown(&STANDARD.encode("a\tü")), "a\tü");
        assert_eq!(shown(&STANDARD.encode([0xff, b'a'])), "\\xffa");
        assert_eq!(shown(&STANDARD.encode("a\0")), "a\\0");
    }
}
