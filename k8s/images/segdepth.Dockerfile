# The product's images, each a target: serving (gateway, inference, batch), training, api.
#
#   docker build -f k8s/images/segdepth.Dockerfile --target serving -t segdepth/serving:0.1.0 .
#
# serving and training add our wheels to ray-torch (ray-torch.Dockerfile), api needs neither Ray nor torch.
ARG RAY_TORCH=segdepth/ray-torch:2.60.0

FROM python:3.11-slim-bookworm AS wheels
COPY . /source
WORKDIR /source
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels ./protos ./clients/python ./training \
        ./services/api ./services/artefacts ./services/batch ./services/core ./services/gateway ./services/inference ./services/stack


FROM ${RAY_TORCH} AS serving
USER 0
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    --mount=type=bind,source=constraints.txt,target=/constraints.txt \
    pip install --no-cache-dir --constraint /constraints.txt \
        "$(echo /wheels/segdepth-[0-9]*.whl)[cli]" "$(echo /wheels/segdepth_inference-*.whl)[serve]" \
        /wheels/segdepth_protos-*.whl /wheels/segdepth_artefacts-*.whl /wheels/segdepth_core-*.whl /wheels/segdepth_gateway-*.whl \
        /wheels/segdepth_api-*.whl /wheels/segdepth_batch-*.whl /wheels/segdepth_stack-*.whl
USER 1000:1000


FROM ${RAY_TORCH} AS training
USER 0
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    --mount=type=bind,source=constraints.txt,target=/constraints.txt \
    pip install --no-cache-dir --constraint /constraints.txt \
        /wheels/segdepth_training-*.whl /wheels/segdepth_protos-*.whl /wheels/segdepth_artefacts-*.whl \
        /wheels/segdepth_core-*.whl
COPY training/recipes /recipes
COPY training/profiles /profiles
USER 1000:1000


FROM python:3.11-slim-bookworm AS api
RUN python3 -m venv --without-pip /opt/segdepth
ENV PATH=/opt/segdepth/bin:$PATH \
    PIP_PYTHON=/opt/segdepth/bin/python
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    --mount=type=bind,source=constraints.txt,target=/constraints.txt \
    pip install --no-cache-dir --constraint /constraints.txt \
        "$(echo /wheels/segdepth-[0-9]*.whl)[cli]" /wheels/segdepth_protos-*.whl /wheels/segdepth_artefacts-*.whl \
        /wheels/segdepth_api-*.whl \
    && useradd --uid 1000 --create-home --home-dir /home/segdepth segdepth
ENV HOME=/home/segdepth \
    PYTHONUNBUFFERED=1
WORKDIR /home/segdepth
USER 1000:1000
CMD ["python", "-m", "segdepth_api"]
