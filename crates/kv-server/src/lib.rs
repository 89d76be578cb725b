//! The server: wires an engine to sockets.
