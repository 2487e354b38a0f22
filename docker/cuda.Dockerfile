# The cuda image. Written by `npm run dockerfiles` from src/bridge/container/dockerfile.ts: change that.
#
# Target `stage`: Python and the native core, for `dopt … --env docker`. Target `dopt` (the default): the whole tool.
#   docker build -f docker/cuda.Dockerfile --target stage -t dopt-cuda .

ARG PYTHON_BASE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b
ARG NODE_BASE=node:20-bookworm-slim@sha256:2cf067cfed83d5ea958367df9f966191a942351a2df77d6f0193e162b5febfc0
ARG SOURCE_DATE_EPOCH=1767225600

FROM ${PYTHON_BASE} AS packages
ARG LOCK=current.txt
ARG SOURCE_DATE_EPOCH
COPY python/requirements/${LOCK} /tmp/lock.txt
RUN python3 -m venv --without-pip /opt/dopt/env \
 && python3 -m pip --python /opt/dopt/env/bin/python install --require-hashes --only-binary :all: --no-deps \
      --no-compile --no-cache-dir --no-input --disable-pip-version-check --requirement /tmp/lock.txt \
 && { PYTHONHASHSEED=0 /opt/dopt/env/bin/python -m compileall -f -q -x '/tests?/' --invalidation-mode unchecked-hash \
      /opt/dopt/env >/dev/null || true; } \
 && find /opt/dopt -exec touch --no-dereference --date=@${SOURCE_DATE_EPOCH} {} +

FROM ${PYTHON_BASE} AS native
ARG SOURCE_DATE_EPOCH
RUN apt-get update \
 && apt-get install --yes --no-install-recommends cmake g++ make \
 && rm -rf /var/lib/apt/lists/*
COPY native /src/native
RUN cmake -S /src/native -B /tmp/build -DCMAKE_BUILD_TYPE=Release -DDOPT_TESTS=OFF -DDOPT_BENCH=OFF \
 && cmake --build /tmp/build --parallel 2 \
 && mkdir -p /opt/dopt/lib \
 && cp /tmp/build/lib/libdopt.so /opt/dopt/lib/ \
 && find /opt/dopt -exec touch --no-dereference --date=@${SOURCE_DATE_EPOCH} {} +

FROM ${NODE_BASE} AS node

FROM native AS cuda
ARG SOURCE_DATE_EPOCH
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY scripts/build-cuda.js /src/scripts/build-cuda.js
RUN DOPT_HOME=/tmp/dopt node /src/scripts/build-cuda.js --download --require \
 && cp /src/native/build/lib/libdopt_cuda.so /opt/dopt/lib/ \
 && find /opt/dopt -exec touch --no-dereference --date=@${SOURCE_DATE_EPOCH} {} +

FROM ${PYTHON_BASE} AS stage
COPY --from=packages /opt/dopt/env /opt/dopt/env
COPY --from=cuda /opt/dopt/lib /opt/dopt/lib
ENV PATH=/opt/dopt/env/bin:${PATH} \
    DOPT_NATIVE_LIB=/opt/dopt/lib/libdopt.so \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    HOME=/tmp
USER 10001:10001
WORKDIR /tmp

FROM ${NODE_BASE} AS product
ARG SOURCE_DATE_EPOCH
WORKDIR /opt/dopt/product
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY . .
RUN npm run build:ts \
 && npm prune --omit=dev --ignore-scripts --no-audit --no-fund \
 && rm -rf src scripts native/src native/cuda native/tests native/bench tsconfig*.json node_modules/.cache \
 && find /opt/dopt -exec touch --no-dereference --date=@${SOURCE_DATE_EPOCH} {} +

FROM stage AS dopt
COPY --from=product /usr/local/bin/node /usr/local/bin/node
COPY --from=product /opt/dopt/product /opt/dopt/product
ENV DOPT_ENV=system \
    DOPT_PYTHON=/opt/dopt/env/bin/python
WORKDIR /work
ENTRYPOINT ["node", "/opt/dopt/product/bin/run.js"]
CMD ["--help"]
