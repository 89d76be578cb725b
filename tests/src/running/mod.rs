//! Programs that run, and where they run.

pub(crate) mod binaries;
pub(crate) mod loopback;
pub(crate) mod process;
pub(crate) mod redis;
pub(crate) mod site;
pub(crate) mod transcript;
