# The image of `extauthz serve`: a virtual environment on a slim Python, nothing to build or install with.
# Pin the base by digest where you build:  docker build --build-arg PYTHON_IMAGE=python@sha256:... .
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# The environment gets no pip of its own: the build stage's pip fills it from outside.
RUN python -m venv --without-pip /opt/extauthz
COPY requirements/runtime.txt requirements/build.txt requirements/
RUN pip --python /opt/extauthz/bin/python install --only-binary :all: --require-hashes -r requirements/runtime.txt \
 && pip install --only-binary :all: --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY extauthz extauthz
RUN python -m hatchling build -t wheel \
 && pip --python /opt/extauthz/bin/python install --no-deps --no-index dist/extauthz-*.whl \
 # The root is read-only at run time, so byte code is made here and trusted as it is.
 && /opt/extauthz/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/extauthz/lib \
 && install -d -m 0750 -o 65532 -g 65532 /var/lib/extauthz

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="extauthz" \
      org.opencontainers.image.description="Attribute-based access control for Envoy and Istio" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN python -m pip uninstall --yes --quiet --root-user-action ignore setuptools wheel pip \
 && rm -rf /usr/local/lib/python3.11/ensurepip
COPY --from=build /opt/extauthz /opt/extauthz
COPY --from=build --chown=65532:65532 /var/lib/extauthz /var/lib/extauthz
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONSAFEPATH=1 PATH=/opt/extauthz/bin:$PATH
# Numeric, so that `runAsNonRoot` can be verified without reading /etc/passwd.
USER 65532:65532
WORKDIR /var/lib/extauthz
# The journal: the only place that is written to.
VOLUME ["/var/lib/extauthz"]
EXPOSE 9000 9001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["/opt/extauthz/bin/python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:9001/readyz', timeout=2)"]
ENTRYPOINT ["/opt/extauthz/bin/extauthz"]
CMD ["serve", "--config", "/etc/extauthz/extauthz.yaml"]
