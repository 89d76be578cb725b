//! Framed messages between client and server and between servers.
