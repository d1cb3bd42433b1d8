//! Answers on standard output: for people, or as JSON.

use std::io::{self, Write};

use serde::Serialize;

/// How answers are printed.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
}

impl Output {
    /// JSON, or text for people.
    #[must_use]
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// True when answers are JSON.
    #[must_use]
    pub fn json(&self) -> bool {
        self.json
    }

    /// Prints one answer on one line of JSON, or as the text that `people` makes of it.
    pub fn print<T: Serialize>(&self, answer: &T, people: impl FnOnce(&T) -> String) {
        let text = match self.json {
            true => serde_json::to_string(answer).unwrap_or_else(|error| error.to_string()),
            false => people(answer),
        };
        self.line(&text);
    }

    /// Prints text and ends the line.
    pub fn line(&self, text: &str) {
        let mut out = io::stdout().lock();
        let end = if text.ends_with('\n') { "" } else { "\n" };
        // Whoever closes the pipe has read enough.
        let _ = write!(out, "{text}{end}").and_then(|()| out.flush());
    }
}
