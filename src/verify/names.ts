/**
 * A lookup of sample names: by the same relative path, else by it without its extension, else by base name, else by base
 * name without its extension. A name that stands for several values finds none of them.
 */
export function nameIndex<T>(entries: readonly (readonly [string, T])[]): (name: string) => T | undefined {
  const forms = [normal, trunk, baseName, stem].map((form) => {
    const map = new Map<string, T>();
    const twice = new Set<string>();
    for (const [name, value] of entries) {
      const key = form(name);
      if (map.has(key) && map.get(key) !== value) twice.add(key);
      map.set(key, value);
    }
    for (const key of twice) map.delete(key);
    return (name: string): T | undefined => map.get(form(name));
  });
  return (name) => {
    for (const find of forms) {
      const value = find(name);
      if (value !== undefined) return value;
    }
    return undefined;
  };
}

const normal = (name: string): string => name.replaceAll('\\', '/').replace(/^\.\//, '');
const baseName = (name: string): string => normal(name).split('/').at(-1)!;
const stem = (name: string): string => baseName(name).replace(/(?<=.)\.[^.]*$/, '');
const trunk = (name: string): string => normal(name).replace(/(?<=[^/])\.[^./]*$/, '');
