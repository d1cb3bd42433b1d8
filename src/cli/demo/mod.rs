//! `truc demo`: a small country in one minute.

pub mod process;
mod report;
pub mod world;
