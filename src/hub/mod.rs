//! Tasks, channels, timers.
