//! PURE: how the archive stands, as the leader tells every member of its group.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::api::Revision;

/// Begins each datagram about it.
const TAG: &[u8] = b"archive:";
/// The leader tells of it more often than this: who hears nothing for longer counts the time on by itself.
const SILENCE: Duration = Duration::from_secs(2);

/// How the archive of a group stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Where it lies.
    pub place: String,
    /// How old what is archived is against what is committed: what was written longer ago can be restored. 0 where
    /// everything is archived. Units: milliseconds.
    pub age_ms: u64,
    /// The newest revision that is archived, as far as is known.
    pub revision: Revision,
    /// When the newest write that is archived was made, by the machine's clock. Units: milliseconds since 1970.
    #[serde(default)]
    pub time_ms: Option<i64>,
    /// The revision of the newest base.
    pub base_revision: Option<Revision>,
    /// When that was, by the machine's clock. Units: milliseconds since 1970.
    pub base_time_ms: Option<i64>,
    /// What was wrong when it was tried last.
    pub failure: Option<String>,
    /// The last segment's name.
    #[serde(default)]
    pub(crate) last: Option<String>,
}

/// What this member knows.
#[derive(Debug)]
pub(crate) struct Board {
    heard: Option<(Instant, Standing)>,
}

impl Board {
    /// Of a member that is to archive, and has heard nothing yet.
    pub(crate) fn new(place: String, now: Instant) -> Self {
        let failure = Some("nobody has archived anything yet".to_owned());
        Board { heard: Some((now, Standing { place, failure, ..Standing::default() })) }
    }

    /// Of a member that knows of no archive.
    pub(crate) fn none() -> Self {
        Board { heard: None }
    }

    pub(crate) fn hear(&mut self, standing: Standing, now: Instant) {
        self.heard = Some((now, standing));
    }

    /// How it stands now.
    pub(crate) fn standing(&self, now: Instant) -> Option<Standing> {
        let (at, standing) = self.heard.as_ref()?;
        let since = now.duration_since(*at);
        let silent = if since > SILENCE { since } else { Duration::ZERO };
        let age_ms = standing.age_ms.saturating_add(u64::try_from(silent.as_millis()).unwrap_or(u64::MAX));
        Some(Standing { age_ms, ..standing.clone() })
    }
}

/// What others are told.
pub(crate) fn datagram(standing: &Standing) -> Vec<u8> {
    [TAG, &serde_json::to_vec(standing).expect("plain fields")].concat()
}

/// What another member told; none where it is about something else.
pub(crate) fn parse(datagram: &[u8]) -> Option<Standing> {
    serde_json::from_slice(datagram.strip_prefix(TAG)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_goes_on_where_nobody_says_anything() {
        let begun = Instant::now();
        let mut board = Board::new("there".to_owned(), begun);
        assert_eq!(board.standing(begun + Duration::from_secs(1)).expect("known").age_ms, 0);
        assert_eq!(board.standing(begun + Duration::from_secs(9)).expect("known").age_ms, 9000);
        let said = Standing { place: "there".to_owned(), age_ms: 300, revision: 7, ..Standing::default() };
        assert_eq!(parse(&datagram(&said)), Some(said.clone()));
        assert_eq!(parse(b"server-alive"), None);
        board.hear(said.clone(), begun + Duration::from_secs(10));
        assert_eq!(board.standing(begun + Duration::from_secs(12)), Some(said));
        assert_eq!(board.standing(begun + Duration::from_secs(15)).expect("known").age_ms, 5300);
        assert_eq!(Board::none().standing(begun), None);
    }
}
