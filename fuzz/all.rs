//! The targets, by name.

#[path = "disk.rs"]
pub mod disk;
#[path = "hub.rs"]
pub mod hub;
#[path = "targets.rs"]
pub mod targets;

/// Runs one target on one input.
pub fn run(name: &str, data: &[u8]) {
    let (_, target) = targets::ALL.iter().find(|(known, _)| *known == name).expect("a known target");
    target(data);
}
