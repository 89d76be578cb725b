# Both programs in one image: docker build -t kv . (see docs/install.md)
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin kv-server --bin kv-client

FROM debian:bookworm-slim
RUN useradd --system --no-create-home --shell /usr/sbin/nologin kv \
    && install -d -o kv -g kv -m 700 /var/lib/kv
COPY --from=build /src/target/release/kv-server /src/target/release/kv-client /usr/local/bin/
USER kv
EXPOSE 4961
# Settings of the server, and what its clients in this image need. KV_LISTEN stands above this
# server's address in the list, which is how the others and the clients reach it.
ENV KV_ID=1 KV_SERVERS=1 KV_LISTEN=0.0.0.0:4961 KV_OP_LOG=off KV_DATA_DIR=/var/lib/kv
VOLUME /var/lib/kv
# Healthy is a server that serves reads and writes.
HEALTHCHECK --interval=5s --timeout=3s --start-period=5s \
    CMD kv-client "$KV_ID" --servers "$KV_ID=127.0.0.1:4961" --timeout 2s health
CMD ["kv-server"]
