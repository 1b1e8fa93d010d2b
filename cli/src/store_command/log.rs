//! Where lines go, and which.

use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::{BoxMakeWriter, MakeWriterExt};

use crate::etcd_flags::settings::Settings;
use crate::exit::Failure;

/// From here on lines are written.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn begin(settings: &Settings) -> Result<(), Failure> {
    let level = settings.log_level;
    let filter = EnvFilter::try_from_env("RAFTSMAN_LOG")
        .unwrap_or_else(|_| EnvFilter::new(format!("{level},openraft=error,h2=warn,hyper_util=warn")));
    let outputs = settings.log_outputs.iter().map(|output| place(output)).collect::<Result<Vec<_>, _>>()?;
    let all = outputs.into_iter().reduce(|one, other| BoxMakeWriter::new(one.and(other)));
    let Some(writer) = all else { return Ok(()) };
    let terminal = settings.log_outputs.iter().all(|output| output == "stderr") && std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    if settings.log_json {
        lines.json().flatten_event(true).init();
    } else {
        lines.with_ansi(terminal).init();
    }
    Ok(())
}

fn place(output: &str) -> Result<BoxMakeWriter, Failure> {
    Ok(match output {
        "stderr" => BoxMakeWriter::new(std::io::stderr),
        "stdout" => BoxMakeWriter::new(std::io::stdout),
        path => {
            let file = OpenOptions::new().create(true).append(true).open(path);
            let file = file.map_err(|error| Failure::usage(format!("--log-outputs {path}: {error}")))?;
            BoxMakeWriter::new(Arc::new(file))
        }
    })
}
