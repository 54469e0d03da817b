# The images: `docker build --target web .` (web, controller, migrations, prices) and `docker build --target worker .`;
# `local` is what docker-compose.yml runs, a web whose controller can start workers inside its own container.
# A release adds --build-arg CODE_REVISION=... VERSION=... SOURCE=<address of the repository>.
ARG BASE=python:3.11-slim
# What they import at the top level. Everything else, and every version, comes with the wheels of requirements.txt.
ARG COMMON="cryptography gmpy2 holidays jsonschema matplotlib numpy pandas PyMySQL SQLAlchemy yfinance"
ARG WEB="alembic babel Flask gevent gunicorn koreanize-matplotlib kubernetes litecharts msgspec packaging prometheus_client PyYAML tqdm"

FROM $BASE AS wheels
COPY requirements.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip wheel --quiet --disable-pip-version-check --wheel-dir /wheels -r requirements.txt

FROM $BASE AS runtime
# HOME: the one writable folder. SOURCE_DATE_EPOCH: bytecode is valid by the source's content, not by its file time.
# PYTHONUSERBASE: who builds FROM our images adds rules with a plain `pip install`, without root.
ENV HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 SOURCE_DATE_EPOCH=315532800 PYTHONUSERBASE=/opt/rules \
    PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /app
# The base image has the standard library without bytecode: compiling it anew costs every start 0.4 s.
RUN install -d -o 10001 -g 10001 "$PYTHONUSERBASE" && \
    python -m compileall -q -x '/(site-packages|test|tests|idlelib|lib2to3|tkinter|turtledemo)/' /usr/local/lib/python3.11
ARG COMMON
# Matplotlib looks for its font cache in writable folders only, so that each process links the one made here into /tmp.
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    pip install --quiet --no-index --find-links /wheels $COMMON && \
    MPLCONFIGDIR=/opt/matplotlib python -c "import matplotlib.font_manager" && \
    printf '%s\n' 'import os' 'for name in os.listdir("/opt/matplotlib"):' '    try:' \
        '        os.symlink(f"/opt/matplotlib/{name}", f"/tmp/{name}")' '    except OSError:' '        pass' \
        > /usr/local/lib/python3.11/site-packages/sitecustomize.py
ENV MPLCONFIGDIR=/tmp

FROM runtime AS sources
COPY LICENSE ./
COPY backtest backtest/
COPY extracted extracted/
COPY rules rules/
COPY scripts scripts/
COPY service service/
RUN python -m compileall -q .

FROM runtime AS web-runtime
ARG WEB
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    pip install --quiet --no-index --find-links /wheels $WEB
ENV WEB_BIND=0.0.0.0:5000
EXPOSE 5000
CMD ["gunicorn", "--config=python:service.web.server.gunicorn_conf", "app:app"]

FROM web-runtime AS web
COPY --from=sources /app ./
COPY templates templates/
COPY static static/
COPY app.py ./
ARG CODE_REVISION VERSION SOURCE
ENV CODE_REVISION=$CODE_REVISION
LABEL org.opencontainers.image.title="stock-backtest-web" \
      org.opencontainers.image.description="Dashboard, controller, migrations and price loader of the Stock Backtesting Platform" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$CODE_REVISION"
USER 10001:10001

FROM runtime AS worker
COPY --from=sources /app ./
COPY worker.py ./
ARG CODE_REVISION VERSION SOURCE
ENV CODE_REVISION=$CODE_REVISION
LABEL org.opencontainers.image.title="stock-backtest-worker" \
      org.opencontainers.image.description="Performs one backtest of the Stock Backtesting Platform" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$CODE_REVISION"
USER 10001:10001
CMD ["python", "worker.py"]

FROM web-runtime AS local
COPY --from=web /app ./
COPY worker.py ./
ARG CODE_REVISION
ENV CODE_REVISION=$CODE_REVISION
USER 10001:10001
