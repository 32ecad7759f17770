# boresight on an NVIDIA GPU. The wheels of torch bring CUDA; the host brings the driver and its container toolkit.
#
#   pip wheel --no-deps -w dist . && docker build -t boresight .
#   docker run --rm --gpus all -v "$PWD:/work" -v boresight:/home/user/.cache \
#       boresight train dpo data.train=pairs.jsonl
#
# It writes as user 1000, who must be able to write to the folder that is mounted; the volume keeps what was fetched.
FROM python:3.12-slim
# Triton compiles its kernels with gcc when they are first used; any version will do.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY dist/boresight-*.whl /tmp/
RUN pip install --no-cache-dir "$(echo /tmp/boresight-*.whl)[datasets]" && rm /tmp/boresight-*.whl
RUN useradd --create-home --uid 1000 user && install -d -o user /work /home/user/.cache
USER 1000
WORKDIR /work
ENTRYPOINT ["boresight"]
