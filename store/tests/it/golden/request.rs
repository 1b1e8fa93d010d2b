//! Requests of etcd's API from words.

use proto::etcdserverpb as pb;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request;

use super::show::Names;
use super::words::{Words, bytes, number, revision};

pub(crate) fn range(words: &Words, names: &Names) -> pb::RangeRequest {
    let place = |name: &str, list: &[&str]| {
        words.option(name).map_or(0, |word| {
            list.iter().position(|known| *known == word).map_or_else(|| number(word) as i32, |place| place as i32)
        })
    };
    pb::RangeRequest {
        key: words.bytes(1),
        range_end: words.bytes(2),
        limit: words.number("limit"),
        revision: words.revision("rev", names.base),
        sort_order: place("order", &["none", "asc", "desc"]),
        sort_target: place("sort", &["key", "version", "create", "mod", "value"]),
        serializable: words.flag("ser"),
        keys_only: words.flag("keys"),
        count_only: words.flag("count"),
        min_mod_revision: words.revision("minmod", names.base),
        max_mod_revision: words.revision("maxmod", names.base),
        min_create_revision: words.revision("mincreate", names.base),
        max_create_revision: words.revision("maxcreate", names.base),
    }
}

pub(crate) fn put(words: &Words, names: &Names) -> pb::PutRequest {
    pb::PutRequest {
        key: words.bytes(1),
        value: words.bytes(2),
        lease: words.option("lease").map_or(0, |word| names.lease(word)),
        prev_kv: words.flag("prev"),
        ignore_value: words.flag("ignore_value"),
        ignore_lease: words.flag("ignore_lease"),
    }
}

pub(crate) fn delete(words: &Words) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: words.bytes(1), range_end: words.bytes(2), prev_kv: words.flag("prev") }
}

pub(crate) fn watch(words: &Words, names: &Names) -> pb::WatchCreateRequest {
    let filter = |flag: &str, filter: pb::watch_create_request::FilterType| words.flag(flag).then_some(filter.into());
    pb::WatchCreateRequest {
        key: words.bytes(2),
        range_end: words.bytes(3),
        start_revision: words.revision("rev", names.base),
        progress_notify: words.flag("progress"),
        filters: filter("noput", pb::watch_create_request::FilterType::Noput)
            .into_iter()
            .chain(filter("nodelete", pb::watch_create_request::FilterType::Nodelete))
            .collect(),
        prev_kv: words.flag("prev"),
        watch_id: words.number("id"),
        fragment: words.flag("fragment"),
    }
}

/// `[if COMPARE , …] [then OP ; …] [else OP ; …]`, where an OP can be `( … )` again.
pub(crate) fn txn(words: &[String], names: &Names) -> pb::TxnRequest {
    let mut rest = words;
    let request = parse_txn(&mut rest, names);
    assert!(rest.is_empty(), "left over: {rest:?}");
    request
}

fn parse_txn(rest: &mut &[String], names: &Names) -> pb::TxnRequest {
    let mut request = pb::TxnRequest::default();
    while let Some((word, more)) = rest.split_first() {
        match word.as_str() {
            "if" => {
                *rest = more;
                request.compare = compares(rest, names);
            }
            "then" => {
                *rest = more;
                request.success = ops(rest, names);
            }
            "else" => {
                *rest = more;
                request.failure = ops(rest, names);
            }
            _ => break,
        }
    }
    request
}

fn compares(rest: &mut &[String], names: &Names) -> Vec<pb::Compare> {
    let mut found = Vec::new();
    while let [target, key, result, value, more @ ..] = *rest {
        *rest = more;
        found.push(compare(target, key, result, value, names));
        match rest.first().map(String::as_str) {
            Some(",") => *rest = &rest[1..],
            _ => break,
        }
    }
    found
}

fn compare(target: &str, key: &str, result: &str, value: &str, names: &Names) -> pb::Compare {
    let (key, end) = key.split_once("..").unwrap_or((key, ""));
    let relative = || revision(value, names.base);
    let (target, union) = match target {
        "version" => (CompareTarget::Version as i32, Some(TargetUnion::Version(relative()))),
        "create" => (CompareTarget::Create as i32, Some(TargetUnion::CreateRevision(relative()))),
        "mod" => (CompareTarget::Mod as i32, Some(TargetUnion::ModRevision(relative()))),
        "value" => (CompareTarget::Value as i32, Some(TargetUnion::Value(bytes(value)))),
        "lease" => (CompareTarget::Lease as i32, Some(TargetUnion::Lease(names.lease(value)))),
        // Without an operand, or with another's.
        "value_none" => (CompareTarget::Value as i32, None),
        "mod_none" => (CompareTarget::Mod as i32, None),
        "mod_as_version" => (CompareTarget::Mod as i32, Some(TargetUnion::Version(relative()))),
        other => (number(other) as i32, None),
    };
    let result = match result {
        "=" => CompareResult::Equal as i32,
        "!=" => CompareResult::NotEqual as i32,
        ">" => CompareResult::Greater as i32,
        "<" => CompareResult::Less as i32,
        other => number(other) as i32,
    };
    pb::Compare { result, target, key: bytes(key), range_end: bytes(end), target_union: union }
}

fn ops(rest: &mut &[String], names: &Names) -> Vec<pb::RequestOp> {
    let mut found = Vec::new();
    loop {
        let end = rest.iter().position(|word| [";", "else", ")", "("].contains(&word.as_str())).unwrap_or(rest.len());
        let (op, more) = rest.split_at(end);
        let words = Words::new(op);
        let request = match op.first().map(String::as_str) {
            Some("range") => Some(Request::RequestRange(range(&words, names))),
            Some("put") => Some(Request::RequestPut(put(&words, names))),
            Some("del") => Some(Request::RequestDeleteRange(delete(&words))),
            Some("empty") => None,
            Some(other) => panic!("{other}: not an operation"),
            None => {
                let Some(("(", inner)) = more.split_first().map(|(word, inner)| (word.as_str(), inner)) else {
                    return found;
                };
                *rest = inner;
                let nested = parse_txn(rest, names);
                *rest = rest.strip_prefix(&[")".to_owned()]).expect("a closing parenthesis");
                found.push(pb::RequestOp { request: Some(Request::RequestTxn(nested)) });
                if rest.first().is_some_and(|word| word == ";") {
                    *rest = &rest[1..];
                    continue;
                }
                return found;
            }
        };
        // `put a 1 *130` repeats with numbered keys.
        found.push(pb::RequestOp { request });
        *rest = more;
        if rest.first().is_some_and(|word| word == ";") {
            *rest = &rest[1..];
        } else {
            return found;
        }
    }
}
