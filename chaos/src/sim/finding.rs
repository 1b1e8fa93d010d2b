//! PURE: what is wrong with a run, and whether another one fails the same way.

use std::fmt::Write;

use crate::sim::run::Report;
use crate::sim::seen::WORKS;

/// What is wrong with a run.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// The properties that are broken, the one that says most first; none: the run came to nothing.
    pub(crate) broken: Vec<String>,
    pub(crate) words: String,
    /// What was asked and answered around it.
    around: Vec<String>,
    /// When, milliseconds.
    pub(crate) at_ms: Option<u64>,
}

/// What is wrong with a run, if anything is.
pub(crate) fn finding(judged: &anyhow::Result<Report>) -> Option<Finding> {
    let report = match judged {
        Ok(report) if report.ok() => return None,
        Ok(report) => report,
        Err(error) => {
            return Some(Finding { broken: Vec::new(), words: format!("{error:#}"), around: Vec::new(), at_ms: None });
        }
    };
    let broken: Vec<_> = report.verdicts.iter().filter(|verdict| !verdict.violations.is_empty()).collect();
    let words = broken.iter().map(|verdict| {
        format!("{}: {} ({} of these)", verdict.property, verdict.violations[0], verdict.violations.len())
    });
    let without = report.verdicts.iter().filter(|verdict| !verdict.holds());
    let nothing = || without.map(|verdict| format!("{}: no evidence", verdict.property)).collect::<Vec<_>>().join("; ");
    Some(Finding {
        words: if broken.is_empty() { nothing() } else { words.collect::<Vec<_>>().join("; ") },
        around: report.around.clone(),
        at_ms: broken.first().and_then(|verdict| Some(verdict.place()?.at_us / 1000)),
        broken: broken.into_iter().map(|verdict| verdict.property.clone()).collect(),
    })
}

impl Finding {
    /// Who found it.
    pub(crate) fn by(&self) -> &str {
        self.broken.first().map_or("the run came to nothing", String::as_str)
    }

    /// Whether a checker found it, in what clients saw or members hold.
    pub(crate) fn by_checkers(&self) -> bool {
        self.broken.first().is_some_and(|property| property != WORKS)
    }

    /// Whether another run fails the same way.
    pub(crate) fn is_as(&self, other: &Finding) -> bool {
        match self.broken.first() {
            Some(property) => other.broken.contains(property),
            None => other.broken.is_empty(),
        }
    }

    /// All of it, with the calls around.
    pub(crate) fn told(&self) -> String {
        let mut text = self.words.clone();
        for line in &self.around {
            let _ = write!(text, "\n    {line}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Place, Verdict};
    use crate::sim::run::Evidence;

    fn report(verdicts: Vec<Verdict>) -> anyhow::Result<Report> {
        let evidence = Evidence::default();
        let around = vec!["> 1.000000 s".to_owned()];
        Ok(Report { verdicts, around, trace: 0, messages: 0, operations: 0, written: 0, simulated_ms: 0, evidence })
    }

    #[test]
    fn a_finding_says_what_broke_and_is_known_again() {
        let broken = |property: &str| {
            let place = Some(Place { at_us: 7_000, key: "k".into() });
            Verdict::placed(property, 3, vec![("it broke".to_owned(), place)])
        };
        let fine = || Verdict::new("b", 3, Vec::new());
        assert!(finding(&report(vec![fine()])).is_none());
        let found = finding(&report(vec![broken("a"), fine()])).expect("broken");
        assert_eq!((found.by(), found.at_ms, found.by_checkers()), ("a", Some(7), true));
        assert_eq!(found.told(), "a: it broke (1 of these)\n    > 1.000000 s");
        let more = finding(&report(vec![broken("c"), broken("a")])).expect("broken");
        assert!(found.is_as(&more) && !more.is_as(&found));
        let nothing = finding(&Err(anyhow::anyhow!("it ended"))).expect("broken");
        assert!(!nothing.is_as(&found) && nothing.is_as(&nothing) && !nothing.by_checkers());
        let silent = finding(&report(vec![Verdict::new("a", 0, Vec::new())])).expect("no evidence is no proof");
        assert_eq!(silent.words, "a: no evidence");
        let stuck = finding(&report(vec![broken(WORKS)])).expect("broken");
        assert!(!stuck.by_checkers());
    }
}
