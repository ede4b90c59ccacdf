# The one image: `atio run <service>` is a microservice, `atio up` is everything.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --profile dist --locked --bin atio

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/atio --create-home atio
COPY --from=build /src/target/dist/atio /usr/local/bin/atio
USER 10001
WORKDIR /var/lib/atio
VOLUME /var/lib/atio
EXPOSE 8080 8081
ENTRYPOINT ["atio", "--data", "/var/lib/atio"]
CMD ["--help"]
