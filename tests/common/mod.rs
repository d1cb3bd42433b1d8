//! A hub in a box for tests: a store of either kind, a clock by hand, a small country of agencies, and a verifier
//! that looks at every receipt.
#![allow(dead_code, unused_imports)] // each test binary uses its part

mod countings;
mod gate;
mod messages;
mod world;

pub use countings::*;
pub use messages::*;
pub use world::*;

/// Runs each story on both stores.
#[macro_export]
macro_rules! on_both_stores {
    ($($story:ident),* $(,)?) => {
        mod in_memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                super::$story($crate::common::World::in_memory().await).await;
            })*
        }
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                super::$story($crate::common::World::embedded().await).await;
            })*
        }
    };
}
