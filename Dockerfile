# Targets: slim (API, search worker, sweeper, migrations; no torch) and train (slim's contents with torch).
# Layers change from rare to frequent: base image, dependencies, our own code.

FROM python:3.11-slim AS base
ENV PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PATH=/opt/nnmass/bin:$PATH

# What training needs in addition to the lock, as a plain list: changes of pyproject.toml do not rebuild its layer.
FROM base AS requirements
WORKDIR /requirements
COPY pyproject.toml ./
RUN python -c "import pathlib, tomllib; \
project = tomllib.loads(pathlib.Path('pyproject.toml').read_text())['project']; \
pathlib.Path('train.txt').write_text('\n'.join(project['optional-dependencies']['train']))"

FROM base AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY nnmass_core nnmass_core
COPY nnmass nnmass
COPY migrations migrations
COPY app app
COPY worker worker
RUN --mount=type=cache,target=/root/.cache/pip pip wheel --no-deps --wheel-dir /wheel .

FROM base AS slim-dependencies
RUN python -m venv --without-pip /opt/nnmass
COPY requirements.lock /requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/nnmass/bin/python install --require-hashes -r /requirements/requirements.lock

FROM slim-dependencies AS train-dependencies
COPY constraints.txt /requirements/
COPY --from=requirements /requirements/train.txt /requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/nnmass/bin/python install -c /requirements/constraints.txt -r /requirements/train.txt

# The runtime: no compiler, no pip, and the service can only write to its home and /tmp.
FROM base AS runtime
RUN useradd --create-home --uid 10001 nnmass \
    && mkdir --parents /home/nnmass/.local/share/nnmass \
    && chown --recursive nnmass:nnmass /home/nnmass/.local
WORKDIR /home/nnmass
CMD ["nnmass", "--help"]

FROM runtime AS train
COPY --from=train-dependencies /opt/nnmass /opt/nnmass
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip --python /opt/nnmass/bin/python install --no-cache-dir --no-deps --no-index /wheel/*.whl \
    && pip uninstall --yes pip setuptools wheel
USER nnmass

# The last target, which a build without --target builds.
FROM runtime AS slim
COPY --from=slim-dependencies /opt/nnmass /opt/nnmass
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip --python /opt/nnmass/bin/python install --no-cache-dir --no-deps --no-index /wheel/*.whl \
    && pip uninstall --yes pip setuptools wheel
USER nnmass
