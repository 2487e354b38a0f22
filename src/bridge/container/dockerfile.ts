import { PROFILE_SPECS, PROFILES, type Profile } from '../profiles.js';

/** Images that are made: one a profile, and the newest packages together with the CUDA core. */
export const IMAGES = [...PROFILES, 'cuda'] as const;
export type ImageName = (typeof IMAGES)[number];

/** Official images by the Python minor version that they bring, pinned; docker/README.md says where digests are from. */
const PYTHON_BASES: Record<string, string> = {
  '3.10': 'python:3.10-slim-bookworm@sha256:68d914ec641a0b69267ce65184d000a2bc3a9ee2590ab702b82250ab2385735a',
  '3.11': 'python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b',
};
const NODE_BASE =
  'node:20-bookworm-slim@sha256:2cf067cfed83d5ea958367df9f966191a942351a2df77d6f0193e162b5febfc0';

/** 2026-01-01: the time that files of an image carry unless another one is given. */
const EPOCH = 1767225600;

/** The text of docker/NAME.Dockerfile. Each stands alone, so all are written from this one place. */
export function dockerfile(name: ImageName): string {
  const cuda = name === 'cuda';
  const { locks } = PROFILE_SPECS[profileOf(name)];
  const { minor, file } = locks[0]!;
  const parts = [head(name), bases(minor), packages(file), native(), ...(cuda ? [cudaCore()] : [])];
  return `${[...parts, stage(cuda), product(), final()].join('\n\n')}\n`;
}

/** Whose packages an image has. */
export const profileOf = (name: ImageName): Profile => (name === 'cuda' ? 'current' : name);

const head = (name: ImageName): string => `\
# The ${name} image. Written by \`npm run dockerfiles\` from src/bridge/container/dockerfile.ts: change that.
#
# Target \`stage\`: Python and the native core, for \`dopt … --env docker\`. Target \`dopt\` (the default): the whole tool.
#   docker build -f docker/${name}.Dockerfile --target stage -t dopt-${name} .`;

const bases = (minor: string): string => `\
ARG PYTHON_BASE=${PYTHON_BASES[minor]}
ARG NODE_BASE=${NODE_BASE}
ARG SOURCE_DATE_EPOCH=${EPOCH}`;

/**
 * Byte code is checked by nothing but its place, so that it says no time of a file (`-f`: nor does that which the interpreter
 * left when it started); sets in it lie in the order of a fixed hash. Tests of packages are not compiled: nobody runs them.
 */
const packages = (lock: string): string => `\
FROM \${PYTHON_BASE} AS packages
ARG LOCK=${lock}
ARG SOURCE_DATE_EPOCH
COPY python/requirements/\${LOCK} /tmp/lock.txt
RUN python3 -m venv --without-pip /opt/dopt/env \\
 && python3 -m pip --python /opt/dopt/env/bin/python install --require-hashes --only-binary :all: --no-deps \\
      --no-compile --no-cache-dir --no-input --disable-pip-version-check --requirement /tmp/lock.txt \\
 && { PYTHONHASHSEED=0 /opt/dopt/env/bin/python -m compileall -f -q -x '/tests?/' --invalidation-mode unchecked-hash \\
      /opt/dopt/env >/dev/null || true; } \\
 && find /opt/dopt -exec touch --no-dereference --date=@\${SOURCE_DATE_EPOCH} {} +`;

const native = (): string => `\
FROM \${PYTHON_BASE} AS native
ARG SOURCE_DATE_EPOCH
RUN apt-get update \\
 && apt-get install --yes --no-install-recommends cmake g++ make \\
 && rm -rf /var/lib/apt/lists/*
COPY native /src/native
RUN cmake -S /src/native -B /tmp/build -DCMAKE_BUILD_TYPE=Release -DDOPT_TESTS=OFF -DDOPT_BENCH=OFF \\
 && cmake --build /tmp/build --parallel 2 \\
 && mkdir -p /opt/dopt/lib \\
 && cp /tmp/build/lib/libdopt.so /opt/dopt/lib/ \\
 && find /opt/dopt -exec touch --no-dereference --date=@\${SOURCE_DATE_EPOCH} {} +`;

const cudaCore = (): string => `\
FROM \${NODE_BASE} AS node

FROM native AS cuda
ARG SOURCE_DATE_EPOCH
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY scripts/build-cuda.js /src/scripts/build-cuda.js
RUN DOPT_HOME=/tmp/dopt node /src/scripts/build-cuda.js --download --require \\
 && cp /src/native/build/lib/libdopt_cuda.so /opt/dopt/lib/ \\
 && find /opt/dopt -exec touch --no-dereference --date=@\${SOURCE_DATE_EPOCH} {} +`;

const stage = (cuda: boolean): string => `\
FROM \${PYTHON_BASE} AS stage
COPY --from=packages /opt/dopt/env /opt/dopt/env
COPY --from=${cuda ? 'cuda' : 'native'} /opt/dopt/lib /opt/dopt/lib
ENV PATH=/opt/dopt/env/bin:\${PATH} \\
    DOPT_NATIVE_LIB=/opt/dopt/lib/libdopt.so \\
${cuda ? '    NVIDIA_VISIBLE_DEVICES=all \\\n    NVIDIA_DRIVER_CAPABILITIES=compute,utility \\\n' : ''}\
    HOME=/tmp
USER 10001:10001
WORKDIR /tmp`;

const product = (): string => `\
FROM \${NODE_BASE} AS product
ARG SOURCE_DATE_EPOCH
WORKDIR /opt/dopt/product
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY . .
RUN npm run build:ts \\
 && npm prune --omit=dev --ignore-scripts --no-audit --no-fund \\
 && rm -rf src scripts native/src native/cuda native/tests native/bench tsconfig*.json node_modules/.cache \\
 && find /opt/dopt -exec touch --no-dereference --date=@\${SOURCE_DATE_EPOCH} {} +`;

const final = (): string => `\
FROM stage AS dopt
COPY --from=product /usr/local/bin/node /usr/local/bin/node
COPY --from=product /opt/dopt/product /opt/dopt/product
ENV DOPT_ENV=system \\
    DOPT_PYTHON=/opt/dopt/env/bin/python
WORKDIR /work
ENTRYPOINT ["node", "/opt/dopt/product/bin/run.js"]
CMD ["--help"]`;
