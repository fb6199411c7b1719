# syntax=docker/dockerfile:1
# The service as one image: packages by their hashes, no compiler and no root in what runs.
FROM python:3.13-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /source

# The packages first: they change less often than the source, and their layer is kept.
COPY requirements/run.txt requirements/build.txt requirements/
RUN python -m venv /opt/tcewatch && \
    /opt/tcewatch/bin/pip install --require-hashes -r requirements/run.txt && \
    python -m venv /opt/build && \
    /opt/build/bin/pip install --require-hashes -r requirements/build.txt

COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY ingest ingest
COPY alerts alerts
COPY energy energy
COPY migrations migrations
COPY simulators simulators
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . && \
    /opt/tcewatch/bin/pip install --no-deps /wheels/*.whl

FROM python:3.13-slim-bookworm

RUN groupadd --system --gid 10001 tcewatch && \
    useradd --system --uid 10001 --gid tcewatch --no-create-home --home-dir /nonexistent tcewatch
COPY --from=build /opt/tcewatch /opt/tcewatch

ENV PATH=/opt/tcewatch/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TCEWATCH_HTTP_HOST=0.0.0.0 \
    TCEWATCH_HTTP_PORT=8080
USER tcewatch
EXPOSE 8080
# Through no proxy, whatever the environment says: the question is whether this container answers.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from urllib.request import ProxyHandler, build_opener; build_opener(ProxyHandler({})).open('http://127.0.0.1:8080/healthz', timeout=4)"]
CMD ["tcewatch", "serve"]
