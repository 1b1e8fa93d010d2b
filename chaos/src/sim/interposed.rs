//! The clock and the randomness of a process that simulates: whatever asks the C library is told the world's.
//!
//! Libraries that no seam reaches (hash maps, tokio, openraft, hyper) draw seeds and read clocks. In a process that runs a
//! simulation both come from its seed and its time; in every other one they are the system's.

use std::ffi::{c_int, c_uint, c_void};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use nix::libc;

/// When simulated worlds begin: seconds since 1970.
pub(crate) const EPOCH_SECONDS: u64 = 1_800_000_000;
/// What the monotonic clock says then.
const UPTIME_SECONDS: u64 = 1_000_000;

static ACTIVE: AtomicBool = AtomicBool::new(false);
static NOW_NANOS: AtomicU64 = AtomicU64::new(0);
static RANDOM: AtomicU64 = AtomicU64::new(0);
static SYSTEM_CLOCK: AtomicUsize = AtomicUsize::new(0);

/// From now on this process is a simulation.
pub(crate) fn begin(seed: u64) {
    RANDOM.store(seed, Ordering::Relaxed);
    ACTIVE.store(true, Ordering::Relaxed);
}

/// Moves the clocks on.
pub(crate) fn set_now(since_begin: Duration) {
    NOW_NANOS.store(u64::try_from(since_begin.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// The next random number of the world.
///
/// Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014.
pub(crate) fn draw() -> u64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut mixed = RANDOM.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Fills with random bytes of the world.
pub(crate) fn fill(bytes: &mut [u8]) {
    for piece in bytes.chunks_mut(8) {
        piece.copy_from_slice(&draw().to_le_bytes()[..piece.len()]);
    }
}

/// The C library's `getrandom`.
///
/// # Safety
/// As the C library's: `buffer` has room for `length` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    if !ACTIVE.load(Ordering::Relaxed) {
        // SAFETY: the caller's buffer goes to the kernel as it is; the call is `getrandom`'s own.
        let filled = unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) };
        return isize::try_from(filled).unwrap_or(-1);
    }
    // SAFETY: the caller promises `length` bytes there, for the time of this call.
    fill(unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) });
    isize::try_from(length).unwrap_or(isize::MAX)
}

type Clock = unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> c_int;

/// The C library's own clock, which asks the kernel without a call.
fn system_clock() -> Option<Clock> {
    let mut found = SYSTEM_CLOCK.load(Ordering::Relaxed);
    if found == 0 {
        // SAFETY: the name ends with a zero; what is found is looked at below alone.
        found = unsafe { libc::dlsym(libc::RTLD_NEXT, c"clock_gettime".as_ptr()) } as usize;
        SYSTEM_CLOCK.store(found, Ordering::Relaxed);
    }
    // SAFETY: not null, so it is the C library's function of this name, whose type this is.
    (found != 0).then(|| unsafe { std::mem::transmute::<usize, Clock>(found) })
}

/// The C library's `clock_gettime`.
///
/// # Safety
/// As the C library's: `time` is writable.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    let base = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => EPOCH_SECONDS,
        libc::CLOCK_MONOTONIC | libc::CLOCK_MONOTONIC_COARSE | libc::CLOCK_BOOTTIME => UPTIME_SECONDS,
        // What a simulation costs is the system's to say.
        _ => 0,
    };
    if base == 0 || !ACTIVE.load(Ordering::Relaxed) {
        return match system_clock() {
            // SAFETY: the caller's arguments go to the C library as they are.
            Some(system) => unsafe { system(clock, time) },
            None => {
                // SAFETY: the same, to the kernel.
                let told = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) };
                c_int::try_from(told).unwrap_or(-1)
            }
        };
    }
    let now = Duration::from_secs(base) + Duration::from_nanos(NOW_NANOS.load(Ordering::Relaxed));
    let told = libc::timespec {
        tv_sec: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(now.subsec_nanos()),
    };
    // SAFETY: the caller promises that `time` is writable.
    unsafe { time.write(told) };
    0
}
