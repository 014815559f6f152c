# FerryMQ in an image of its own: built in one stage, run as nobody special in another.
FROM rust:1.95-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked --bin ferrymq --bin ferrymqctl --bin ferrymq-perf

FROM debian:bookworm-slim
RUN useradd --system --uid 999 --home-dir /var/lib/ferrymq --create-home ferrymq
COPY --from=build /source/target/release/ferrymq /source/target/release/ferrymqctl \
    /source/target/release/ferrymq-perf /usr/local/bin/
USER ferrymq
ENV FERRYMQ_DATA_DIR=/var/lib/ferrymq
VOLUME /var/lib/ferrymq
EXPOSE 5672 15672 15692
# It reads the same settings as the broker if they come as variables or by FERRYMQ_CONFIG.
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s CMD ["ferrymq", "--check-health"]
ENTRYPOINT ["ferrymq"]
