# Everything that a change must pass; reads only.
verify:
    bash .ci/verify

# Puts a second, and how long one takes, beside a plain echo over loopback.
bench:
    cargo bench -p kv-tests --bench throughput

# Format all code.
fmt:
    cargo fmt --all
