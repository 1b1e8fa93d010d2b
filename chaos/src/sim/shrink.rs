//! PURE: the fewest of some things with which something still fails.
//!
//! Source: Zeller, Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002.

/// A part of `all` that fails, none of whose pieces can be left out. `all` itself fails.
pub(crate) fn ddmin<T: Clone>(all: &[T], fails: &mut impl FnMut(&[T]) -> bool) -> Vec<T> {
    if all.is_empty() || fails(&[]) {
        return Vec::new();
    }
    let (mut rest, mut pieces) = (all.to_vec(), 2);
    while rest.len() > 1 {
        let size = rest.len().div_ceil(pieces);
        let shorter = (0..rest.len()).step_by(size).find_map(|from| {
            let without = [&rest[..from], &rest[rest.len().min(from + size)..]].concat();
            fails(&without).then_some(without)
        });
        match shorter {
            Some(shorter) => {
                rest = shorter;
                pieces = 2.max(pieces - 1);
            }
            None if size == 1 => return rest,
            None => pieces = (2 * pieces).min(rest.len()),
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_stays_and_nothing_else() {
        let all: Vec<u32> = (0..40).collect();
        for needed in [vec![], vec![7], vec![0, 39], vec![3, 4, 29]] {
            let mut runs = 0;
            let found = ddmin(&all, &mut |some: &[u32]| {
                runs += 1;
                needed.iter().all(|one| some.contains(one))
            });
            assert_eq!(found, needed);
            assert!(runs < 120, "{runs}");
        }
    }
}
