//! PURE: who owns which field of an object, and server-side apply.
//!
//! Every write names its manager. `update` gives what a write changed to its manager; `apply` merges what a manager wants
//! and keeps it from changing what others own. Sets of fields are kept in the form in which objects hold them
//! (`set`), so entries that a write does not touch are neither decoded nor written anew.

pub mod apply;
pub mod compare;
mod element;
pub mod entry;
mod extract;
mod last_applied;
mod merge;
mod place;
mod reset;
pub mod scale;
pub mod set;
mod typed;
mod update;
mod zero;

pub use apply::apply;
pub(crate) use typed::shown;
pub use update::{Writer, update};

/// A manager's name at most, bytes (k8s.io/apimachinery `validation.FieldManagerMaxLength`).
pub const MANAGER_BYTES_MAX: usize = 128;

/// The manager of a request that names none: what its `User-Agent` begins with.
pub fn manager_of(user_agent: &str) -> String {
    let mut name = String::new();
    for letter in user_agent.split('/').next().unwrap_or_default().chars().filter(|letter| is_print(*letter)) {
        if name.len() + letter.len_utf8() > MANAGER_BYTES_MAX {
            break;
        }
        name.push(letter);
    }
    if name.is_empty() { "unknown".to_owned() } else { name }
}

/// Whether Go prints it (`unicode.IsPrint`): letters, marks, numbers, signs, and of all spaces only the one.
pub fn is_print(letter: char) -> bool {
    letter == ' '
        || !(letter.is_control()
            || letter.is_whitespace()
            || matches!(letter, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e000}'..='\u{f8ff}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managers_are_named_by_what_user_agents_begin_with() {
        assert_eq!(manager_of("kubectl/v1.33.0 (linux/amd64)"), "kubectl");
        assert_eq!(manager_of("my tool\u{7}/1"), "my tool");
        assert_eq!(manager_of(""), "unknown");
        assert_eq!(manager_of(&"x".repeat(200)).len(), MANAGER_BYTES_MAX);
    }
}
