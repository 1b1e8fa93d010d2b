//! Defects that a simulation plants in this program, each where it once was or could be: a harness is as good as what it
//! finds.
//!
//! Nobody else can plant one. A member is in a simulated world or in none, and no flag, file or request leads into one: a
//! process enters it by a call (`edge::enter`) that what users run does not make.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::edge;
use crate::edge::drive::{Defect, Drive};

/// What is planted in a member: outside of simulations nothing. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Planted(Option<Plant>);

#[derive(Clone)]
struct Plant {
    /// Knows the defect, and when it strikes.
    drive: Drive,
    /// What a member's own parts wait for each other with, where one of the defects makes them.
    turn: Arc<Mutex<()>>,
}

impl Planted {
    /// What is planted in the member whose data lie in a directory.
    pub(crate) fn of(dir: &Path) -> Self {
        let plant = |world: Arc<dyn edge::World>| Plant { drive: world.drive(dir), turn: Arc::default() };
        Planted(edge::world().map(plant))
    }

    /// Whether it is this one.
    pub(crate) fn has(&self, defect: Defect) -> bool {
        self.0.as_ref().is_some_and(|plant| plant.drive.has(defect))
    }

    /// Whether it is this one and shows now, as it does once in so many times.
    pub(crate) fn strikes(&self, defect: Defect, one_in: u64) -> bool {
        self.0.as_ref().is_some_and(|plant| plant.drive.strikes(defect, one_in))
    }

    /// Where it is this one, waits until nobody else in this member holds what it holds from then on.
    pub(crate) async fn turn(&self, defect: Defect) -> Option<OwnedMutexGuard<()>> {
        let plant = self.0.as_ref().filter(|plant| plant.drive.has(defect))?;
        Some(plant.turn.clone().lock_owned().await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_planted_outside_of_a_simulated_world() {
        let planted = Planted::of(Path::new("/nowhere"));
        assert!(planted.0.is_none());
        assert!(!planted.has(Defect::AcksAssumed) && !planted.strikes(Defect::LogMisread, 1));
    }
}
