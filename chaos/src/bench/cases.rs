//! The cases of a bench: a table of rows, some of which are chosen, and run one after the other.

use anyhow::ensure;

/// Names all cases that need not be asked for, so that others can be asked for besides.
const DEFAULT: &str = "default";

/// A row of a table of cases.
pub(super) struct Case<B> {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// Whether it runs only when it is named.
    pub(super) asked: bool,
    pub(super) run: fn(&mut B) -> anyhow::Result<()>,
}

/// PURE: the cases that are named, or all that need not be.
///
/// # Errors
/// When there is none of a name.
pub(super) fn choose<'a, B>(cases: &'a [Case<B>], names: &[String]) -> anyhow::Result<Vec<&'a Case<B>>> {
    let known = |name: &String| name == DEFAULT || cases.iter().any(|case| case.name == name);
    let all = || cases.iter().map(|case| case.name).collect::<Vec<_>>().join(", ");
    ensure!(names.iter().all(known), "there is no such case; there are {}", all());
    let by_default = names.is_empty() || names.iter().any(|name| name == DEFAULT);
    let wanted = |case: &&Case<B>| by_default && !case.asked || names.iter().any(|name| name == case.name);
    Ok(cases.iter().filter(wanted).collect())
}

/// Runs cases; one that cannot be measured here takes no other with it.
///
/// # Errors
/// When some were not measured, at the end: which.
#[expect(clippy::print_stdout, reason = "a command's output")]
pub(super) fn run<B>(chosen: &[&Case<B>], bench: &mut B) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    for case in chosen {
        println!("\n{}: {} (load {})", case.name, case.about, super::probe::load());
        if let Err(error) = (case.run)(bench) {
            println!("  not measured: {error:#}");
            failed.push(case.name);
        }
    }
    ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_those_that_must_be_asked_for_run_by_themselves_and_a_slip_is_told() {
        let case = |name, asked| Case::<()> { name, about: "", asked, run: |()| Ok(()) };
        let cases = [case("a", false), case("b", true), case("c", false)];
        let names = |wanted: &[&str]| {
            let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
            choose(&cases, &wanted).map(|chosen| chosen.iter().map(|case| case.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).expect("known"), ["a", "c"]);
        assert_eq!(names(&["b", "a"]).expect("known"), ["a", "b"]);
        assert_eq!(names(&["b", "default", "b"]).expect("known"), ["a", "b", "c"], "each once");
        assert!(names(&["d"]).expect_err("unknown").to_string().contains("there are a, b, c"));
    }

    #[test]
    fn a_case_that_fails_is_named_and_the_next_one_runs() {
        let cases: [Case<u32>; 2] = [
            Case { name: "a", about: "", asked: false, run: |_| anyhow::bail!("no") },
            Case {
                name: "b",
                about: "",
                asked: false,
                run: |ran| {
                    *ran += 1;
                    Ok(())
                },
            },
        ];
        let (mut ran, chosen) = (0, cases.iter().collect::<Vec<_>>());
        assert_eq!(run(&chosen, &mut ran).expect_err("one fails").to_string(), "not measured: a");
        assert_eq!(ran, 1);
    }
}
