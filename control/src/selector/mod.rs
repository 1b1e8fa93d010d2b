//! PURE: label and field selectors.

mod fields;
mod labels;
mod lexer;

pub use fields::Fields;
pub use labels::{Labels, printed};
