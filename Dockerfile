# autotune with the embedded llama.cpp (CPU), without libtorch. Written with care, but not built where the project is developed: there is
# no container runtime there. Please report what does not work.
#
#   docker build -t autotune .
#   docker run --rm -v "$PWD:/work" autotune --budget 8GB --model /work/model.gguf
#
# The sandbox needs seccomp and landlock of the host's kernel. Docker's default seccomp profile denies user namespaces, which are an
# additional layer only; `docker run --rm autotune probe` lists the layers that are active inside the container.

FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake clang libclang-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN cargo build --profile dist --locked --no-default-features --features llama --bin autotune

FROM debian:bookworm-slim
# Interpreters for the tasks that are executed.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 nodejs libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home autotune
COPY --from=build /source/target/dist/autotune /usr/local/bin/autotune
COPY --from=build /source/LICENSE-MIT /source/LICENSE-APACHE /usr/share/doc/autotune/
USER autotune
WORKDIR /work
ENTRYPOINT ["autotune"]
CMD ["--help"]
