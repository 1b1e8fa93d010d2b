//! Transactions, whose answers are put together before they go out: each within its bound, all within the server's budget.
//!
//! How large an answer gets is known once it is made, which for one that writes is when every member applies it. So it is
//! measured before, on the state as it is now; that much (and some more) is taken from the budget and goes into the log
//! with the transaction. If the answer needs more by then, all members refuse it alike and nothing has happened: it is
//! measured again, and at last given as much as any answer may have.

use std::sync::Arc;

use prost::Message;
use proto::command::Caller;
use proto::command::command::Request as Write;
use proto::command::outcome::Response as Answer;
use proto::command::refusal::Reason;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request as Op;
use tonic::{Response, Status};

use crate::Error;
use crate::etcd::budget::{Held, SMALL_BYTES};
use crate::etcd::caller::Credentials;
use crate::etcd::kv::Kv;
use crate::etcd::large::{Handed, Large};
use crate::etcd::{check, status};
use crate::machine::lease::Leases;
use crate::machine::permission::permitted;

/// Bytes of the rows of one answer at most.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// What an answer may have that is not counted.
const UNCOUNTED: usize = SMALL_BYTES - 1;
/// An answer lies in memory as rows and then as bytes.
const COPIES: usize = 2;

/// What an answer may take until it has gone out.
pub(super) struct Promise {
    bytes: usize,
    held: Option<Held>,
}

impl Promise {
    /// Hands an answer to the layer around the services, if there is one, which writes it and then gives back its memory.
    ///
    /// # Errors
    /// When it is longer than a message can be.
    pub(super) fn hand<T: Message + Default>(self, answer: T, handed: bool) -> Result<Response<T>, Status> {
        let Some(held) = self.held.filter(|_| handed) else { return Ok(Response::new(answer)) };
        let large = Large::encoded(answer.encode_to_vec().into(), held)?;
        let mut response = Response::new(T::default());
        response.extensions_mut().insert(Handed::new(large));
        Ok(response)
    }
}

fn too_large(error: &Error) -> bool {
    matches!(error, Error::Refused(refusal) if refusal.reason() == Reason::AnswerTooLarge)
}

impl Kv {
    async fn promise(&self, bytes: usize) -> Result<Promise, Status> {
        let held = if bytes > UNCOUNTED { self.front.budget.hold(COPIES * bytes).await? } else { None };
        Ok(Promise { bytes, held })
    }

    /// What an answer would take now, of a transaction that its client may make.
    async fn measured(&self, credentials: &Credentials, request: &Arc<pb::TxnRequest>) -> Result<Promise, Status> {
        let measure = || {
            let (store, request) = (self.front.store.clone(), request.clone());
            crate::edge::blocking(move || store.measure(&request, ANSWER_BYTES_MAX))
        };
        let failed = |error: tokio::task::JoinError| Status::internal(error.to_string());
        let mut found = measure().await.map_err(failed)?;
        if found.as_ref().is_err_and(too_large) {
            let (asked, none) = (Write::Txn((**request).clone()), Leases::default());
            let _ = self.front.read(credentials, |auth, caller| permitted(auth, &none, caller, &asked)).await?;
            // This member may be behind the others.
            self.front.store.barrier().await.map_err(status)?;
            found = measure().await.map_err(failed)?;
        }
        match found {
            Ok(bytes) => self.promise((bytes + bytes / 4).clamp(UNCOUNTED, ANSWER_BYTES_MAX)).await,
            Err(error) if too_large(&error) => Err(status(error)),
            // Whoever makes it says why it cannot be.
            Err(_) => self.promise(UNCOUNTED).await,
        }
    }

    /// What the next attempt may take, after one that needed more than it was promised.
    async fn more(
        &self,
        credentials: &Credentials,
        request: &Arc<pb::TxnRequest>,
        before: Promise,
    ) -> Result<Promise, Status> {
        let had = before.bytes;
        drop(before);
        if had == UNCOUNTED {
            let measured = self.measured(credentials, request).await?;
            if measured.bytes > had {
                return Ok(measured);
            }
        }
        self.promise(ANSWER_BYTES_MAX).await
    }

    async fn first(&self, credentials: &Credentials, request: &Arc<pb::TxnRequest>) -> Result<Promise, Status> {
        // What names its keys one by one is hardly ever large: it is not read twice.
        if check::answers_ranges(request) {
            self.measured(credentials, request).await
        } else {
            self.promise(UNCOUNTED).await
        }
    }

    /// A transaction that only reads goes by no log.
    pub(super) async fn read_txn(
        &self,
        credentials: &Credentials,
        request: pb::TxnRequest,
        handed: bool,
    ) -> Result<Response<pb::TxnResponse>, Status> {
        if !check::serializable(&request) {
            self.front.store.barrier().await.map_err(status)?;
        }
        let asked = Write::Txn(request.clone());
        let none = Leases::default();
        let seen = self.front.read(credentials, |auth, caller| permitted(auth, &none, caller, &asked)).await?;
        let request = Arc::new(request);
        let mut promise = self.first(credentials, &request).await?;
        let answer = loop {
            let (store, wanted, bytes) = (self.front.store.clone(), request.clone(), promise.bytes as u64);
            let read = move || store.read(&wanted, bytes);
            let read = if check::answers_ranges(&request) {
                // Reads much, maybe: off the runtime's threads.
                let read = crate::edge::blocking(read).await;
                read.map_err(|error| Status::internal(error.to_string()))?
            } else {
                read()
            };
            match read {
                Err(error) if too_large(&error) && promise.bytes < ANSWER_BYTES_MAX => {
                    promise = self.more(credentials, &request, promise).await?;
                }
                read => break read.map_err(status)?,
            }
        };
        self.front.unchanged(seen)?;
        promise.hand(answer, handed)
    }

    /// A write whose answer may have rows in it: what `request` makes of it is what the log gets.
    pub(super) async fn write_within(
        &self,
        credentials: &Credentials,
        caller: Caller,
        request: pb::TxnRequest,
        of: impl Fn(&pb::TxnRequest) -> Write,
    ) -> Result<(Answer, Promise), Status> {
        check::size(&request, self.front.options.request_bytes_max).map_err(Status::invalid_argument)?;
        let request = Arc::new(request);
        let mut promise = self.first(credentials, &request).await?;
        loop {
            let write = self.front.store.write_within(caller.clone(), of(&request), promise.bytes as u64);
            match write.await {
                Err(error) if too_large(&error) && promise.bytes < ANSWER_BYTES_MAX => {
                    promise = self.more(credentials, &request, promise).await?;
                }
                written => return Ok((written.map_err(status)?, promise)),
            }
        }
    }

    /// A deletion that answers with what it deleted.
    pub(super) async fn delete_within(
        &self,
        credentials: &Credentials,
        caller: Caller,
        request: pb::DeleteRangeRequest,
        handed: bool,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let alone = pb::RequestOp { request: Some(Op::RequestDeleteRange(request.clone())) };
        let looked_at = pb::TxnRequest { success: vec![alone], ..pb::TxnRequest::default() };
        let made = self.write_within(credentials, caller, looked_at, |_| Write::DeleteRange(request.clone())).await?;
        let (Answer::DeleteRange(mut response), promise) = made else { return Err(status(Error::Unknown)) };
        self.front.store.sign(&mut response.header);
        promise.hand(response, handed)
    }

    pub(super) async fn write_txn(
        &self,
        credentials: &Credentials,
        caller: Caller,
        request: pb::TxnRequest,
        handed: bool,
    ) -> Result<Response<pb::TxnResponse>, Status> {
        let made = self.write_within(credentials, caller, request, |request| Write::Txn(request.clone())).await?;
        let (Answer::Txn(mut response), promise) = made else { return Err(status(Error::Unknown)) };
        self.front.store.sign(&mut response.header);
        promise.hand(response, handed)
    }
}
