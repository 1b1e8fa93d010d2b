//! PURE: one hash over all entries up to one. It is the same for the same history, whoever wrote it down and into however
//! many segments, so that a segment says what it follows and what follows it.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use prost::Message;
use proto::peer;

/// Bytes of the hash that are kept.
const BYTES: usize = 16;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Track([u8; BYTES]);

impl Track {
    /// Of nothing: where a base comes before, and nobody knows what came before that.
    pub(crate) const BEGIN: Track = Track([0; BYTES]);

    /// None where it is called otherwise.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        let mut bytes = [0; BYTES];
        if word.len() != 2 * BYTES || !word.is_ascii() {
            return None;
        }
        for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(word.get(at..at + 2)?, 16).ok()?;
        }
        Some(Track(bytes))
    }

    /// The same with an entry more.
    pub(crate) fn and(self, entry: &peer::Entry) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(&self.0);
        match &entry.payload {
            // A map has no order: each member writes it down in its own.
            Some(peer::entry::Payload::Membership(held)) => {
                let mut nodes: Vec<_> = held.nodes.iter().collect();
                nodes.sort_unstable_by_key(|(id, _)| **id);
                let rest = peer::Membership { nodes: Default::default(), ..held.clone() };
                let payload = Some(peer::entry::Payload::Membership(rest));
                context.update(&peer::Entry { log_id: entry.log_id, payload }.encode_length_delimited_to_vec());
                for (id, node) in nodes {
                    context.update(&id.to_be_bytes());
                    context.update(&node.encode_length_delimited_to_vec());
                }
            }
            _ => context.update(&entry.encode_length_delimited_to_vec()),
        }
        let mut bytes = [0; BYTES];
        bytes.copy_from_slice(&context.finish().as_ref()[..BYTES]);
        Track(bytes)
    }
}

impl fmt::Display for Track {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, payload: peer::entry::Payload) -> peer::Entry {
        peer::Entry { log_id: Some(peer::LogId { term: 1, index }), payload: Some(payload) }
    }

    #[test]
    fn what_came_before_is_told_by_a_word() {
        let command = |text: &str| peer::entry::Payload::Command(text.to_owned().into());
        let one = Track::BEGIN.and(&entry(1, command("a")));
        let two = one.and(&entry(2, command("b")));
        assert_eq!(Track::parse(&two.to_string()), Some(two));
        let others = [
            Track::BEGIN,
            one,
            two,
            Track::BEGIN.and(&entry(2, command("b"))),
            one.and(&entry(2, command("c"))),
            one.and(&entry(3, command("b"))),
        ];
        let different: std::collections::BTreeSet<_> = others.into_iter().collect();
        assert_eq!(different.len(), others.len());
        for word in ["", "00", &"g".repeat(32), &"ä".repeat(16), &"0".repeat(33)] {
            assert_eq!(Track::parse(word), None, "{word}");
        }
    }

    #[test]
    fn the_order_of_a_map_does_not_matter() {
        let node = |name: &str| peer::Node { name: name.to_owned(), ..peer::Node::default() };
        let of = |ids: &mut dyn Iterator<Item = u64>, odd: &str| {
            let named = |id: u64| (id, node(if id == 7 { odd } else { "n" }));
            let held = peer::Membership { nodes: ids.map(named).collect(), ..peer::Membership::default() };
            Track::BEGIN.and(&entry(1, peer::entry::Payload::Membership(held)))
        };
        let tracks: std::collections::BTreeSet<_> = (0..20).map(|at| of(&mut (at..20).chain(0..at), "n")).collect();
        assert_eq!(tracks.len(), 1);
        assert_ne!(of(&mut (0..20), "other"), of(&mut (0..20), "n"));
    }
}
