# boresight on an NVIDIA GPU. The wheels of torch bring CUDA; the host brings the driver and its container toolkit.
#
#   pip wheel --no-deps -w dist . && docker build -t boresight .
#   docker run --rm --gpus all -v "$PWD:/work" boresight train dpo data.train=pairs.jsonl
FROM python:3.12-slim
# Triton compiles its kernels with gcc when they are first used.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY dist/boresight-*.whl /tmp/
RUN pip install --no-cache-dir "$(echo /tmp/boresight-*.whl)[charts,datasets]" && rm /tmp/boresight-*.whl
RUN useradd --create-home user && mkdir /work && chown user /work
USER user
WORKDIR /work
ENTRYPOINT ["boresight"]
