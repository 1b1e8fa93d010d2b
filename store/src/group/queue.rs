//! What waits together goes together: writes asked for while others are on their way become one log entry, reads one
//! confirmation of the leadership. Nobody lingers: a write that finds nothing under way goes at once.

use bytes::Bytes;
use proto::command::Outcome;
use proto::peer;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;

use crate::Error;

/// Groups of writes under way at a time: one goes to the disk while the next one gathers.
pub(crate) const WRITERS: usize = 4;
/// Groups of reads under way at a time.
pub(crate) const READERS: usize = 2;
/// Members of a group at most.
const GROUP_MAX: usize = 512;
/// Bytes of a group's commands, about, at most; a larger command goes alone.
const GROUP_BYTES: usize = 1 << 20;
/// Calls that wait at most; further ones wait to wait.
const WAITING_MAX: usize = 16 << 10;

/// What matters about a write before it is applied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weight {
    /// It stores something new: refused while the leader's disk is full.
    pub(crate) grows: bool,
    /// It must find everything before it written, so it shares no entry.
    pub(crate) alone: bool,
}

/// A write that waits for its group.
pub(crate) struct Write {
    /// An encoded command.
    pub(crate) command: Bytes,
    pub(crate) weight: Weight,
    /// When it is given up.
    pub(crate) until: Instant,
    pub(crate) told: oneshot::Sender<Result<Outcome, Error>>,
}

/// A read that waits for a confirmation.
pub(crate) struct Read {
    pub(crate) until: Instant,
    pub(crate) told: oneshot::Sender<Result<(), Error>>,
}

/// Calls that wait for those who take them in groups.
pub(crate) struct Queue<T> {
    sender: mpsc::Sender<T>,
    waiting: Mutex<mpsc::Receiver<T>>,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        Queue { sender, waiting: Mutex::new(waiting) }
    }

    pub(crate) async fn push(&self, call: T) -> Result<(), Error> {
        self.sender.send(call).await.map_err(|_| Error::Stopped("the store has shut down".to_owned()))
    }

    /// Everything that waits, after waiting for the first of it.
    pub(crate) async fn take(&self) -> Vec<T> {
        let mut waiting = self.waiting.lock().await;
        let mut taken = Vec::new();
        waiting.recv_many(&mut taken, GROUP_MAX).await;
        taken
    }
}

/// PURE: writes as the groups that become entries, in order.
pub(crate) fn groups(writes: Vec<Write>) -> Vec<Vec<Write>> {
    let (mut groups, mut bytes): (Vec<Vec<Write>>, usize) = (Vec::new(), 0);
    for write in writes {
        let fits = bytes + write.command.len() <= GROUP_BYTES && !write.weight.alone;
        let open = groups.last_mut().filter(|group| fits && group.iter().all(|write| !write.weight.alone));
        match open {
            Some(group) => {
                bytes += write.command.len();
                group.push(write);
            }
            None => {
                bytes = write.command.len();
                groups.push(vec![write]);
            }
        }
    }
    groups
}

/// PURE: a write as another member is asked for it.
pub(crate) fn proposal(write: &Write) -> peer::Proposal {
    peer::Proposal { command: write.command.clone(), grows: write.weight.grows }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(size: usize, alone: bool) -> Write {
        let weight = Weight { grows: true, alone };
        Write { command: vec![0; size].into(), weight, until: Instant::now(), told: oneshot::channel().0 }
    }

    #[test]
    fn writes_share_entries_by_size_and_kind() {
        let sizes = |writes: Vec<Write>| groups(writes).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(Vec::new()), [0_usize; 0]);
        assert_eq!(sizes(vec![write(1, false), write(1, false), write(1, false)]), [3]);
        assert_eq!(sizes(vec![write(1, false), write(1, true), write(1, false), write(1, false)]), [1, 1, 2]);
        assert_eq!(sizes(vec![write(GROUP_BYTES / 2, false), write(GROUP_BYTES, false), write(1, false)]), [1, 1, 1]);
        assert_eq!(sizes(vec![write(GROUP_BYTES - 1, false), write(1, false), write(1, false)]), [2, 1]);
    }

    #[tokio::test]
    async fn everything_that_waits_is_taken_at_once() {
        let queue = Queue::new();
        for number in 0..3 {
            queue.push(number).await.expect("open");
        }
        assert_eq!(queue.take().await, [0, 1, 2]);
    }
}
