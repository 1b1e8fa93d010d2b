//! PURE: after the fault every member holds the same state, of which each tells a checksum.

use crate::check::Verdict;
use crate::history::{History, StateHash};

pub(crate) fn check(history: &History) -> Verdict {
    let mut hashes = history.hashes.iter();
    let Some((first, wanted)) = hashes.next() else { return Verdict::new(PROPERTY, 0, Vec::new()) };
    let differs = |(member, found): (&String, &StateHash)| {
        (found != wanted).then(|| format!("{member} holds {found:?}, {first} holds {wanted:?}"))
    };
    Verdict::new(PROPERTY, history.hashes.len(), hashes.filter_map(differs).collect())
}

const PROPERTY: &str = "members hold the same state";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let of = |hashes: &[u32]| {
            let hash = |(member, hash): (usize, &u32)| {
                (format!("server-{member}"), StateHash { hash: *hash, revision: 9, compacted: 2 })
            };
            check(&History { hashes: hashes.iter().enumerate().map(hash).collect(), ..History::default() })
        };
        assert!(of(&[7, 7, 7]).holds());
        assert_eq!(of(&[7, 7, 8]).violations.len(), 1);
        assert!(!of(&[]).holds(), "no evidence is no proof");
    }
}
