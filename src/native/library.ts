import { createRequire } from 'node:module';
import type * as Koffi from 'koffi';
import { nativeError } from './arguments.js';
import { ABI_VERSION, CONV_MEMBERS, type FunctionName, HISTOGRAM_MEMBERS, SIGNATURES } from './signatures.js';

type NativeFunction = (...args: unknown[]) => unknown;

/** `libdopt` with every function declared. */
export interface Library {
  path: string;
  functions: Record<FunctionName, NativeFunction>;
}

/**
 * Opens the library at `path` and declares its functions. Throws when koffi is missing, the file cannot be loaded, a
 * function is missing or the library was built for another interface.
 */
export function openLibrary(path: string): Library {
  // koffi brings a native add-on of its own: loaded here, so that its absence only costs the native backend.
  const koffi = createRequire(import.meta.url)('koffi') as typeof Koffi;
  const state = koffi.struct({ ...HISTOGRAM_MEMBERS });
  const conv = koffi.struct({
    struct_size: 'size_t',
    ...Object.fromEntries(CONV_MEMBERS.map((member) => [member, 'int64_t'])),
  });
  const types: Record<string, Koffi.TypeObject | ReturnType<typeof Koffi.inout>> = {
    'state*': koffi.inout(koffi.pointer(state)),
    state: koffi.pointer(state),
    conv: koffi.pointer(conv),
  };
  const library = koffi.load(path);
  const functions = Object.fromEntries(
    Object.entries(SIGNATURES).map(([name, [result, args]]) => [
      name,
      library.func(
        name,
        result,
        args.map((type) => types[type] ?? type),
      ),
    ]),
  ) as unknown as Record<FunctionName, NativeFunction>;

  const abi = functions.dopt_abi_version();
  if (abi !== ABI_VERSION) {
    throw nativeError(
      `${path} has interface version ${abi}, this dopt needs ${ABI_VERSION}: run npm run build:native`,
    );
  }
  return { path, functions };
}
