//! PURE: flags from arguments, from the environment, from a file.
//!
//! Source: Go `flag` (how arguments are split), etcd `server/etcdmain/config.go` and `pkg/flags/flag.go` (which comes first).

use std::collections::BTreeMap;

use super::table::{self, Flag, Kind, Meaning};
use super::{time, yaml};

/// What was said, by the flag's name; checked to be of the flag's kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Given {
    values: BTreeMap<&'static str, String>,
    /// What who started it should know, a line each.
    pub(crate) notices: Vec<String>,
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Help,
    Version,
    Run(Given),
}

/// How a configuration file is read.
pub(crate) type ReadFile<'a> = &'a dyn Fn(&str) -> Result<String, String>;

impl Given {
    /// What was said for a flag, else its default.
    pub(crate) fn text(&self, name: &str) -> &str {
        let default = || table::find(name).map_or("", |flag| flag.default);
        self.values.get(name).map_or_else(default, String::as_str)
    }

    /// Whether anybody said something for a flag.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The value of a switch.
    pub(crate) fn on(&self, name: &str) -> bool {
        switch(self.text(name)).unwrap_or(false)
    }

    /// The words between commas.
    pub(crate) fn words(&self, name: &str) -> Vec<String> {
        let words = self.text(name).split(',').map(str::trim).filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    }

    /// The value of a number.
    pub(crate) fn count(&self, name: &str) -> u64 {
        number(self.text(name)).unwrap_or(0)
    }

    /// The value of a time.
    pub(crate) fn time(&self, name: &str) -> std::time::Duration {
        time::parse(self.text(name)).unwrap_or_default()
    }

    /// Takes a value; `from` is how whoever gave it calls the flag.
    ///
    /// # Errors
    /// When the value is not of the flag's kind, or cannot be honoured.
    pub(super) fn set(&mut self, flag: &'static Flag, from: &str, value: &str) -> Result<(), String> {
        let wrong = |wanted: &str| Err(format!("{from}: {value:?} is not {wanted}"));
        match flag.kind {
            Kind::Text => {}
            Kind::Switch if switch(value).is_none() => return wrong("`true` or `false`"),
            Kind::Count if number(value).is_none() => return wrong("a whole number, 0 or more"),
            Kind::Time if time::parse(value).is_none() => return wrong("a time such as `500ms`, `5s` or `1h30m`"),
            Kind::One(words) if !words.contains(&value) => return wrong(&format!("one of {}", words.join(", "))),
            _ => {}
        }
        match flag.meaning {
            Meaning::Taken => {
                self.values.insert(flag.name, value.to_owned());
            }
            Meaning::None(why) => self.notices.push(format!("{from} has no effect here: {why}")),
            Meaning::Refused(why) if !matches!(value, "" | "off" | "false" | "0") => {
                return Err(format!("{from}: {why}"));
            }
            Meaning::Refused(_) | Meaning::Was(_) => {}
        }
        Ok(())
    }
}

/// Flags come before variables; a configuration file stands alone.
///
/// # Errors
/// When a flag is unknown or its value is wrong: the text says what to do.
pub(crate) fn parse(
    arguments: &[String],
    environment: &[(String, String)],
    read: ReadFile<'_>,
) -> Result<Asked, String> {
    let mut given = Given::default();
    if let Some(asked) = arguments_into(arguments, &mut given)? {
        return Ok(asked);
    }
    let file = environment.iter().find(|(name, _)| name == "ETCD_CONFIG_FILE").map(|(_, path)| path.clone());
    let file = given.values.get("config-file").cloned().or(file).filter(|path| !path.is_empty());
    if let Some(path) = file {
        let mut alone = Given::default();
        yaml::into(&read(&path)?, &mut alone).map_err(|why| format!("{path}: {why}"))?;
        if given.values.keys().any(|name| *name != "config-file") || !given.notices.is_empty() {
            alone.notices.push(format!("other flags have no effect: the settings are those of {path} alone"));
        }
        return Ok(Asked::Run(alone));
    }
    environment_into(environment, &mut given)?;
    Ok(Asked::Run(given))
}

fn arguments_into(arguments: &[String], given: &mut Given) -> Result<Option<Asked>, String> {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let body = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
        let Some(body) = body.filter(|body| !body.is_empty() && !body.starts_with(['-', '='])) else {
            return Err(format!("{argument:?} is not a flag; `raftsman store --help` shows them all"));
        };
        let (name, value) = body.split_once('=').map_or((body, None), |(name, value)| (name, Some(value)));
        match name {
            "h" | "help" => return Ok(Some(Asked::Help)),
            "version" => return Ok(Some(Asked::Version)),
            _ => {}
        }
        let Some(flag) = table::find(name) else { return Err(unknown(&format!("--{name}"), name)) };
        let value = match (value, flag.kind) {
            (Some(value), _) => value,
            (None, Kind::Switch) => "true",
            (None, _) => rest.next().ok_or_else(|| format!("--{name} needs a value: --{name}=VALUE"))?,
        };
        given.set(flag, &format!("--{name}"), value)?;
    }
    Ok(None)
}

fn environment_into(environment: &[(String, String)], given: &mut Given) -> Result<(), String> {
    for (variable, value) in environment.iter().filter(|(name, _)| name.starts_with("ETCD_")) {
        let flag = table::all().find(|flag| table::variable(flag.name) == *variable);
        let Some(flag) = flag.and_then(|flag| table::find(flag.name)) else {
            given.notices.push(format!("{variable} has no effect: no flag is called so"));
            continue;
        };
        if given.is_set(flag.name) {
            given.notices.push(format!("{variable} has no effect: the flag --{} comes first", flag.name));
        } else if !value.is_empty() {
            given.set(flag, variable, value)?;
        }
    }
    Ok(())
}

/// What is said of a name that no flag has.
pub(super) fn unknown(shown: &str, name: &str) -> String {
    match table::nearest(name) {
        Some(near) => {
            let dashes = if shown.starts_with("--") { "--" } else { "" };
            format!("{shown} is unknown; is it {dashes}{near}?")
        }
        None => format!("{shown} is unknown; `raftsman store --help` shows what there is"),
    }
}

/// Source: Go `strconv.ParseBool`.
fn switch(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Source: Go `strconv.ParseUint` with base 0.
fn number(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let radix = [("0x", 16), ("0o", 8), ("0b", 2)].iter().find_map(|(prefix, radix)| {
        let digits = lower.strip_prefix(prefix)?;
        Some((digits, *radix))
    });
    let (digits, radix) = radix.unwrap_or((&lower, 10));
    if digits.starts_with('+') { None } else { u64::from_str_radix(digits, radix).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(arguments: &[&str], environment: &[(&str, &str)], file: &str) -> Result<Given, String> {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let environment: Vec<(String, String)> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        match parse(&arguments, &environment, &|_| Ok(file.to_owned()))? {
            Asked::Run(given) => Ok(given),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_form_that_go_takes_is_taken() {
        for form in [&["--name=a"][..], &["--name", "a"], &["-name=a"], &["-name", "a"]] {
            assert_eq!(run(form, &[], "").expect("taken").text("name"), "a", "{form:?}");
        }
        let given = run(&["-max-txn-ops", "0x10", "--election-timeout", "500"], &[], "").expect("taken");
        assert_eq!((given.count("max-txn-ops"), given.count("election-timeout")), (16, 500));
        assert_eq!(given.time("watch-progress-notify-interval"), std::time::Duration::from_secs(5));
    }

    #[test]
    fn what_is_wrong_is_refused_with_what_to_do() {
        for (arguments, why) in [
            (&["--nmae=a"][..], "--nmae is unknown; is it --name?"),
            (&["--qqqqqqqqqqqq"], "--help"),
            (&["name"], "is not a flag"),
            (&["--"], "is not a flag"),
            (&["--name"], "--name needs a value"),
            (&["--max-txn-ops=many"], "is not a whole number"),
            (&["--max-txn-ops=-1"], "is not a whole number"),
            (&["--watch-progress-notify-interval=5"], "is not a time"),
            (&["--initial-cluster-state=old"], "is not one of new, existing"),
            (&["--discovery-srv=example.com"], "--initial-cluster"),
            (&["--pre-vote=maybe"], "is not `true` or `false`"),
        ] {
            let said = run(arguments, &[], "").expect_err("refused");
            assert!(said.contains(why), "{arguments:?}: {said}");
        }
    }

    #[test]
    fn what_has_no_meaning_is_accepted_with_one_line() {
        let given = run(&["--max-wals=3", "--pre-vote", "--unsafe-no-fsync=true"], &[], "").expect("accepted");
        assert_eq!(given.notices.len(), 3, "{:?}", given.notices);
        assert!(given.notices[2].contains("--unsafe-no-fsync has no effect here"));
    }

    #[test]
    fn flags_come_before_variables_and_older_names_are_known() {
        let given = run(
            &["--name=flag"],
            &[
                ("ETCD_NAME", "env"),
                ("ETCD_DATA_DIR", "d"),
                ("ETCD_FROB", "x"),
                ("HOME", "/"),
                ("ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL", "7s"),
            ],
            "",
        );
        let given = given.expect("taken");
        assert_eq!((given.text("name"), given.text("data-dir")), ("flag", "d"));
        assert_eq!(given.time("watch-progress-notify-interval"), std::time::Duration::from_secs(7));
        assert_eq!(given.notices.len(), 2, "{:?}", given.notices);
        let said = run(&[], &[("ETCD_MAX_TXN_OPS", "x")], "").expect_err("refused");
        assert!(said.starts_with("ETCD_MAX_TXN_OPS: "), "{said}");
    }

    #[test]
    fn a_file_stands_alone() {
        let file = "name: file\nheartbeat-interval: 50\nwatch-progress-notify-interval: 7000000000\n";
        let given = run(&["--config-file=x", "--data-dir=flag"], &[("ETCD_DATA_DIR", "env")], file).expect("taken");
        assert_eq!((given.text("name"), given.count("heartbeat-interval")), ("file", 50));
        assert_eq!(given.time("watch-progress-notify-interval"), std::time::Duration::from_secs(7));
        assert!(!given.is_set("data-dir"));
        assert!(given.notices[0].contains("have no effect"), "{:?}", given.notices);
        let given = run(&[], &[("ETCD_CONFIG_FILE", "x"), ("ETCD_NAME", "env")], file).expect("taken");
        assert_eq!(given.text("name"), "file");
    }
}
