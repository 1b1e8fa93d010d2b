//! PURE: an answer of a watch in several pieces, where its client takes them.
//!
//! Source: etcd `server/etcdserver/api/v3rpc/watch.go` (`sendFragments`).

use prost::Message;
use prost::encoding::encoded_len_varint;
use proto::etcdserverpb::WatchResponse;
use proto::mvccpb::Event;

fn field_bytes(event: &Event) -> usize {
    let length = event.encoded_len();
    1 + encoded_len_varint(length as u64) + length
}

/// Pieces below a size, each with one event at least; all but the last say that more follows.
pub(super) fn fragments(mut answer: WatchResponse, bytes_max: usize) -> Vec<WatchResponse> {
    if bytes_max == usize::MAX || answer.events.len() < 2 || answer.encoded_len() < bytes_max {
        return vec![answer];
    }
    let mut events = std::mem::take(&mut answer.events).into_iter().peekable();
    // The mark of a fragment takes two bytes.
    let empty = answer.encoded_len() + 2;
    let mut pieces = Vec::new();
    while let Some(event) = events.next() {
        let mut bytes = empty + field_bytes(&event);
        let mut piece = WatchResponse { events: vec![event], fragment: true, ..answer.clone() };
        while let Some(event) = events.next_if(|event| bytes + field_bytes(event) < bytes_max) {
            bytes += field_bytes(&event);
            piece.events.push(event);
        }
        pieces.push(piece);
    }
    if let Some(last) = pieces.last_mut() {
        last.fragment = false;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proto::mvccpb::KeyValue;

    use super::*;

    proptest! {
        #[test]
        fn pieces_are_small_and_together_the_whole(
            sizes in proptest::collection::vec(0_usize..300, 1..40), bytes_max in 50_usize..1000,
        ) {
            let event = |size: usize| {
                let kv = KeyValue { key: vec![b'k'; size].into(), ..KeyValue::default() };
                Event { kv: Some(kv), ..Event::default() }
            };
            let events: Vec<Event> = sizes.into_iter().map(event).collect();
            let whole = WatchResponse { watch_id: 7, events: events.clone(), ..WatchResponse::default() };
            let pieces = fragments(whole, bytes_max);
            for (number, piece) in pieces.iter().enumerate() {
                prop_assert!(piece.events.len() == 1 || piece.encoded_len() < bytes_max);
                prop_assert_eq!(piece.fragment, number + 1 < pieces.len());
                prop_assert_eq!(piece.watch_id, 7);
            }
            prop_assert_eq!(pieces.into_iter().flat_map(|piece| piece.events).collect::<Vec<_>>(), events);
        }
    }
}
