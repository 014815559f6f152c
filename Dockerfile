# FerryMQ in an image of its own: built in one stage, run as nobody special in another.
FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked --bin ferrymq --bin ferrymqctl --bin ferrymq-perf

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 999 --home-dir /var/lib/ferrymq --create-home ferrymq
COPY --from=build /source/target/release/ferrymq /source/target/release/ferrymqctl \
    /source/target/release/ferrymq-perf /usr/local/bin/
USER ferrymq
ENV FERRYMQ_DATA_DIR=/var/lib/ferrymq
VOLUME /var/lib/ferrymq
EXPOSE 5672 15672
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
    CMD curl --fail --silent http://127.0.0.1:15672/api/health/checks/ready-to-serve-clients
ENTRYPOINT ["ferrymq"]
