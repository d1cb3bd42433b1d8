//! How eagerly threads work.

/// See nice(1). Not more: who gives way holds locks for moments that traffic waits for.
#[cfg(target_os = "linux")]
const NICE: i32 = 5;

/// Lets every other thread go first: traffic may take all there is, this one works in what is left.
pub fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE) {
        tracing::debug!(%error, "a thread of the background works as eagerly as all others");
    }
}
