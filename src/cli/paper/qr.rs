//! QR codes.

use qrcode::{Color, EcLevel, QrCode};

/// The dark and light squares of a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// Squares of a side, without the quiet zone.
    pub side: usize,
    dark: Vec<bool>,
}

impl Code {
    /// A code that holds this text; `None` if that is too long for one.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
        let dark = code.to_colors().into_iter().map(|color| color == Color::Dark).collect();
        Some(Self { side: code.width(), dark })
    }

    /// True for a dark square.
    #[must_use]
    pub fn is_dark(&self, column: usize, row: usize) -> bool {
        column < self.side && self.dark.get(row * self.side + column).copied().unwrap_or(false)
    }

    /// Runs of dark squares: column, row, length.
    pub fn runs(&self) -> Vec<(usize, usize, usize)> {
        let mut runs = Vec::new();
        for row in 0..self.side {
            let mut column = 0;
            while column < self.side {
                let length = (column..self.side).take_while(|at| self.is_dark(*at, row)).count();
                if length > 0 {
                    runs.push((column, row, length));
                }
                column += length.max(1);
            }
        }
        runs
    }
}
