//! What is written is read again; what is damaged is refused or is what it was, and never followed into nowhere.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Bucket, Database, Plan};

type Keys = BTreeMap<Vec<u8>, Vec<u8>>;

fn written(contents: &[(&'static str, Keys)]) -> Vec<u8> {
    let buckets: Vec<Bucket<'_>> = contents
        .iter()
        .map(|(name, keys)| Bucket {
            name,
            give: Box::new(move |each| {
                let _ = keys.iter().all(|(key, value)| each(key, value));
            }),
        })
        .collect();
    let plan = Plan::new(&buckets);
    let mut bytes = Vec::new();
    plan.write(&buckets, &mut |piece| {
        bytes.extend_from_slice(piece);
        true
    });
    assert_eq!(bytes.len() as u64, plan.bytes());
    bytes
}

fn read(bytes: &[u8], name: &str) -> Result<Keys, super::Damaged> {
    let database = Database::open(bytes)?;
    database.bucket(name)?.map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec()))).collect()
}

#[test]
fn many_keys_make_several_levels() {
    let keys: Keys = (0..40_000_u64).map(|key| (key.to_be_bytes().to_vec(), vec![7; 40])).collect();
    let large = Keys::from([(b"a".to_vec(), vec![1; 20_000]), (b"b".to_vec(), vec![2; 3])]);
    let bytes = written(&[("alarm", Keys::new()), ("key", keys.clone()), ("large", large.clone())]);
    assert_eq!(read(&bytes, "key").as_ref(), Ok(&keys));
    assert_eq!(read(&bytes, "large").as_ref(), Ok(&large));
    assert_eq!(read(&bytes, "alarm"), Ok(Keys::new()));
    assert_eq!(read(&bytes, "other"), Ok(Keys::new()));
}

/// The words of a page, by its number.
fn at(page: usize, offset: usize) -> usize {
    page * 4096 + offset
}

#[test]
fn the_whole_page_of_meta_data_of_the_later_transaction_counts() {
    let keys = Keys::from([(b"a".to_vec(), b"1".to_vec())]);
    let good = written(&[("key", keys.clone())]);
    let mut first = good.clone();
    first[at(0, 40)] ^= 1;
    assert_eq!(read(&first, "key").as_ref(), Ok(&keys), "the second is found without the first");
    let mut second = good.clone();
    second[at(1, 40)] ^= 1;
    assert_eq!(read(&second, "key").as_ref(), Ok(&keys));
    second[at(0, 40)] ^= 1;
    assert!(read(&second, "key").is_err_and(|why| why.to_string().contains("neither page of meta data")));
    // A later transaction leads elsewhere.
    let mut later = good.clone();
    later[at(0, 0)..at(1, 0)].copy_from_slice(&{
        let mut page = super::meta(0, u64::MAX, (good.len() / 4096) as u64);
        page[16 + 48..16 + 56].copy_from_slice(&9_u64.to_le_bytes());
        let sum = super::page::checksum(&page[16..16 + 56]).to_le_bytes();
        page[16 + 56..16 + 64].copy_from_slice(&sum);
        page.resize(4096, 0);
        page
    });
    assert!(read(&later, "key").is_err_and(|why| why.to_string().contains("is none of the")));
}

#[test]
fn what_is_wrong_is_named() {
    let keys: Keys = (0..40_000_u64).map(|key| (key.to_be_bytes().to_vec(), vec![7; 40])).collect();
    let good = written(&[("key", keys)]);
    // The first leaf, and the first page above leaves.
    let branch = (3..).find(|page| good[at(*page, 8)] == 1).expect("a page of pages");
    for (place, bytes, why) in [
        (at(3, 0), &[9][..], "lies another one"),
        (at(3, 8), &[4], "is of kind 0x4"),
        (at(3, 10), &[0xff, 0xff], "beyond the page's end"),
        (at(3, 12), &[0xff, 0xff, 0xff, 0xff], "claims 4294967295 more pages"),
        (at(3, 16), &[1], "a bucket lies where keys must be"),
        (at(3, 16 + 4), &[0xff, 0xff, 0xff, 0xff], "beyond the page's end"),
        (at(branch, 16 + 8), &[0xff], "not in order"),
        (at(branch, 10), &[0, 0], "leads nowhere"),
        // To itself, for ever.
        (at(branch, 16 + 8), &u64::try_from(branch).expect("small").to_le_bytes(), "in a circle"),
    ] {
        let mut bad = good.clone();
        bad[place..place + bytes.len()].copy_from_slice(bytes);
        let said = read(&bad, "key").expect_err("refused").to_string();
        assert!(said.contains(why), "{said} instead of {why}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        keys in proptest::collection::btree_map(
            proptest::collection::vec(any::<u8>(), 1..40), proptest::collection::vec(any::<u8>(), 0..3000), 0..60,
        ),
    ) {
        prop_assert_eq!(read(&written(&[("key", keys.clone()), ("meta", Keys::new())]), "key"), Ok(keys));
    }

    #[test]
    fn damage_is_refused_or_changes_keys_alone(flips in proptest::collection::vec((any::<usize>(), 0_u8..8), 1..6)) {
        let keys: Keys = (0..300_u64).map(|key| (key.to_be_bytes().to_vec(), vec![7; 40])).collect();
        let mut bytes = written(&[("key", keys.clone())]);
        for (at, bit) in flips {
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
        }
        if let Ok(found) = read(&bytes, "key") {
            prop_assert!(found.len() <= 300, "{} keys of 300", found.len());
        }
    }

    #[test]
    fn every_cut_is_found(cut in 1_usize..40_000) {
        let keys: Keys = (0..300_u64).map(|key| (key.to_be_bytes().to_vec(), vec![7; 40])).collect();
        let bytes = written(&[("key", keys)]);
        let left = bytes.len().saturating_sub(cut);
        prop_assert!(read(&bytes[..left], "key").is_err());
    }
}

/// Makes both pages of meta data whole, so that what they lead to is looked at.
fn whole(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for at in [0, super::PAGE_BYTES] {
        if let Some(body) = bytes.get_mut(at + 16..at + 80) {
            body[..4].copy_from_slice(&super::page::MAGIC.to_le_bytes());
            body[4..8].copy_from_slice(&super::page::VERSION.to_le_bytes());
            let sum = super::page::checksum(&body[..56]);
            body[56..].copy_from_slice(&sum.to_le_bytes());
            bytes[at + 8] |= 4;
        }
    }
    bytes
}

/// A database whose pages lead to the next one more than once each: followed in full, it would never end.
fn doubled() -> Vec<u8> {
    let pages = 3 + 31;
    let mut bytes = [super::meta(0, 3, pages + 1), super::meta(1, 3, pages + 1)].map(|mut page| {
        page.resize(super::PAGE_BYTES, 0);
        page
    });
    let mut file = bytes.iter_mut().flat_map(|page| page.drain(..)).collect::<Vec<u8>>();
    file.resize(3 * super::PAGE_BYTES, 0);
    for page in 3..pages {
        let mut branch = super::header(page, super::page::BRANCH, 4, 0).to_vec();
        for _ in 0..4 {
            // A key of no bytes, and a page.
            branch.extend([0; 8]);
            branch.extend((page + 1).to_le_bytes());
        }
        branch.resize(super::PAGE_BYTES, 0);
        file.extend(branch);
    }
    file.extend(super::header(pages, super::LEAF, 0, 0));
    file.resize((usize::try_from(pages).expect("few") + 1) * super::PAGE_BYTES, 0);
    file
}

#[test]
fn pages_that_are_shared_do_not_multiply() {
    let refused = read(&doubled(), "key").expect_err("it is damaged");
    assert_eq!(refused.to_string(), "its pages lead in a circle");
}

#[test]
fn files_of_any_bytes_are_read_or_refused() {
    let keys: Keys = (0..40_u8).map(|number| (vec![number; 9], vec![number; 60])).collect();
    let seeds = vec![written(&[("key", keys.clone()), ("meta", Keys::new())]), written(&[]), doubled()];
    crate::fuzz::bear("bbolt", seeds, |bytes| {
        let told = |bytes: &[u8]| match (read(bytes, "key"), read(bytes, "meta")) {
            (Ok(one), Ok(other)) => format!("{} and {}", one.is_empty(), other.is_empty()),
            (Err(damage), _) | (_, Err(damage)) => damage.to_string(),
        };
        format!("{} {}", told(bytes), told(&whole(bytes)))
    });
}
