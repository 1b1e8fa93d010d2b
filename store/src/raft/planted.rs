//! Defects of what members say to each other, where a simulation plants one (`edge::planted`).
//!
//! Openraft had some of them inside; here they are planted where it meets the network, and it sees the same.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{Stream, StreamExt, stream};
use openraft::base::BoxStream;
use openraft::errors::RPCError;
use openraft::raft::{AppendEntriesRequest, StreamAppendResult, VoteRequest};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::raft::types::{LogId, Types};

/// A candidate's request, which claims more of the log than it has.
pub(super) fn boasting(request: &VoteRequest<Types>) -> VoteRequest<Types> {
    let mut request = request.clone();
    if let Some(last) = &mut request.last_log_id {
        last.index += BOASTED;
    }
    request
}

/// What a follower answers to what it is sent.
pub(super) type Answers<'s> = BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>;

/// So many entries more are claimed.
const BOASTED: u64 = 1_000_000;

/// A group with so many entries works.
const WORKS: u64 = 40;

/// Whether a request comes from a group that has begun its work.
pub(super) fn works(request: &AppendEntriesRequest<Types>) -> bool {
    request.prev_log_id.as_ref().is_some_and(|last| last.index > WORKS)
}

/// What was sent on a stream that the follower has acknowledged something of.
pub(super) struct Sent {
    matched: Arc<AtomicBool>,
    last: UnboundedReceiver<LogId>,
}

/// Notes what is sent.
pub(super) fn noted<S>(requests: S) -> (impl Stream<Item = AppendEntriesRequest<Types>> + Send + 'static, Sent)
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Send + 'static,
{
    let (note, last) = unbounded_channel();
    let matched = Arc::new(AtomicBool::new(false));
    let known = matched.clone();
    let requests = requests.inspect(move |request| {
        if let Some(last) = request.entries.last().filter(|_| known.load(Ordering::Relaxed)) {
            // Nobody looks at the answers any more when this fails.
            let _ = note.send(last.log_id);
        }
    });
    (requests, Sent { matched, last })
}

impl Sent {
    /// The answers, with those among them that were not given.
    pub(super) fn acknowledged<'s>(self, answers: Answers<'s>) -> Answers<'s> {
        let Sent { matched, last } = self;
        let given = answers.inspect(move |answer| {
            if matches!(answer, Ok(Ok(_))) {
                matched.store(true, Ordering::Relaxed);
            }
        });
        let assumed = stream::unfold(last, |mut last| async move { Some((Ok(Ok(Some(last.recv().await?))), last)) });
        let both = stream::select(given.map(Some).chain(stream::iter([None])), assumed.map(Some));
        Box::pin(both.take_while(|answer| ready(answer.is_some())).filter_map(ready))
    }
}
