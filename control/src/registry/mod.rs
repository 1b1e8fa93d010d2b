//! The one path of every write, whoever asks: admission, validation, one guarded transaction.

pub mod allocation;
mod author;
pub mod commit;
pub mod event_view;
pub mod gates;
pub mod key;
pub mod names;
pub mod prepare;
pub mod qos;
pub mod removal;
pub mod rules;
pub mod service;
pub mod shell;
pub mod strategy;
