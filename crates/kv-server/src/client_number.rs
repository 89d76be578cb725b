//! The numbers of clients.

/// Which client of this server: 0, 1, 2 as they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ClientNumber(pub(crate) u64);
