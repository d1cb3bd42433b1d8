//! Printed pages: A4, text that can be selected, the same bytes for the same content. Knows nothing of what it prints.

mod font;
mod layout;
mod pdf;
mod qr;
#[cfg(test)]
mod tests;

pub use layout::{Column, Paper, Style};
pub use qr::Code;
