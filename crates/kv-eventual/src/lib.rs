//! The eventual engine: leaderless replication with read and write quorums, last writer wins.
