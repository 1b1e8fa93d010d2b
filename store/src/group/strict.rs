//! PURE: which changes of the group etcd refuses, in its order and its words.
//!
//! Source: etcd `server/etcdserver/server.go` (`mayAddMember` and its like), `api/membership/cluster.go`
//! (`ValidateConfigurationChange`, `IsReadyTo…`). Where etcd wants members to have been connected for some seconds, they
//! have to have answered a moment ago here: the change itself is safe without.

use proto::peer::Node;

use crate::api::MemberId;

pub(crate) const BAD_URLS: &str = "etcdserver: given member URLs are invalid";
pub(crate) const NOT_FOUND: &str = "etcdserver: member not found";
pub(crate) const UNHEALTHY: &str = "etcdserver: unhealthy cluster";
pub(crate) const NOT_STARTED: &str = "etcdserver: re-configuration failed due to not enough started members";
pub(crate) const ID_EXISTS: &str = "etcdserver: member ID already exist";
pub(crate) const URL_EXISTS: &str = "etcdserver: Peer URLs already exists";
pub(crate) const NO_LEARNER: &str = "etcdserver: can only promote a learner member";
pub(crate) const NOT_READY: &str = "etcdserver: can only promote a learner member which is in sync with leader";
pub(crate) const MANY_LEARNERS: &str = "etcdserver: too many learner members in cluster";

/// A learner is in sync with nine tenths of what the leader holds.
const IN_SYNC: (u64, u64) = (9, 10);

/// A member as the checks see it.
#[derive(Clone, Debug, Default)]
pub(super) struct Seat {
    pub(super) id: MemberId,
    /// Has said what it is called.
    pub(super) started: bool,
    /// Neither votes nor will without being asked to.
    pub(super) learner: bool,
    pub(super) peer_urls: Vec<String>,
    /// The leader heard from it a moment ago.
    pub(super) answers: bool,
    /// The last entry that it holds.
    pub(super) matched: u64,
}

/// Why not; in etcd's words.
pub(super) type Checked = Result<(), &'static str>;

fn ensure(holds: bool, why: &'static str) -> Checked {
    if holds { Ok(()) } else { Err(why) }
}

fn voting(seats: &[Seat]) -> impl Iterator<Item = &Seat> {
    seats.iter().filter(|seat| !seat.learner)
}

/// Whether as many have started as a group of so many needs.
fn enough_started(started: usize, members: usize) -> bool {
    started > members / 2
}

fn counts<'a>(seats: impl Iterator<Item = &'a Seat>) -> (usize, usize) {
    seats.fold((0, 0), |(started, all), seat| (started + usize::from(seat.started), all + 1))
}

fn connected(seats: &[Seat], own: MemberId) -> usize {
    voting(seats).filter(|seat| seat.id == own || seat.answers).count()
}

fn taken(seats: &[Seat], but: Option<MemberId>, urls: &[String]) -> bool {
    seats.iter().filter(|seat| Some(seat.id) != but).any(|seat| seat.peer_urls.iter().any(|url| urls.contains(url)))
}

/// `own` leads; `learners_max` counts the new one.
pub(super) fn may_add(seats: &[Seat], own: MemberId, id: MemberId, node: &Node, learners_max: usize) -> Checked {
    let (started, members) = counts(voting(seats));
    // One that is alone may always take in a second.
    ensure(node.learner || members == 1 && started == 1 || enough_started(started, members + 1), NOT_STARTED)?;
    ensure(members == 1 || connected(seats, own) > members.div_ceil(2), UNHEALTHY)?;
    ensure(seats.iter().all(|seat| seat.id != id), ID_EXISTS)?;
    ensure(!taken(seats, None, &node.peer_urls), URL_EXISTS)?;
    let learners = seats.iter().filter(|seat| seat.learner).count();
    ensure(!node.learner || learners < learners_max, MANY_LEARNERS)
}

pub(super) fn may_move(seats: &[Seat], id: MemberId, urls: &[String]) -> Checked {
    ensure(seats.iter().any(|seat| seat.id == id), NOT_FOUND)?;
    ensure(!taken(seats, Some(id), urls), URL_EXISTS)
}

pub(super) fn may_remove(seats: &[Seat], own: MemberId, id: MemberId) -> Checked {
    let gone = seats.iter().find(|seat| seat.id == id);
    if gone.is_some_and(|seat| seat.learner) {
        return Ok(());
    }
    let (started, members) = counts(voting(seats).filter(|seat| seat.id != id));
    ensure(enough_started(started, members), NOT_STARTED)?;
    let Some(gone) = gone else { return Err(NOT_FOUND) };
    // One that is away is no part of the quorum there is.
    if id != own && !gone.answers {
        return Ok(());
    }
    ensure(connected(seats, own) - 1 > members / 2, UNHEALTHY)
}

pub(super) fn may_promote(seats: &[Seat], own: MemberId, id: MemberId) -> Checked {
    let seat = seats.iter().find(|seat| seat.id == id).ok_or(NOT_FOUND)?;
    let last = seats.iter().find(|seat| seat.id == own).map_or(0, |own| own.matched);
    let in_sync = seat.matched.saturating_mul(IN_SYNC.1) >= last.saturating_mul(IN_SYNC.0);
    // Unlike in etcd it must be there: one that died would be a vote that is missing.
    ensure(in_sync && (!seat.learner || seat.answers), NOT_READY)?;
    let (started, members) = counts(voting(seats));
    ensure(enough_started(started + 1, members + 1), NOT_STARTED)?;
    ensure(seat.learner, NO_LEARNER)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Voters 1 to `count`, all well; 1 leads.
    fn voters(count: u64) -> Vec<Seat> {
        let seat = |id| Seat {
            id,
            started: true,
            peer_urls: vec![format!("http://m{id}:1")],
            answers: true,
            matched: 100,
            ..Seat::default()
        };
        (1..=count).map(seat).collect()
    }

    fn learner(id: MemberId, matched: u64) -> Seat {
        Seat { learner: true, matched, ..voters(id).pop().expect("the last") }
    }

    fn node(url: &str, learner: bool) -> Node {
        Node { peer_urls: vec![url.to_owned()], learner, ..Node::default() }
    }

    fn add(seats: &[Seat]) -> Checked {
        may_add(seats, 1, 9, &node("http://new:1", false), 1)
    }

    #[test]
    fn voters_are_added_while_enough_have_started_and_answer() {
        assert_eq!(add(&voters(1)), Ok(()));
        assert_eq!(add(&voters(3)), Ok(()));
        let mut seats = voters(2);
        (seats[1].started, seats[1].answers) = (false, false);
        assert_eq!(add(&seats), Err(NOT_STARTED), "the second has not come yet");
        let mut seats = voters(3);
        seats[2].answers = false;
        assert_eq!(add(&seats), Err(UNHEALTHY), "two of four would be no quorum");
        let mut seats = voters(5);
        seats[4].answers = false;
        assert_eq!(add(&seats), Ok(()), "four of six");
    }

    #[test]
    fn ids_urls_and_learners_are_limited_in_this_order() {
        let seats = [voters(3), vec![learner(4, 0)]].concat();
        assert_eq!(may_add(&seats, 1, 2, &node("http://m1:1", false), 1), Err(ID_EXISTS));
        assert_eq!(may_add(&seats, 1, 9, &node("http://m1:1", true), 1), Err(URL_EXISTS));
        assert_eq!(may_add(&seats, 1, 9, &node("http://new:1", true), 1), Err(MANY_LEARNERS));
        assert_eq!(may_add(&seats, 1, 9, &node("http://new:1", true), 2), Ok(()));
        assert_eq!(may_move(&seats, 9, &["http://m1:1".to_owned()]), Err(NOT_FOUND));
        assert_eq!(may_move(&seats, 2, &["http://m1:1".to_owned()]), Err(URL_EXISTS));
        assert_eq!(may_move(&seats, 1, &["http://m1:1".to_owned()]), Ok(()));
    }

    #[test]
    fn no_removal_takes_the_quorum_along() {
        assert_eq!(may_remove(&voters(1), 1, 1), Err(NOT_STARTED));
        assert_eq!(may_remove(&voters(2), 1, 2), Ok(()));
        assert_eq!(may_remove(&voters(3), 1, 7), Err(NOT_FOUND));
        let mut seats = voters(3);
        seats[2].answers = false;
        assert_eq!(may_remove(&seats, 1, 2), Err(UNHEALTHY), "it is one of the two that are left");
        assert_eq!(may_remove(&seats, 1, 1), Err(UNHEALTHY));
        assert_eq!(may_remove(&seats, 1, 3), Ok(()), "it is away anyway");
        let seats = [seats, vec![learner(4, 0)]].concat();
        assert_eq!(may_remove(&seats, 1, 4), Ok(()));
    }

    #[test]
    fn learners_are_promoted_when_in_sync() {
        let with = |matched| [voters(3), vec![learner(4, matched)]].concat();
        assert_eq!(may_promote(&with(90), 1, 4), Ok(()));
        assert_eq!(may_promote(&with(89), 1, 4), Err(NOT_READY));
        assert_eq!(may_promote(&with(90), 1, 5), Err(NOT_FOUND));
        assert_eq!(may_promote(&with(90), 1, 2), Err(NO_LEARNER));
        let mut away = with(100);
        away[3].answers = false;
        assert_eq!(may_promote(&away, 1, 4), Err(NOT_READY));
    }
}
