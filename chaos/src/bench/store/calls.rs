//! Calls of one method kept under way on a connection.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::bench::store::wire::{Connection, News};

/// Keeps `at_once` calls under way for as long as more are wanted; how long each took. `message` makes the next request,
/// of at most `bytes` bytes.
///
/// # Errors
/// When one fails.
pub(super) fn keep(
    connection: &mut Connection,
    (at_once, bytes): (usize, usize),
    mut message: impl FnMut(usize) -> Vec<u8>,
    more: impl Fn(usize) -> bool,
) -> anyhow::Result<Vec<Duration>> {
    let (mut under_way, mut taken, mut sent) = (HashMap::new(), Vec::new(), 0);
    loop {
        while under_way.len() < at_once && connection.has_room(bytes) && more(sent) {
            under_way.insert(connection.call(&message(sent)), (Instant::now(), false));
            sent += 1;
        }
        connection.flush()?;
        if under_way.is_empty() {
            return Ok(taken);
        }
        let mut failed = false;
        connection.read(|call, news| match news {
            News::Part(_) => {
                if let Some((_, answered)) = under_way.get_mut(&call) {
                    *answered = true;
                }
            }
            News::End => match under_way.remove(&call) {
                Some((began, true)) => taken.push(began.elapsed()),
                // gRPC answers an error without a message.
                _ => failed = true,
            },
        })?;
        anyhow::ensure!(!failed, "a call failed");
    }
}
