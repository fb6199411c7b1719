# The service. Built in one stage, run in another: no compiler, no pip cache and no tests in what runs.
FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/tcewatch
WORKDIR /src
# Packages before source: a changed line of ours does not fetch them again.
COPY requirements/run.txt requirements/build.txt requirements/
RUN /opt/tcewatch/bin/pip install --require-hashes -r requirements/run.txt \
 && pip install --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY ingest ingest
COPY alerts alerts
COPY energy energy
COPY migrations migrations
COPY simulators simulators
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/tcewatch/bin/pip install --no-deps /wheels/tcewatch-*.whl

FROM python:3.13-slim
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin tcewatch
COPY --from=build /opt/tcewatch /opt/tcewatch
ENV PATH=/opt/tcewatch/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    TCEWATCH_HTTP_HOST=0.0.0.0 TCEWATCH_HTTP_PORT=8080
USER 10001
WORKDIR /tmp
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['TCEWATCH_HTTP_PORT'] + '/healthz', timeout=4)"]
CMD ["tcewatch", "serve"]
