//! PURE: the order of keys: letters after everything else, digits by their number.
//!
//! Source: go.yaml.in/yaml/v2 `sorter.go`.

use std::cmp::Ordering;

/// How two keys compare.
pub(super) fn natural(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(at) = a.iter().zip(&b).position(|(a, b)| a != b) else { return a.len().cmp(&b.len()) };
    let (letter_a, letter_b) = (a[at].is_alphabetic(), b[at].is_alphabetic());
    if letter_a && letter_b {
        return a[at].cmp(&b[at]);
    }
    if letter_a || letter_b {
        return if letter_b { Ordering::Less } else { Ordering::Greater };
    }
    // A zero that follows digits belongs to their number.
    let before = a[..at].iter().rev().take_while(|letter| letter.is_ascii_digit());
    let start = i64::from((a[at] == '0' || b[at] == '0') && before.into_iter().any(|digit| *digit != '0'));
    let number = |letters: &[char]| {
        let digits = letters.iter().map_while(|letter| letter.to_digit(10));
        digits.fold((start, 0), |(number, count), digit| {
            (number.wrapping_mul(10).wrapping_add(i64::from(digit)), count + 1)
        })
    };
    number(&a[at..]).cmp(&number(&b[at..])).then_with(|| a[at].cmp(&b[at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_count_and_letters_come_last() {
        let mut keys = vec!["f:a", ".", "a10", "a2", "A", "a", "a-b", "k:{\"x\":1}", "10", "9"];
        keys.sort_by(|a, b| natural(a, b));
        assert_eq!(keys, [".", "9", "10", "A", "a", "a-b", "a2", "a10", "f:a", "k:{\"x\":1}"]);
    }
}
