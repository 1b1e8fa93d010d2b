//! PURE: the help text.

use std::fmt::Write;

use super::table::{Kind, TAKEN};

const HEAD: &str = "\
One member of a key-value store that speaks etcd's v3 API, with etcd's own flags.

Usage: raftsman store [FLAGS]
       raftsman store get|history|diff --help    the store as it was at a revision or a time
       raftsman store import --help    an etcd's data as a new data directory
       raftsman store export --help    a store's data to an etcd

A store of one member, its data below ./default.etcd, clients at http://localhost:2379:
  raftsman store

The first of three members; the two others differ in name and addresses:
  raftsman store --name a --data-dir /var/lib/a \\
    --listen-peer-urls http://10.0.0.1:2380 --initial-advertise-peer-urls http://10.0.0.1:2380 \\
    --listen-client-urls http://10.0.0.1:2379 --advertise-client-urls http://10.0.0.1:2379 \\
    --initial-cluster a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380

`--flag value`, `--flag=value` and `-flag` are the same. Each flag is also a variable: --data-dir is ETCD_DATA_DIR; a flag
comes before its variable. With --config-file, a YAML file with the same names, neither counts. Other flags of etcd's are
accepted with a line that says why they do nothing here; names that no etcd knows are refused.

Exit codes: 0 ended when told to, 1 failed, 2 a wrong flag, 4 refused.
";

/// What `--help` prints.
pub(crate) fn text() -> String {
    let mut out = HEAD.to_owned();
    for (section, flags) in TAKEN {
        let _ = write!(out, "\n{section}:\n");
        for flag in *flags {
            let value = match flag.kind {
                Kind::Text => " TEXT".to_owned(),
                Kind::Switch => String::new(),
                Kind::Count => " NUMBER".to_owned(),
                Kind::Time => " TIME".to_owned(),
                Kind::One(words) => format!(" {}", words.join("|")),
            };
            let default = if flag.default.is_empty() { String::new() } else { format!(" [default: {}]", flag.default) };
            let _ = write!(out, "  --{}{value}\n        {}{default}\n", flag.name, flag.help);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_with_a_meaning_is_explained() {
        let text = text();
        for flag in TAKEN.iter().flat_map(|(_, flags)| flags.iter()) {
            assert!(text.contains(&format!("--{}", flag.name)) && !flag.help.is_empty(), "{}", flag.name);
        }
    }
}
