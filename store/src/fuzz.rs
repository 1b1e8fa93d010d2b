//! Mutated inputs for the parsers of bytes from outside: whatever comes in, they end, soon, and with an answer.
//!
//! Each parser's tests call `bear` with a function that says how reading went; an input with an outcome that was not seen
//! before is mutated further. `store/fuzz/NAME` holds inputs to begin with, among them all that ever failed; `make fuzz`
//! runs for longer.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Per parser, when nobody says otherwise (`FUZZ_SECONDS`).
const SECONDS: f64 = 1.5;
/// One input takes so long at most, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(20);
/// Inputs that are mutated further, and bytes of one.
const INPUTS_MAX: usize = 512;
const BYTES_MAX: usize = 16 << 10;
/// Numbers at which things go wrong.
const NUMBERS: [u64; 12] =
    [0, 1, 2, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 0x1_0000_0000, 0x7fff_ffff_ffff_ffff, u64::MAX];

/// The same numbers every time (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).expect("below a usize")
    }
}

/// Changes an input in one way or another.
fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(input.len() + 1);
    let rest = input.len() - at;
    match random.below(9) {
        0 if rest > 0 => input[at] ^= 1 << random.below(8),
        1 if rest > 0 => input[at] = NUMBERS[random.below(NUMBERS.len())].to_le_bytes()[0],
        2 => input.truncate(at),
        3 => drop(input.drain(at..at + random.below(rest.min(64) + 1))),
        4 => {
            let more: Vec<u8> = (0..random.below(16)).map(|_| random.next().to_le_bytes()[0]).collect();
            input.splice(at..at, more);
        }
        5 => {
            let piece = input[at..at + random.below(rest.min(512) + 1)].to_vec();
            for _ in 0..=random.below(8) {
                input.splice(at..at, piece.iter().copied());
            }
        }
        6 => {
            let from = random.below(other.len() + 1);
            let end = from + random.below(other.len() - from + 1);
            input.splice(at..at + random.below(rest + 1), other[from..end].iter().copied());
        }
        kind => {
            let number = NUMBERS[random.below(NUMBERS.len())].wrapping_add(random.next() % 3).wrapping_sub(1);
            let bytes = if kind == 7 { number.to_le_bytes() } else { number.to_be_bytes() };
            let width = [2, 4, 8][random.below(3)].min(rest);
            let piece = if kind == 7 { &bytes[..width] } else { &bytes[8 - width..] };
            input[at..at + width].copy_from_slice(piece);
        }
    }
    input.truncate(BYTES_MAX);
}

fn saved(name: &str, input: &[u8]) -> String {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name);
    let path = dir.join(format!("failed-{:08x}", crc32c::crc32c(input)));
    let written = std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(&path, input));
    let place = written.map_or_else(|error| error.to_string(), |()| path.display().to_string());
    let shown = String::from_utf8_lossy(&input[..input.len().min(200)]).into_owned();
    format!("{name}: an input of {} bytes, kept in {place}: {shown:?}", input.len())
}

/// What is the same in outcomes that differ in numbers.
fn kind(outcome: &str) -> String {
    outcome.chars().filter(|letter| !letter.is_ascii_digit()).take(120).collect()
}

/// Reads inputs made of these and of those that are kept, for a while.
pub(crate) fn bear(name: &str, seeds: Vec<Vec<u8>>, read: impl Fn(&[u8]) -> String) {
    let kept = std::fs::read_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name));
    let mut paths: Vec<_> = kept.into_iter().flatten().map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let mut inputs = seeds;
    inputs.extend(paths.iter().map(|path| std::fs::read(path).expect("read")));
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    let (begun, limit) = (Instant::now(), Duration::from_secs_f64(seconds));
    // Whoever does not come back at all is told of by a thread of its own.
    let reading = Mutex::new((Instant::now(), Vec::new(), false));
    std::thread::scope(|scope| {
        let watched = scope.spawn(|| {
            loop {
                std::thread::park_timeout(Duration::from_millis(100));
                let (since, input, ended) = &*reading.lock().expect("not poisoned");
                if *ended {
                    return;
                }
                if since.elapsed() > PATIENCE {
                    eprintln!("{}: it does not end", saved(name, input));
                    std::process::abort();
                }
            }
        });
        let mut one = |input: &[u8]| {
            *reading.lock().expect("not poisoned") = (Instant::now(), input.to_vec(), false);
            catch_unwind(AssertUnwindSafe(|| read(input)))
        };
        let outcome = all(name, inputs, &mut one, |count| count == 0 || begun.elapsed() < limit);
        reading.lock().expect("not poisoned").2 = true;
        watched.thread().unpark();
        match outcome {
            Ok((count, outcomes)) => eprintln!("{name}: {count} inputs, {outcomes} outcomes"),
            Err(failed) => panic!("{failed}"),
        }
    });
}

/// How many inputs were read and how many outcomes there were, or which failed.
fn all(
    name: &str,
    mut inputs: Vec<Vec<u8>>,
    one: &mut impl FnMut(&[u8]) -> std::thread::Result<String>,
    goes_on: impl Fn(usize) -> bool,
) -> Result<(usize, usize), String> {
    let mut seen = BTreeSet::new();
    for input in &inputs {
        let outcome = one(input).map_err(|_| saved(name, input))?;
        seen.insert(kind(&outcome));
    }
    let (mut random, mut count) = (Random(0x5eed), 0);
    while goes_on(count) {
        let mut input = inputs[random.below(inputs.len())].clone();
        for _ in 0..=random.below(6) {
            let other = random.below(inputs.len());
            mutate(&mut input, &inputs[other], &mut random);
        }
        let outcome = one(&input).map_err(|_| saved(name, &input))?;
        count += 1;
        if seen.insert(kind(&outcome)) && inputs.len() < INPUTS_MAX {
            inputs.push(input);
        }
    }
    Ok((count, seen.len()))
}

#[test]
fn what_panics_is_found_and_kept() {
    let mut one = |input: &[u8]| {
        catch_unwind(|| {
            assert!(!(input.len() > 3 && input[..2] == [0xff, 0xff]), "found");
            format!("begins with {}", if input.first() == Some(&0xff) { "it" } else { "something else" })
        })
    };
    let found = all("planted", vec![vec![1, 2, 3]], &mut one, |count| count < 1_000_000);
    let words = found.expect_err("it is there to be found");
    assert!(words.contains("fuzz/planted/failed-"), "{words}");
    std::fs::remove_dir_all(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/planted")).expect("removed");
}
