//! A deterministic, seeded cluster for any consistency engine.
