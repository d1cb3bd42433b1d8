//! `[retention]`: what is erased when.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::human;

/// One `[[retention.rules]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionRule {
    /// Stands in the evidence of what it erased.
    pub name: String,
    /// Document types; empty: any.
    #[serde(default)]
    pub types: Vec<String>,
    /// Urgencies, 0 to 4; empty: any.
    #[serde(default)]
    pub urgencies: Vec<u32>,
    /// What the package does; empty: anything.
    #[serde(default)]
    pub operations: Vec<RetentionOperation>,
    /// Age, from acceptance on.
    #[serde(with = "human::duration")]
    pub after: Duration,
    /// What goes.
    pub bodies: RetainedBodies,
}

/// Contents of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RetainedBodies {
    /// The attachments.
    Attachments,
    /// Attachments and signed envelope, with its subject.
    All,
}

/// Business type of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RetentionOperation {
    /// A new document.
    New,
    /// A recall.
    Recall,
    /// An update.
    Update,
    /// A replacement.
    Replacement,
}
