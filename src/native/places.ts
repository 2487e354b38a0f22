import { fileURLToPath } from 'node:url';

/**
 * Where the native core is looked for: `DOPT_NATIVE_LIB` alone where it is set, else what was built here, else what came with
 * the package.
 */
export function candidates(
  environment: NodeJS.ProcessEnv,
  { platform, arch }: { platform: string; arch: string } = process,
): string[] {
  if (environment.DOPT_NATIVE_LIB) return [environment.DOPT_NATIVE_LIB];
  const name = platform === 'darwin' ? 'libdopt.dylib' : 'libdopt.so';
  // From src/native and from dist/native alike.
  return [`build/lib/${name}`, `prebuilt/${platform}-${arch}/${name}`].map((path) =>
    fileURLToPath(new URL(`../../native/${path}`, import.meta.url)),
  );
}
