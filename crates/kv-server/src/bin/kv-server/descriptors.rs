//! How many files and connections the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets the process have as many files open as the system allows it: what a shell gives at first is
/// less than the connections that a server takes, and a disk that cannot open a file for want of a
/// descriptor stops the server. Returns what it may have then; `None` if there is no limit.
pub(crate) fn raise_limit() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit of open files stays: raise `ulimit -n`");
    }
    getrlimit(Resource::Nofile).current
}
