# Python, Ray and torch: what gateway, inference, batch and training have in common. Built once; ours come on top.
#
#   docker build -f k8s/images/ray-torch.Dockerfile -t segdepth/ray-torch:2.60.0 .
#
# PyPI's torch for x86 imports only with its CUDA libraries (about 6 GB). Where there are CPU wheels and no GPU:
#   --build-arg TORCH_INDEX_URL=https://.../whl/cpu
FROM python:3.11-slim-bookworm

# KubeRay looks at its pods with bash and wget. Debian keeps one version of each, so a pinned one would soon be gone.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/*

# Everything lives in one environment, whichever Python the base brings; PIP_PYTHON makes pip install into it.
RUN python3 -m venv --without-pip /opt/segdepth
ENV PATH=/opt/segdepth/bin:$PATH \
    PIP_PYTHON=/opt/segdepth/bin/python

ARG TORCH_INDEX_URL=""
COPY constraints.txt /opt/segdepth/constraints.txt
RUN pip install --no-cache-dir --constraint /opt/segdepth/constraints.txt \
        ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} torch torchvision \
    && pip install --no-cache-dir --constraint /opt/segdepth/constraints.txt \
        "ray[data,serve,train]" numpy scipy safetensors matplotlib

RUN useradd --uid 1000 --create-home --home-dir /home/segdepth segdepth
ENV HOME=/home/segdepth \
    PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0
WORKDIR /home/segdepth
USER 1000:1000
