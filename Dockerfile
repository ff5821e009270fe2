# An image with vae-zoo, for a CPU or a GPU:
#   docker build -t vae-zoo .
#   docker build -t vae-zoo --build-arg BASE=pytorch/pytorch:2.11.0-cuda12.8-cudnn9-runtime .
#   docker run --rm --gpus all --ipc host -u "$(id -u)" -v "$PWD":/work vae-zoo fit --config vae
# With any base the steps are those of docker/install.sh, which a machine without Docker runs as they are.
ARG BASE=python:3.11-slim
FROM ${BASE}

# The address of an index with other wheels of PyTorch, such as those for a CPU alone, which are 4 GB smaller.
ARG TORCH_INDEX=""
ENV VIRTUAL_ENV=/opt/vae_zoo PATH=/opt/vae_zoo/bin:$PATH PYTHONUNBUFFERED=1

WORKDIR /src
COPY docker/install.sh docker/install.sh
RUN docker/install.sh system environment torch
COPY pyproject.toml README.md LICENSE ./
COPY configs configs
COPY vae_zoo vae_zoo
RUN docker/install.sh package check

# Not root; a run with -u "$(id -u)" writes files that are yours.
USER 1000:1000
# Of any user: for what PyTorch and matplotlib keep for the next time.
ENV HOME=/tmp
WORKDIR /work
ENTRYPOINT ["vae-zoo"]
CMD ["--help"]
