//! PURE: the arithmetic of rolling updates: which ReplicaSet gets how many replicas next.
//!
//! Source: k8s.io/kubernetes `pkg/controller/deployment/{rolling,sync}.go`, `util/deployment_util.go`.

use serde_json::Value;

/// One ReplicaSet, as far as a rollout cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set {
    /// `spec.replicas`.
    pub(crate) wished: i64,
    /// `status.availableReplicas`.
    pub(crate) available: i64,
    /// `status.replicas`.
    pub(crate) pods: i64,
}

/// What the deployment wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Goal {
    pub(crate) replicas: i64,
    /// Pods above that at most.
    pub(crate) surge: i64,
    /// Pods below that at most.
    pub(crate) unavailable: i64,
}

impl Goal {
    /// Reads `spec`: percentages become pods, surge rounded up, unavailable down; both zero is one unavailable.
    pub(crate) fn of(spec: &Value) -> Goal {
        let replicas = spec["replicas"].as_i64().unwrap_or(1);
        if spec["strategy"]["type"] == "Recreate" {
            return Goal { replicas, surge: 0, unavailable: replicas };
        }
        let rolling = &spec["strategy"]["rollingUpdate"];
        let surge = scaled(&rolling["maxSurge"], replicas, true);
        let unavailable = scaled(&rolling["maxUnavailable"], replicas, false).min(replicas);
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Goal { replicas, surge, unavailable }
    }

    /// The most pods there may be.
    pub(crate) fn most(self) -> i64 {
        self.replicas + if self.replicas == 0 { 0 } else { self.surge }
    }
}

/// A number, or a percentage of `of`; 25 % where nothing is said.
fn scaled(value: &Value, of: i64, up: bool) -> i64 {
    let percent = match value {
        Value::Number(number) => return number.as_i64().unwrap_or(0),
        Value::String(text) => text.trim_end_matches('%').parse::<i64>().unwrap_or(0),
        _ => 25,
    };
    if up { (percent * of + 99) / 100 } else { percent * of / 100 }
}

/// The next size of the new set of a rolling update.
pub(crate) fn grow(goal: Goal, new: &Set, old: &[Set]) -> i64 {
    if new.wished >= goal.replicas {
        return goal.replicas;
    }
    let all: i64 = new.wished + old.iter().map(|set| set.wished).sum::<i64>();
    let room = goal.most() - all;
    if room <= 0 { new.wished } else { new.wished + room.min(goal.replicas - new.wished) }
}

/// The next sizes of the old sets, oldest first: pods that do not serve go first, the rest as far as enough remain.
pub(crate) fn shrink(goal: Goal, new: &Set, old: &[Set]) -> Vec<i64> {
    let mut sizes: Vec<i64> = old.iter().map(|set| set.wished).collect();
    let all: i64 = new.wished + sizes.iter().sum::<i64>();
    let needed = goal.replicas - goal.unavailable;
    let missing = new.wished - new.available;
    let mut spare = all - needed - missing.max(0);
    for (at, set) in old.iter().enumerate() {
        let dead = (set.wished - set.available).clamp(0, spare.max(0));
        sizes[at] -= dead;
        spare -= dead;
    }
    let available = new.available + old.iter().map(|set| set.available).sum::<i64>();
    let mut spare = available - needed;
    for (at, _) in old.iter().enumerate() {
        let cut = sizes[at].clamp(0, spare.max(0));
        sizes[at] -= cut;
        spare -= cut;
    }
    sizes
}

/// New sizes of all sets when the wish changes in the middle of a rollout: each grows or shrinks by its share. Sets come
/// with the total (replicas and surge) that they were last sized for; the biggest gets what rounding leaves.
pub(crate) fn proportion(goal: Goal, sets: &[(i64, i64)]) -> Vec<i64> {
    let all: i64 = sets.iter().map(|(wished, _)| wished).sum();
    let change = goal.most() - all;
    let mut sizes: Vec<i64> = sets.iter().map(|(wished, _)| *wished).collect();
    if change == 0 {
        return sizes;
    }
    let mut order: Vec<usize> = (0..sets.len()).collect();
    order.sort_by_key(|at| (std::cmp::Reverse(sets[*at].0), *at));
    let mut left = change;
    for at in &order {
        let (wished, was) = sets[*at];
        if wished == 0 || was == 0 {
            continue;
        }
        let share = rounded(wished * goal.most(), was) - wished;
        let share = if change > 0 { share.clamp(0, left.max(0)) } else { share.clamp(left.min(0), 0) };
        sizes[*at] += share;
        left -= share;
    }
    if let Some(first) = order.first() {
        sizes[*first] = (sizes[*first] + left).max(0);
    }
    sizes
}

fn rounded(dividend: i64, divisor: i64) -> i64 {
    (2 * dividend + divisor) / (2 * divisor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn set(wished: i64, available: i64) -> Set {
        Set { wished, available, pods: wished }
    }

    #[test]
    fn goals_are_read_as_kubernetes_does() {
        let rolling = |surge: Value, unavailable: Value| json!({ "replicas": 10, "strategy": { "rollingUpdate": { "maxSurge": surge, "maxUnavailable": unavailable } } });
        let goal = |spec: &Value| {
            let goal = Goal::of(spec);
            (goal.surge, goal.unavailable)
        };
        assert_eq!(goal(&json!({ "replicas": 10 })), (3, 2));
        assert_eq!(goal(&rolling("25%".into(), "25%".into())), (3, 2));
        assert_eq!(goal(&rolling(0.into(), 0.into())), (0, 1));
        assert_eq!(goal(&rolling("100%".into(), 1.into())), (10, 1));
    }

    #[test]
    fn a_rollout_goes_step_by_step() {
        let goal = Goal { replicas: 4, surge: 1, unavailable: 1 };
        assert_eq!(grow(goal, &set(0, 0), &[set(4, 4)]), 1);
        assert_eq!(shrink(goal, &set(1, 0), &[set(4, 4)]), [3]);
        assert_eq!(grow(goal, &set(1, 0), &[set(3, 3)]), 2);
        assert_eq!(shrink(goal, &set(2, 0), &[set(3, 3)]), [3], "three must serve");
        assert_eq!(shrink(goal, &set(2, 2), &[set(3, 3)]), [1]);
        assert_eq!(shrink(goal, &set(0, 0), &[set(2, 0), set(3, 3)]), [0, 3], "what does not serve goes first");
    }

    #[test]
    fn sets_share_a_change_of_the_wish() {
        let goal = |replicas| Goal { replicas, surge: 0, unavailable: 0 };
        assert_eq!(proportion(goal(20), &[(5, 10), (5, 10)]), [10, 10]);
        assert_eq!(proportion(goal(5), &[(8, 10), (2, 10)]), [4, 1]);
        assert_eq!(proportion(goal(0), &[(3, 4), (1, 4)]), [0, 0]);
    }

    proptest! {
        #[test]
        fn a_rollout_ends_and_keeps_its_bounds(replicas in 0_i64..30, surge in 0_i64..10, unavailable in 0_i64..10, old in 0_i64..30) {
            let unavailable = if surge == 0 { unavailable.clamp(1, 30) } else { unavailable }.min(replicas.max(1));
            let goal = Goal { replicas, surge, unavailable };
            let (mut new, mut olds) = (set(0, 0), vec![set(old, old)]);
            for _ in 0..200 {
                let size = grow(goal, &new, &olds);
                prop_assert!(size <= new.wished.max(replicas));
                new = set(size, new.available.min(size));
                let sizes = shrink(goal, &new, &olds);
                let serving = sizes.iter().zip(&olds).map(|(size, set)| set.available.min(*size)).sum::<i64>() + new.available;
                let before = olds.iter().map(|set| set.available).sum::<i64>() + new.available;
                prop_assert!(serving >= before.min(replicas - unavailable), "{serving} of {before}");
                olds = sizes.into_iter().map(|size| set(size, size)).collect();
                new.available = new.wished;
            }
            prop_assert_eq!((new.wished, olds[0].wished), (replicas, 0));
        }
    }
}
