//! PURE: etcd's Range over any picture of the keys.
//!
//! Source: etcd `server/etcdserver/txn/range.go`.

use proto::command::Refusal;
use proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use proto::etcdserverpb::{RangeRequest, RangeResponse};
use proto::mvccpb::KeyValue;

use crate::machine::room::Room;

/// Whether keys are wanted in the order in which they lie. Without an order a target makes no difference yet: what is
/// found within the limit is sorted afterwards.
pub(crate) fn in_order(request: &RangeRequest) -> bool {
    let ascending = request.sort_target() == SortTarget::Key && request.sort_order() == SortOrder::Ascend;
    request.sort_order() == SortOrder::None || ascending
}

/// Whether keys are left out by their revisions.
pub(crate) fn filtered(request: &RangeRequest) -> bool {
    [request.min_mod_revision, request.max_mod_revision, request.min_create_revision, request.max_create_revision]
        .iter()
        .any(|bound| *bound != 0)
}

/// Whether a value is of use: not where only keys are wanted, unless they are sorted by it.
pub(crate) fn values(request: &RangeRequest) -> bool {
    !request.keys_only || request.sort_target() == SortTarget::Value
}

/// As etcd has keys alone: without their leases, unless it looked at the values.
pub(crate) fn bare(kv: &mut KeyValue) {
    kv.value.clear();
    kv.lease = 0;
}

/// Answers a range from the keys that lie in it, in order. The header is left to the caller.
pub(crate) fn answer(request: &RangeRequest, keys: impl Iterator<Item = KeyValue>) -> RangeResponse {
    within(request, keys, &Room::default()).expect("there is room without a bound")
}

/// The same, within what room there is; without rows where none are kept.
///
/// # Errors
/// When there is not enough.
pub(crate) fn within(
    request: &RangeRequest,
    keys: impl Iterator<Item = KeyValue>,
    room: &Room,
) -> Result<RangeResponse, Refusal> {
    let limit = usize::try_from(request.limit).unwrap_or(0);
    let (in_order, filtered, values) = (in_order(request), filtered(request), values(request));
    // One more than wanted tells whether there are more.
    let enough = if in_order && !filtered && limit > 0 { limit.saturating_add(1) } else { usize::MAX };
    let (mut response, mut found) = (RangeResponse::default(), 0);
    for mut kv in keys {
        response.count += 1;
        if request.count_only || found >= enough || (filtered && !wanted(request, &kv)) {
            continue;
        }
        // A key alone keeps the whole row that it was read from.
        room.take(&kv)?;
        found += 1;
        if !values {
            bare(&mut kv);
        }
        if room.keeps() {
            response.kvs.push(kv);
        }
    }
    sort(request, &mut response.kvs);
    if limit > 0 && response.kvs.len() > limit {
        response.kvs.truncate(limit);
        response.more = true;
    }
    if request.keys_only {
        response.kvs.iter_mut().for_each(|kv| kv.value.clear());
    }
    Ok(response)
}

fn wanted(request: &RangeRequest, kv: &KeyValue) -> bool {
    let within = |value: i64, min: i64, max: i64| (min == 0 || value >= min) && (max == 0 || value <= max);
    within(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
        && within(kv.create_revision, request.min_create_revision, request.max_create_revision)
}

/// Equals keep the order of their keys, in both directions.
fn sort(request: &RangeRequest, kvs: &mut [KeyValue]) {
    let compare = |a: &KeyValue, b: &KeyValue| match request.sort_target() {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => a.value.cmp(&b.value),
    };
    match (request.sort_target(), request.sort_order()) {
        (SortTarget::Key, SortOrder::None | SortOrder::Ascend) => {}
        (_, SortOrder::Descend) => kvs.sort_by(|a, b| compare(b, a)),
        _ => kvs.sort_by(compare),
    }
}
