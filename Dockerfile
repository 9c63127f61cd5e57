# Ringlight as an image: `docker build --target cpu -t ringlight .` or `--target cuda` (needs NVIDIA's container toolkit
# to run). Two stages: what builds stays behind, and what runs is not root.
#
# torch's usual Linux build brings CUDA, some gigabytes that a CPU never uses. Whoever has an index of CPU builds names it:
# --build-arg PIP_EXTRA_INDEX_URL=...

FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/venv
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src

FROM build AS build-cpu
ARG PIP_EXTRA_INDEX_URL=
RUN /opt/venv/bin/pip install --constraint constraints.txt '.[openvino,postgres]'

FROM build AS build-cuda
RUN /opt/venv/bin/pip install --constraint constraints.txt '.[postgres]'

FROM python:3.11-slim-bookworm AS run
RUN groupadd --gid 10001 ringlight \
 && useradd --uid 10001 --gid 10001 --home-dir /workspace --no-create-home --shell /usr/sbin/nologin ringlight \
 && install --directory --owner 10001 --group 10001 /workspace
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MPLCONFIGDIR=/tmp/matplotlib \
    RINGLIGHT_WORKSPACE=/workspace
WORKDIR /workspace
VOLUME /workspace
EXPOSE 8000
USER 10001:10001
STOPSIGNAL SIGTERM
# The start period is what a model takes to load and warm up; after it three silent checks in a row mean a restart.
HEALTHCHECK --interval=10s --timeout=3s --start-period=90s --retries=3 \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["ringlight"]
CMD ["--help"]

FROM run AS cuda
COPY --from=build-cuda /opt/venv /opt/venv
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM run AS cpu
COPY --from=build-cpu /opt/venv /opt/venv
