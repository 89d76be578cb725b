//! The journal and the checkpoint: the in-memory twin.
