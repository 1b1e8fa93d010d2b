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
    let mut keys = Keys::new();
    Database::open(bytes)?.bucket(name, &mut |key, value| {
        keys.insert(key.to_vec(), value.to_vec());
        true
    })?;
    Ok(keys)
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
    fn damage_is_survived(at in 0_usize..20_000, byte in any::<u8>(), cut in 0_usize..40_000) {
        let keys: Keys = (0..300_u64).map(|key| (key.to_be_bytes().to_vec(), vec![7; 40])).collect();
        let mut bytes = written(&[("key", keys)]);
        let at = at % bytes.len();
        bytes[at] ^= byte;
        bytes.truncate(bytes.len().saturating_sub(cut));
        let _ = read(&bytes, "key");
    }
}
