//! PURE: etcd's Range over any picture of the keys.
//!
//! Source: etcd `server/etcdserver/txn/range.go`.

use proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use proto::etcdserverpb::{RangeRequest, RangeResponse};
use proto::mvccpb::KeyValue;

/// Answers a range from the keys that lie in it, in order. The header is left to the caller.
pub(crate) fn answer(request: &RangeRequest, keys: impl Iterator<Item = KeyValue>) -> RangeResponse {
    let limit = usize::try_from(request.limit).unwrap_or(0);
    let sorted = request.sort_order() != SortOrder::None || request.sort_target() != SortTarget::Key;
    let filtered =
        [request.min_mod_revision, request.max_mod_revision, request.min_create_revision, request.max_create_revision]
            .iter()
            .any(|bound| *bound != 0);
    let mut response = RangeResponse::default();
    for kv in keys {
        response.count += 1;
        let full = limit > 0 && response.kvs.len() > limit && !sorted;
        if request.count_only || full || (filtered && !wanted(request, &kv)) {
            continue;
        }
        response.kvs.push(kv);
    }
    if sorted {
        sort(request, &mut response.kvs);
    }
    if limit > 0 && response.kvs.len() > limit {
        response.kvs.truncate(limit);
        response.more = true;
    }
    if request.keys_only {
        response.kvs.iter_mut().for_each(|kv| kv.value.clear());
    }
    response
}

fn wanted(request: &RangeRequest, kv: &KeyValue) -> bool {
    let within = |value: i64, min: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
    within(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
        && within(kv.create_revision, request.min_create_revision, request.max_create_revision)
}

fn sort(request: &RangeRequest, kvs: &mut [KeyValue]) {
    match request.sort_target() {
        SortTarget::Key => kvs.sort_by(|a, b| a.key.cmp(&b.key)),
        SortTarget::Version => kvs.sort_by_key(|kv| kv.version),
        SortTarget::Create => kvs.sort_by_key(|kv| kv.create_revision),
        SortTarget::Mod => kvs.sort_by_key(|kv| kv.mod_revision),
        SortTarget::Value => kvs.sort_by(|a, b| a.value.cmp(&b.value)),
    }
    if request.sort_order() == SortOrder::Descend {
        kvs.reverse();
    }
}
