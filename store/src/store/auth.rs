//! What the etcd API asks the store about its users.

use std::sync::Arc;

use bytes::Bytes;
use proto::command::command::Request;
use proto::command::outcome::Response;
use proto::command::{Caller, Command};
use proto::etcdserverpb as pb;

use crate::machine::auth::Auth;
use crate::machine::tokens::Tokens;
use crate::{Error, Store};

impl Store {
    /// Whether clients are asked who they are.
    pub(crate) fn guarded(&self) -> bool {
        self.inner.machine.guarded()
    }

    /// The users of the local replica.
    pub(crate) fn auth(&self) -> Arc<Auth> {
        self.inner.machine.auth()
    }

    /// Tokens that the log gave out.
    pub(crate) fn tokens(&self) -> &Tokens {
        self.inner.machine.tokens()
    }

    /// A write of a client, whose rights are looked at when it is applied.
    ///
    /// # Errors
    /// As `txn`.
    pub(crate) async fn write_for(&self, caller: Caller, request: Request) -> Result<Response, Error> {
        self.commit(Command { caller: Some(caller), request: Some(request), ..Command::default() }).await
    }

    /// The same, with an answer whose rows take so many bytes at most: beyond them nothing is done.
    ///
    /// # Errors
    /// As `txn`, and `Refused` with `ANSWER_TOO_LARGE`.
    pub(crate) async fn write_within(
        &self,
        caller: Caller,
        request: Request,
        answer_bytes_max: u64,
    ) -> Result<Response, Error> {
        let request = Some(request);
        self.commit(Command { caller: Some(caller), request, answer_bytes_max, ..Command::default() }).await
    }

    /// A range of the local replica as it is.
    ///
    /// # Errors
    /// As etcd's Range.
    pub(crate) fn local_range(&self, request: &pb::RangeRequest) -> Result<pb::RangeResponse, Error> {
        let mut response = self.inner.machine.range(request)?;
        self.sign(&mut response.header);
        Ok(response)
    }

    /// The keys that end with a lease.
    pub(crate) fn lease_keys(&self, id: i64) -> Vec<Bytes> {
        self.inner.machine.lease(id).map(|(_, keys)| keys).unwrap_or_default()
    }

    /// Waits until this member has applied a log entry.
    ///
    /// # Errors
    /// When it does not in time.
    pub(crate) async fn reached(&self, index: u64) -> Result<(), Error> {
        self.inner.group.caught_up(index).await
    }
}
