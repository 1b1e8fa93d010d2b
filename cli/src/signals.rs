//! The signals that end a server, and the one that asks it to begin something anew.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;

/// Heard from when it is made.
pub(crate) struct Ends {
    interrupt: Signal,
    terminate: Signal,
}

impl Ends {
    pub(crate) fn new() -> Result<Ends, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::failed(format!("signals: {error}")));
        Ok(Ends { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Waits for one.
    pub(crate) async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// SIGHUP, which ends a process that does not ask for it.
pub(crate) struct Hangups(Signal);

impl Hangups {
    pub(crate) fn new() -> Result<Hangups, Failure> {
        let heard = signal(SignalKind::hangup()).map_err(|error| Failure::failed(format!("signals: {error}")))?;
        Ok(Hangups(heard))
    }

    /// Waits for one.
    pub(crate) async fn next(&mut self) {
        self.0.recv().await;
    }
}
