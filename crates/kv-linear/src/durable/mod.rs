//! What is on disk: the records, the checkpoint, and how a server comes back from them.

pub(crate) mod checkpoint;
mod durability;
pub(crate) mod journal;
pub(crate) mod record;
pub(crate) mod recovery;
pub(crate) mod tail;
pub(crate) mod view;
