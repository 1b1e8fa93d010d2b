//! How the program ends, and what it says.

use std::io::Write;
use std::process::ExitCode;

use store::moving::Problem;

/// The exit code for servers that do not answer.
const UNREACHABLE: u8 = 3;
/// The one for what is not as it must be.
const REFUSED: u8 = 4;

/// Why a command did not succeed: the text says what failed, why, and what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    text: String,
    /// What was asked for is not there.
    not_found: bool,
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Refused(text) => Failure::refused(text),
            Problem::Unreachable(text) => Failure::unreachable(text),
            Problem::Failed(text) => Failure::failed(text),
        }
    }
}

impl Failure {
    fn new(code: u8, text: impl Into<String>) -> Failure {
        Failure { code, text: text.into(), not_found: false }
    }

    /// The same, because what was asked for is not there.
    pub(crate) fn not_found(self) -> Failure {
        Failure { not_found: true, ..self }
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.not_found
    }

    pub(crate) fn is_unreachable(&self) -> bool {
        self.code == UNREACHABLE
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.code == REFUSED
    }

    /// What failed, why, and what to do.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// It did not work.
    pub(crate) fn failed(text: impl Into<String>) -> Failure {
        Failure::new(1, text)
    }

    /// It was asked for wrongly.
    pub(crate) fn usage(text: impl Into<String>) -> Failure {
        Failure::new(2, text)
    }

    /// The cluster does not answer.
    pub(crate) fn unreachable(text: impl Into<String>) -> Failure {
        Failure::new(UNREACHABLE, text)
    }

    /// The cluster says no.
    pub(crate) fn refused(text: impl Into<String>) -> Failure {
        Failure::new(REFUSED, text)
    }

    /// Says why, on standard error.
    pub(crate) fn tell(&self) {
        let _ = writeln!(std::io::stderr(), "error: {}", self.text);
    }

    /// The same for the last one.
    pub(crate) fn exit(&self) -> ExitCode {
        self.tell();
        ExitCode::from(self.code)
    }
}

/// Prints a line; a closed pipe is the reader's wish, not a failure.
pub(crate) fn say(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("cannot print: {error}")))
        }
        _ => Ok(()),
    }
}
