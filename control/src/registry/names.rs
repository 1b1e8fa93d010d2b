//! Generated names (k8s.io/apiserver `storage/names/generate.go`).

/// What a generated name is cut to before the suffix.
const MAX_BASE: usize = 58;
/// The letters of suffixes: none that make words, none that look alike.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// How often a taken name is replaced by another before the client hears of it.
pub const ATTEMPTS: usize = 8;

/// The name for a base, from five random bytes.
pub fn generate(base: &str, random: [u8; 5]) -> String {
    let mut name: String = base.chars().take(MAX_BASE).collect();
    name.extend(random.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_bases_are_cut() {
        assert_eq!(generate("web-", [0, 1, 26, 27, 255]), "web-bc9bq");
        assert_eq!(generate(&"a".repeat(70), [0; 5]).len(), 63);
    }
}
