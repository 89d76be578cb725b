//! The client: an async library and the command line.
