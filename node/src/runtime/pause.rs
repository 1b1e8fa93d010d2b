//! The program of a sandbox, and the image around it: made here, so that nothing is pulled and nothing is compiled.
//!
//! The program is a static ELF of under 200 bytes. As process 1 of a pod it sets SIGCHLD to be ignored, which makes
//! the kernel reap every orphan of the pod by itself (`sigaction(2)`), and then sleeps for ever.

use std::io::Write;

/// Name of the image on the engine; the tag changes with its content.
pub const IMAGE_REPOSITORY: &str = "raftsman.io/pause";
/// See [`IMAGE_REPOSITORY`].
pub const IMAGE_TAG: &str = "1";
/// Where the program lies in the image.
pub const PROGRAM: &str = "/pause";

const ELF_HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const LOAD_ADDRESS: u64 = 0x0040_0000;
const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;

/// The pause program for an architecture as Docker names it, or None for one that is not known.
pub fn program(architecture: &str) -> Option<Vec<u8>> {
    match architecture {
        "x86_64" | "amd64" => Some(elf(EM_X86_64, &x86_64())),
        "aarch64" | "arm64" => Some(elf(EM_AARCH64, &aarch64())),
        _ => None,
    }
}

/// The kernel's `struct sigaction` with SIG_IGN as handler, no flags and an empty mask.
fn ignore() -> [u8; 32] {
    let mut action = [0; 32];
    action[0] = 1;
    action
}

/// `rt_sigaction(SIGCHLD, &action, NULL, 8); for (;;) pause();`
fn x86_64() -> Vec<u8> {
    let mut code = vec![
        0xb8, 13, 0, 0, 0, // mov eax, 13 (rt_sigaction)
        0xbf, 17, 0, 0, 0, // mov edi, 17 (SIGCHLD)
        0x48, 0x8d, 0x35, 23, 0, 0, 0, // lea rsi, [rip + 23]: the action, at 40
        0x31, 0xd2, // xor edx, edx
        0x41, 0xba, 8, 0, 0, 0, // mov r10d, 8: size of the mask
        0x0f, 0x05, // syscall
        0xb8, 34, 0, 0, 0, // mov eax, 34 (pause)
        0x0f, 0x05, // syscall
        0xeb, 0xf7, // jmp back to the mov
        0, 0, 0, 0,
    ];
    code.extend(ignore());
    code
}

/// `rt_sigaction(SIGCHLD, &action, NULL, 8); for (;;) ppoll(NULL, 0, NULL, NULL, 0);`
fn aarch64() -> Vec<u8> {
    let movz = |register: u32, value: u32| 0xd280_0000 | (value << 5) | register;
    let svc = 0xd400_0001;
    let code = [
        movz(0, 17),             // SIGCHLD
        movz(8, 134),            // rt_sigaction
        0x1000_0001 | (12 << 5), // adr x1, 48 bytes on: the action, at 56
        movz(2, 0),
        movz(3, 8),
        svc,
        movz(0, 0),
        movz(1, 0),
        movz(2, 0),
        movz(3, 0),
        movz(8, 73), // ppoll
        svc,
        0x17ff_fffa, // b 6 instructions back
        0,
    ];
    let mut bytes: Vec<u8> = code.iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
    bytes.extend(ignore());
    bytes
}

/// One loadable segment that holds headers and code. Source: `elf(5)`.
fn elf(machine: u16, code: &[u8]) -> Vec<u8> {
    let offset = ELF_HEADER + PROGRAM_HEADER;
    let size = (offset + code.len()) as u64;
    let mut out = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let half = |out: &mut Vec<u8>, v: u16| out.extend(v.to_le_bytes());
    let word = |out: &mut Vec<u8>, v: u32| out.extend(v.to_le_bytes());
    let long = |out: &mut Vec<u8>, v: u64| out.extend(v.to_le_bytes());
    half(&mut out, 2); // executable
    half(&mut out, machine);
    word(&mut out, 1);
    long(&mut out, LOAD_ADDRESS + offset as u64); // entry
    long(&mut out, ELF_HEADER as u64); // program headers
    long(&mut out, 0); // no sections
    word(&mut out, 0);
    for value in [ELF_HEADER, PROGRAM_HEADER, 1, 0, 0, 0] {
        half(&mut out, value as u16);
    }
    word(&mut out, 1); // PT_LOAD
    word(&mut out, 5); // readable, executable
    for value in [0, LOAD_ADDRESS, LOAD_ADDRESS, size, size, 0x1000] {
        long(&mut out, value);
    }
    assert_eq!(out.len(), offset);
    out.extend(code);
    out
}

/// A tar archive with one executable file: the root file system of the image. Source: `tar(5)`, ustar.
pub fn archive(program: &[u8]) -> Vec<u8> {
    let mut header = [0u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, PROGRAM.trim_start_matches('/'));
    put(100, "0000755\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", program.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut out = Vec::with_capacity(4096);
    out.extend(header);
    out.write_all(program).expect("a vector takes every write");
    out.resize(out.len().next_multiple_of(512) + 1024, 0);
    out
}

#[cfg(test)]
mod tests {
    use super::{archive, program};

    #[test]
    fn the_program_is_small_and_whole() {
        for architecture in ["amd64", "arm64"] {
            let program = program(architecture).expect("known");
            assert!(program.len() < 256, "{}", program.len());
            assert_eq!(archive(&program).len() % 512, 0);
        }
        assert!(program("m68k").is_none());
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_program_sleeps_until_it_is_killed() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("pause");
        std::fs::write(&path, program("amd64").expect("known")).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
        let mut child = std::process::Command::new(&path).spawn().expect("it starts");
        let stat = || std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
        let state = || stat().rsplit(')').next().and_then(|rest| rest.trim().chars().next());
        while !matches!(state(), Some('S' | 'Z')) {
            std::thread::yield_now();
        }
        assert!(child.try_wait().expect("a state").is_none(), "it lives");
        child.kill().expect("it can be killed");
        assert!(!child.wait().expect("it ends").success());
    }
}
