//! What lies between a member and its clock and disk: a preloaded library (`shim.c`) and the file by which it is told what
//! to do. Both are compiled where they are used: that needs a C compiler.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

const SHIM: &str = include_str!("shim.c");
const POWER_CUT: &str = include_str!("power_cut.c");
/// What the library maps.
const CONTROL_BYTES: u64 = 4096;

/// A number in the file, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    /// What the wall clock adds, nanoseconds.
    ClockAddsNs = 0,
    /// How much faster it goes, millionths.
    ClockGainsPpm = 1,
    /// Since when, on the machine's monotonic clock, nanoseconds: the library notes it when it is 0.
    ClockGainsSinceNs = 2,
    /// How late syncs of the log are, microseconds.
    SyncLateUs = 3,
    /// 1: the next sync of the log fails.
    SyncFails = 4,
    /// How often the clock was read with something added.
    ClockRead = 5,
    /// How many syncs were late.
    SyncsLate = 6,
    /// 1: syncs of the log do nothing and succeed.
    SyncsLie = 8,
    /// What was added when the clock was read last, nanoseconds.
    ClockWrongNs = 9,
}

/// Where the library is told the file's name.
const CONTROL: &str = "CHAOS_CONTROL";

/// Whether this process has the library.
pub(crate) fn preloaded() -> bool {
    std::env::var_os(CONTROL).is_some()
}

/// Compiles what is needed, once per folder.
///
/// # Errors
/// Without a C compiler.
fn compiled(dir: &Path, name: &str, text: &str, flags: &[&str]) -> anyhow::Result<PathBuf> {
    let (source, made) = (dir.join(format!("{name}.c")), dir.join(name));
    if made.exists() {
        return Ok(made);
    }
    std::fs::write(&source, text)?;
    let done = Command::new("cc").args(flags).arg("-o").arg(&made).arg(&source).output();
    let done = done.context("no C compiler: apt install gcc")?;
    ensure!(done.status.success(), "cc: {}", String::from_utf8_lossy(&done.stderr).trim());
    Ok(made)
}

/// Whether the machine can compile it.
pub(crate) fn can_compile() -> Result<(), String> {
    match Command::new("cc").arg("--version").output() {
        Ok(done) if done.status.success() => Ok(()),
        _ => Err("no C compiler: apt install gcc".to_owned()),
    }
}

/// The file by which a member's library is told.
fn control(dir: &Path, member: &str) -> PathBuf {
    dir.join(format!("{member}.control"))
}

/// What goes in front of a member's command, so that it can be told later.
///
/// # Errors
/// Without a C compiler.
pub(crate) fn prefix(dir: &Path, member: &str) -> anyhow::Result<Vec<String>> {
    let library = compiled(dir, "shim.so", SHIM, &["-shared", "-fPIC"])?;
    let control = control(dir, member);
    File::create(&control)?.set_len(CONTROL_BYTES)?;
    Ok(vec!["env".to_owned(), format!("LD_PRELOAD={}", library.display()), format!("{CONTROL}={}", control.display())])
}

/// Tells a member's library.
///
/// # Errors
/// When the member has none.
pub(crate) fn tell(dir: &Path, member: &str, number: Number, value: i64) -> anyhow::Result<()> {
    let file =
        File::options().write(true).open(control(dir, member)).context("it runs without the preloaded library")?;
    Ok(file.write_all_at(&value.to_ne_bytes(), 8 * number as u64)?)
}

/// Reads what it counted.
///
/// # Errors
/// When the member has none.
pub(crate) fn count(dir: &Path, member: &str, number: Number) -> anyhow::Result<i64> {
    let (file, mut bytes) = (File::open(control(dir, member))?, [0; 8]);
    file.read_exact_at(&mut bytes, 8 * number as u64)?;
    Ok(i64::from_ne_bytes(bytes))
}

/// Cuts the power of the disk that a folder lies on; it takes nothing more until it is mounted again.
///
/// # Errors
/// Without a C compiler, or when it is no ext4 of ours.
pub(crate) fn cut_power(dir: &Path, at: &Path) -> anyhow::Result<()> {
    let program = compiled(dir, "power_cut", POWER_CUT, &[])?;
    let done = Command::new(program).arg(at).output()?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr).trim());
    Ok(())
}
