//! etcd's own check of performance, by its unmodified command line: so many clients that each put at their pace for a
//! minute, by default a thousand and 15,000 puts a second.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::bench::store::members::Members;
use crate::bench::store::{Column, Pair};

/// Its loads: 50, 200, 500 or 1000 clients. All but the largest ask for less than either server gives, so that only their
/// slowest puts differ.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub(super) enum Load {
    S,
    M,
    L,
    Xl,
}

impl Load {
    fn word(self) -> &'static str {
        match self {
            Load::S => "s",
            Load::M => "m",
            Load::L => "l",
            Load::Xl => "xl",
        }
    }
}

/// What the check told.
#[derive(Debug, Default, PartialEq)]
struct Told {
    lines: Vec<String>,
    /// Puts a second, the slowest put, and the standard deviation. Units: seconds.
    rate: f64,
    slowest: f64,
    deviation: f64,
}

const COLUMNS: &[Column<Told>] = &[
    ("puts/s", |told| told.rate),
    ("the slowest, s", |told| told.slowest),
    ("standard deviation, s", |told| told.deviation),
];

/// PURE: its words, apart from the bar that shows how far it is.
///
/// Source: etcd `etcdctl/ctlv3/command/check.go`.
fn told(text: &str) -> Told {
    let mut told = Told::default();
    let words = ["PASS", "FAIL", "Throughput", "Slowest", "Stddev"];
    for line in text.lines().map(str::trim).filter(|line| words.iter().any(|word| line.starts_with(word))) {
        let number = line.split_whitespace().find_map(|word| word.trim_end_matches('s').parse::<f64>().ok());
        for (word, figure) in
            [("Throughput", &mut told.rate), ("Slowest", &mut told.slowest), ("Stddev", &mut told.deviation)]
        {
            if let Some(number) = number.filter(|_| line.contains(word)) {
                *figure = number;
            }
        }
        told.lines.push(line.to_owned());
    }
    told
}

fn check(members: &Members, load: &str) -> anyhow::Result<Told> {
    let path = std::env::var_os("ETCDCTL_BIN").map_or_else(|| PathBuf::from("etcdctl"), PathBuf::from);
    let done = Command::new(&path)
        .env("ETCDCTL_API", "3")
        .arg(format!("--endpoints={}", members.addresses()[0]))
        .args(["check", "perf", load])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("no {}: set ETCDCTL_BIN", path.display()))?;
    let told = told(&String::from_utf8_lossy(&done.stdout));
    // A check that is not passed is a failure of the command too.
    ensure!(told.lines.len() > 1, "{}", String::from_utf8_lossy(&done.stderr).trim());
    Ok(told)
}

/// Once each: it takes a minute and says how steady it was by itself.
pub(super) fn run(pair: &mut Pair) -> anyhow::Result<()> {
    let (ours, etcd) = pair.start(1)?;
    pair.note(0);
    let load = format!("--load={}", pair.options.load.word());
    let of_ours = check(&ours, &load)?;
    drop(ours);
    let of_etcd = check(&etcd, &load).context("etcd")?;
    let version = pair.etcd.version.clone();
    for (who, told) in [("raftsman store", &of_ours), (version.as_str(), &of_etcd)] {
        pair.quote(&format!("etcdctl check perf {load}, {who}"), &told.lines);
    }
    let case = format!("etcdctl check perf {}", pair.options.load.word());
    pair.rows(&case, COLUMNS, &[of_ours], &[of_etcd]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_check_says_is_read_whether_it_passed_or_not() {
        let passed = told(
            "60 / 60 [====] 100.00% 60.00s\nPASS: Throughput is 149 writes/s\n\
            PASS: Slowest request took 0.087509s\nPASS: Stddev is 0.001432s\nPASS\n",
        );
        assert_eq!((passed.rate, passed.slowest, passed.deviation), (149.0, 0.087509, 0.001432));
        assert_eq!(passed.lines.len(), 4);
        let failed = told(
            "FAIL: Throughput too low: 9000 writes/s\nSlowest request took too long: 0.612345s\n\
            PASS: Stddev is 0.040000s\nFAIL\n",
        );
        assert_eq!((failed.rate, failed.slowest, failed.lines.len()), (9000.0, 0.612345, 4));
        assert_eq!(told("Error: context deadline exceeded\n"), Told::default());
    }
}
