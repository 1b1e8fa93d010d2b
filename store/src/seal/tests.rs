//! Units and rings: what was sealed opens, and nothing else does.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::keyring::{DataKey, Keyring, Unopened};
use super::operator::{self, OperatorKey, Stretch};
use super::unit::Refused;
use super::vault::Vault;
use super::{OVERHEAD, Sealer};
use crate::config::KeySource;

fn data_key(id: u64) -> DataKey {
    DataKey { id, secret: Zeroizing::new([id as u8; 32]) }
}

impl Sealer {
    /// With a key of its own.
    pub(crate) fn of_tests() -> Arc<Sealer> {
        Arc::new(Sealer::new(Keyring::new(data_key(1))).expect("randomness"))
    }

    /// Another key seals from here on.
    pub(crate) fn rotate_in_tests(&self) {
        let id = self.current() + 1;
        self.take(self.ring().led_by(data_key(id))).expect("randomness");
    }
}

impl Sealer {
    /// The keys of before are gone.
    pub(crate) fn forget_in_tests(&self) {
        self.take(self.ring().alone()).expect("randomness");
    }
}

fn operator_key(byte: u8) -> OperatorKey {
    OperatorKey { secret: Zeroizing::new([byte; 32]), stretch: None }
}

proptest! {
    #[test]
    fn what_is_sealed_opens_at_its_place_alone(plain: Vec<u8>, place: Vec<u8>, other: Vec<u8>, bit: prop::sample::Index) {
        let sealer = Sealer::of_tests();
        let unit = sealer.seal(&place, &plain).expect("sealed");
        prop_assert_eq!(unit.len(), plain.len() + OVERHEAD);
        prop_assert_eq!(sealer.open(&place, &unit), Ok(plain));
        if other != place {
            prop_assert_eq!(sealer.open(&other, &unit), Err(Refused::Altered));
        }
        let mut flipped = unit.clone();
        let bit = bit.index(unit.len() * 8);
        flipped[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(sealer.open(&place, &flipped).is_err());
        prop_assert!(sealer.open(&place, &unit[..unit.len() - 1]).is_err());
    }

    #[test]
    fn a_ring_opens_by_the_key_that_wraps_it_alone(ids in prop::collection::vec(1..=u64::MAX, 1..5), bit: prop::sample::Index) {
        let mut ring = Keyring::new(data_key(ids[0]));
        for id in &ids[1..] {
            ring = ring.led_by(data_key(*id));
        }
        let wrapped = ring.wrap(&operator_key(1), [7; 12]);
        let opened = Keyring::unwrap(&wrapped, &[operator_key(2), operator_key(1)]).expect("one of them is the key");
        prop_assert_eq!((opened.first().id, opened.len()), (*ids.last().expect("one"), ids.len()));
        for id in &ids {
            prop_assert_eq!(&opened.find(*id).expect("it was in it").secret[..], &data_key(*id).secret[..]);
        }
        prop_assert_eq!(Keyring::unwrap(&wrapped, &[operator_key(2)]).expect_err("another key"), Unopened::OtherKey);
        let mut flipped = wrapped.clone();
        let bit = bit.index(wrapped.len() * 8);
        flipped[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(Keyring::unwrap(&flipped, &[operator_key(1)]).is_err());
        prop_assert!(Keyring::unwrap(&wrapped[..wrapped.len() - 1], &[operator_key(1)]).is_err());
    }

    #[test]
    fn no_file_of_keys_makes_it_stumble(bytes: Vec<u8>) {
        let _ = Keyring::unwrap(&bytes, &[operator_key(1)]);
        let _ = (operator::keys(&bytes), operator::passphrases(&bytes));
    }
}

#[test]
fn no_nonce_comes_twice_also_not_after_a_restart() {
    let (one, other) = (Sealer::of_tests(), Sealer::of_tests());
    let (first, second) = (one.seal(b"", b"same").expect("sealed"), one.seal(b"", b"same").expect("sealed"));
    let restarted = other.seal(b"", b"same").expect("sealed");
    assert_eq!(first[..21], second[..21], "one run");
    assert_ne!(first[21..29], second[21..29], "counted");
    assert_ne!(first[9..21], restarted[9..21], "another run, whose key is another one");
    assert_eq!(other.open(b"", &first), Ok(b"same".to_vec()), "of the same data key");
}

#[test]
fn a_rotation_seals_with_another_key_and_opens_what_was_before() {
    let sealer = Sealer::of_tests();
    let old = sealer.seal(b"p", b"v").expect("sealed");
    sealer.rotate_in_tests();
    let new = sealer.seal(b"p", b"v").expect("sealed");
    assert_ne!(Sealer::key_of(&old), Sealer::key_of(&new));
    assert_eq!(sealer.open(b"p", &old), Ok(b"v".to_vec()));
    sealer.take(sealer.ring().alone()).expect("randomness");
    assert_eq!(sealer.open(b"p", &old), Err(Refused::Unknown(1)));
    assert_eq!(sealer.open(b"p", &new), Ok(b"v".to_vec()));
}

#[test]
fn key_files_hold_bytes_or_lines() {
    let hex = "00".repeat(31) + "ff";
    let base64 = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAP8=";
    for text in [hex.clone(), base64.to_owned(), format!("{base64}\r\n\n{hex}\n")] {
        let keys = operator::keys(text.as_bytes()).expect("keys");
        assert!(keys.iter().all(|key| key.secret[31] == 255 && key.secret[..31] == [0; 31]), "{text}");
    }
    assert_eq!(operator::keys(&[9; 32]).expect("a key")[0].secret[..], [9; 32]);
    for bad in ["", "\n", "short", &hex[1..], &(base64.to_owned() + "\nhunter2")] {
        let said = operator::keys(bad.as_bytes()).expect_err("no key");
        assert!(said.contains("256 bits") && !said.contains("hunter2"), "{said}");
    }
}

#[test]
fn the_same_passphrase_and_salt_make_the_same_key() {
    // A small work: the test is about what goes in.
    let stretch = |byte| Stretch { log_n: 10, r: 8, p: 1, salt: [byte; 16] };
    let key = |text, byte| operator::stretch(text, stretch(byte)).expect("stretched").name();
    assert_eq!(key("right", 1), key("right", 1));
    assert_ne!(key("right", 1), key("wrong", 1));
    assert_ne!(key("right", 1), key("right", 2));
}

fn hex(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

/// A file of the operator's, and a data directory.
fn place(text: &str) -> (tempfile::TempDir, KeySource, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let (file, data) = (dir.path().join("operator"), dir.path().join("data"));
    fs::create_dir(&data).expect("made");
    fs::write(&file, text).expect("written");
    (dir, KeySource::KeyFile(file), data)
}

fn open(data: &std::path::Path, source: Option<&KeySource>) -> Result<Option<Arc<Vault>>, String> {
    Vault::open(data, source).map_err(|error| error.to_string())
}

fn why(result: Result<Option<Arc<Vault>>, String>) -> String {
    result.err().expect("refused")
}

#[test]
fn a_directory_opens_by_its_key_alone_and_a_refusal_changes_nothing() {
    let (_dir, source, data) = place(&hex(1));
    let vault = open(&data, Some(&source)).expect("new").expect("keys");
    let unit = vault.sealer().seal(b"p", b"v").expect("sealed");
    let before = fs::read(data.join("keys")).expect("written");
    assert!(why(open(&data, None)).contains("is encrypted; name its key"));
    fs::write(source.path(), hex(2)).expect("written");
    let said = why(open(&data, Some(&source)));
    assert!(said.contains("does not open the data directory") && !said.contains(&hex(2)), "{said}");
    fs::remove_file(source.path()).expect("removed");
    assert!(why(open(&data, Some(&source))).contains("No such file"));
    assert_eq!(fs::read(data.join("keys")).expect("there"), before, "nothing was touched");
    fs::write(source.path(), hex(1)).expect("written");
    let again = open(&data, Some(&source)).expect("the same key").expect("keys");
    assert_eq!(again.sealer().open(b"p", &unit), Ok(b"v".to_vec()));
    let mut cut = before.clone();
    cut.pop();
    fs::write(data.join("keys"), cut).expect("written");
    assert!(why(open(&data, Some(&source))).contains("damaged"));
}

#[test]
fn a_directory_that_is_not_encrypted_is_not_begun_to_be() {
    let (_dir, source, data) = place(&hex(1));
    fs::write(data.join("identity.json"), "{}").expect("written");
    assert!(why(open(&data, Some(&source))).contains("encryption begins with an empty one"));
    assert!(!data.join("keys").exists());
    assert!(open(&data, None).expect("as before").is_none());
}

#[test]
fn another_first_key_wraps_and_seals_from_then_on_and_the_old_one_may_go() {
    let (_dir, source, data) = place(&hex(1));
    let vault = open(&data, Some(&source)).expect("new").expect("keys");
    let unit = vault.sealer().seal(b"p", b"v").expect("sealed");
    assert!(!vault.look().expect("nothing changed"));
    fs::write(source.path(), format!("{}\n{}\n", hex(2), hex(1))).expect("written");
    let obstacle = data.join("keys.new");
    fs::create_dir(&obstacle).expect("made");
    assert!(vault.look().is_err(), "the disk takes nothing");
    fs::remove_dir(&obstacle).expect("removed");
    assert!(vault.look().expect("read"));
    assert_ne!(Sealer::key_of(&unit), Ok(vault.sealer().current()));
    assert_eq!(vault.sealer().open(b"p", &unit), Ok(b"v".to_vec()));
    fs::write(source.path(), "no key").expect("written");
    assert!(vault.look().is_err(), "what held before holds on");
    fs::write(source.path(), hex(2)).expect("written");
    let again = open(&data, Some(&source)).expect("the new key alone").expect("keys");
    assert_eq!(again.sealer().open(b"p", &unit), Ok(b"v".to_vec()));
    assert_eq!((again.count(), again.sealer().current()), (2, vault.sealer().current()));
    assert_eq!(again.forget_older().expect("written"), 1);
    assert_eq!(again.sealer().open(b"p", &unit), Err(Refused::Unknown(Sealer::key_of(&unit).expect("a unit"))));
    // At a start it is the same.
    fs::write(source.path(), format!("{}\n{}\n", hex(3), hex(2))).expect("written");
    let third = open(&data, Some(&source)).expect("a key that opens").expect("keys");
    assert_eq!(third.count(), 2);
    fs::write(source.path(), hex(3)).expect("written");
    assert!(open(&data, Some(&source)).is_ok());
}

#[test]
fn members_with_one_key_open_each_others_units_and_no_others() {
    let (_one, source, data) = place(&hex(1));
    let (_other, same, theirs) = place(&hex(1));
    let (_third, foreign, others) = place(&hex(9));
    let from = open(&data, Some(&source)).expect("new").expect("keys");
    let unit = from.sealer().seal(b"p", b"v").expect("sealed");
    let wrapped = from.wrapped(&from.ring()).expect("wrapped");
    let to = open(&theirs, Some(&same)).expect("new").expect("keys");
    let own = to.sealer().current();
    to.adopt(&wrapped).expect("the same key");
    to.adopt(&wrapped).expect("once more");
    assert_eq!((to.sealer().open(b"p", &unit), to.count()), (Ok(b"v".to_vec()), 2));
    assert_eq!(to.sealer().current(), own, "it seals with its own");
    let again = open(&theirs, Some(&same)).expect("kept").expect("keys");
    assert_eq!(again.sealer().open(b"p", &unit), Ok(b"v".to_vec()));
    let stranger = open(&others, Some(&foreign)).expect("new").expect("keys");
    let said = stranger.adopt(&wrapped).expect_err("another key").to_string();
    assert!(said.contains("under another key than this member's"), "{said}");
}

#[test]
fn a_passphrase_opens_what_it_closed() {
    let (_dir, source, data) = place("correct horse\n");
    let source = KeySource::PassphraseFile(source.path().to_owned());
    let vault = open(&data, Some(&source)).expect("new").expect("keys");
    let unit = vault.sealer().seal(b"p", b"v").expect("sealed");
    let again = open(&data, Some(&source)).expect("opens").expect("keys");
    assert_eq!(again.sealer().open(b"p", &unit), Ok(b"v".to_vec()));
    fs::write(source.path(), "battery staple\n").expect("written");
    assert!(why(open(&data, Some(&source))).contains("the passphrase file"));
}
