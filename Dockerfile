# A worker for the work pool "imagine". docs/operations.md tells how to run it; ops/fleet runs servers from it, too.
FROM python:3.11-slim AS build
WORKDIR /source
RUN python -m venv /opt/imagine
COPY . .
RUN /opt/imagine/bin/pip install --no-cache-dir --constraint constraints.txt ".[warehouse,server]"

FROM python:3.11-slim
RUN useradd --create-home --uid 1000 imagine \
    && install --directory --owner=imagine /srv/imagine /srv/imagine/outputs
COPY --from=build /opt/imagine /opt/imagine
# Runs work here, so relative addresses of prompts and outputs mean this folder.
WORKDIR /srv/imagine
COPY prefect.yaml ./
COPY examples ./examples
# MALLOC_ARENA_MAX: threads that store outputs keep less memory to themselves.
ENV PATH=/opt/imagine/bin:$PATH \
    MALLOC_ARENA_MAX=2 \
    PREFECT_HOME=/home/imagine/.prefect \
    PYTHONUNBUFFERED=1
# As a number, so that Kubernetes can see that it is not root.
USER 1000
# Says no once the worker has not asked the Prefect server for work for thirty times its interval.
HEALTHCHECK --interval=60s --timeout=10s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=8)"]
ENTRYPOINT ["prefect", "worker", "start", "--type", "process", "--with-healthcheck", "--pool"]
CMD ["imagine"]
