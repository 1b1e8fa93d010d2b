//! Carries plans out: one worker per pod looks, plans, acts and tells, over and over.

pub mod execute;
mod grpc;
mod https;
pub mod outbox;
mod probes;
pub mod worker;
pub mod workers;
