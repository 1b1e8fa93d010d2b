//! PURE: how users, roles and whether anybody is asked lie in the engine.

use bytes::Bytes;
use prost::Message;
use proto::authpb::{Role, User};

use crate::engine::{Family, Snapshot};

/// Where rows lie in `Family::Meta`.
pub(super) const STATE_ROW: &[u8] = b"auth/state";
pub(super) const USER_ROWS: &str = "auth/user/";
pub(super) const ROLE_ROWS: &str = "auth/role/";
/// The first row after all of them.
const ROWS: (&[u8], &[u8]) = (b"auth/", b"auth0");

/// What a row holds besides users and roles.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct State {
    #[prost(bool, tag = "1")]
    pub(super) enabled: bool,
    #[prost(uint64, tag = "2")]
    pub(super) revision: u64,
}

/// The rows of the auth store, for backups.
pub(crate) fn rows(snapshot: &dyn Snapshot) -> impl Iterator<Item = (Bytes, Bytes)> + '_ {
    snapshot.scan(Family::Meta, ROWS.0, Some(ROWS.1))
}

/// Whether a row belongs to the auth store.
pub(crate) fn is_row(key: &[u8]) -> bool {
    key >= ROWS.0 && key < ROWS.1
}

/// Rows of an auth store that another store held.
pub(crate) fn written(enabled: bool, revision: u64, users: &[User], roles: &[Role]) -> Vec<(Bytes, Bytes)> {
    let named = |kind: &str, name: &[u8], value: Vec<u8>| ([kind.as_bytes(), name].concat().into(), value.into());
    let state = (STATE_ROW.into(), State { enabled, revision }.encode_to_vec().into());
    let users = users.iter().map(|user| named(USER_ROWS, &user.name, user.encode_to_vec()));
    let roles = roles.iter().map(|role| named(ROLE_ROWS, &role.name, role.encode_to_vec()));
    [state].into_iter().chain(users).chain(roles).collect()
}
