//! The log on a simulated disk whose power goes at any moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::super::Log;
use super::{OPTIONS, data};
use crate::edge::drive::{Defect, Drive};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// Several lives of a log, each ended by a loss of power; answers what went missing of what was acknowledged.
async fn lives(seed: u64, defect: Option<Defect>) -> Result<u64, String> {
    let (mut random, drive) = (Random(seed), Drive::new(seed));
    if let Some(defect) = defect {
        drive.set_defect(defect);
    }
    let (acknowledged, votes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    for life in 1..=8 {
        let log = Log::open_simulated(&drive, OPTIONS, None).map_err(|error| error.to_string())?;
        let (kept, last) = (acknowledged.load(Ordering::SeqCst), log.range().map_or(0, |(_, last)| last));
        if last < kept {
            return Err(format!("{kept} was acknowledged, {last} is there"));
        }
        let entries = log.entries(1, last + 1, usize::MAX).map_err(|error| error.to_string())?;
        assert!(entries.iter().all(|(index, bytes)| *bytes == data(*index, 0)), "invented");
        assert_eq!(entries.len() as u64, last, "a hole");
        let vote = log.vote().map_or(0, |vote| u64::from_be_bytes(vote.as_ref().try_into().unwrap()));
        if vote < votes.load(Ordering::SeqCst) {
            return Err("a vote is gone".to_owned());
        }
        let mut next = last + 1;
        for step in 0..random.below(30) {
            if random.below(5) == 0 {
                let (votes, vote) = (votes.clone(), life * 100 + step);
                let told = Box::new(move |_: Result<_, _>| {
                    votes.fetch_max(vote, Ordering::SeqCst);
                });
                log.save_vote(Bytes::from(vote.to_be_bytes().to_vec()), told).unwrap();
            }
            let end = next + 1 + random.below(6);
            let told = acknowledged.clone();
            let durable = Box::new(move |result: Result<(), _>| {
                if result.is_ok() {
                    told.fetch_max(end - 1, Ordering::SeqCst);
                }
            });
            log.append((next..end).map(|index| (index, data(index, 0))).collect(), durable).unwrap();
            next = end;
            tokio::time::sleep(Duration::from_micros(random.below(4000))).await;
        }
        drop(log);
        drive.lose_power();
    }
    let losses = drive.losses();
    Ok(losses.sectors)
}

#[tokio::test]
async fn what_was_acknowledged_survives_every_loss_of_power() {
    let all = futures_util::future::join_all((0..150).map(|seed| lives(seed, None))).await;
    let lost: u64 =
        all.into_iter().enumerate().map(|(seed, lost)| lost.unwrap_or_else(|why| panic!("{seed}: {why}"))).sum();
    assert!(lost > 100, "nearly nothing was lost: {lost}");
}

#[tokio::test]
async fn a_disk_that_lies_is_found_out() {
    for defect in [Defect::SyncsLie, Defect::SyncsLate, Defect::NamesLie, Defect::SectorsDropped] {
        let all = futures_util::future::join_all((0..20).map(|seed| lives(seed, Some(defect)))).await;
        assert!(all.iter().any(Result::is_err), "{defect:?}: {all:?}");
    }
}
