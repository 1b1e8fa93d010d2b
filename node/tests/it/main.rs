//! The agent's workers on a real Docker Engine: `$DOCKER_HOST`, else one of their own as root, else skipped, loudly.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test program")]

mod engine;
mod images;
mod pods;
